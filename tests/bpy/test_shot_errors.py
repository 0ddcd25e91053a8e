"""The scene after sampling, cancelling and errors, and the sentence for every bad scene."""

from __future__ import annotations

import math

import pytest

bpy = pytest.importorskip("bpy")

from mathutils import Vector  # noqa: E402
from sampling_scenes import (  # noqa: E402
    add_camera,
    add_cube,
    animate_location,
    sample,
    sample_until,
    scene,
    state_of_scene,
    two_cubes,
)

from blender_addon.bridge.shot_sampling import sample_shot  # noqa: E402
from blender_addon.core.errors import ErrorCode, FlexTrajError  # noqa: E402
from blender_addon.core.sample_settings import (  # noqa: E402
    SampleSettings,
)


@pytest.fixture(autouse=True)
def _empty_scene():
    bpy.ops.wm.read_factory_settings(use_empty=True)


def _refused(code: ErrorCode, match: str, **settings) -> None:
    before = state_of_scene()
    with pytest.raises(FlexTrajError, match=match) as caught:
        sample(**settings)
    assert caught.value.code is code
    assert caught.value.message.endswith(".")
    assert state_of_scene() == before


# --- the scene stays as it was ----------------------------------------------------------------------------


def _busy_scene() -> None:
    two_cubes()
    scene().frame_set(7, subframe=0.25)
    bpy.data.objects["Ant"].hide_set(True)
    bpy.data.objects["Zebra"].select_set(True)


def test_the_scene_is_left_as_it_was_after_sampling():
    _busy_scene()
    before = state_of_scene()
    sample()
    assert state_of_scene() == before


def test_the_scene_is_left_as_it_was_after_cancelling():
    _busy_scene()
    before = state_of_scene()
    settings = SampleSettings(points=50, model_frames=9, width=90, height=60)
    steps = sample_shot(scene(), bpy.context.view_layer, settings)
    sample_until(steps, 3)
    assert state_of_scene() != before
    steps.close()
    assert state_of_scene() == before


def test_the_scene_is_left_as_it_was_after_an_error_in_the_middle():
    _busy_scene()
    decimate = bpy.data.objects["Zebra"].modifiers.new("Build", "BUILD")
    decimate.frame_start, decimate.frame_duration = 4, 10
    decimate.use_reverse = True
    before = state_of_scene()
    with pytest.raises(FlexTrajError):
        sample()
    assert state_of_scene() == before


def test_deleting_an_object_while_sampling_leaves_the_rest_of_the_scene_as_it_was():
    two_cubes()
    deleted, kept = add_cube("Deleted", (0, 3, 0)), add_cube("Kept", (0, 5, 0))
    hidden = [bpy.data.collections.new("Deleted set"), bpy.data.collections.new("Kept set")]
    for collection in hidden:
        scene().collection.children.link(collection)
        bpy.context.view_layer.layer_collection.children[collection.name].hide_viewport = True
    for ob in (deleted, kept):
        ob.hide_viewport = True
    for name in ("Zebra", "Ant"):
        bpy.data.objects[name].hide_set(True)
    bpy.ops.object.armature_add()
    bpy.context.object.name = "Rig"
    second = add_camera((0, -20, 0))
    animate_location(second, 1, 9)
    scene().frame_set(7, subframe=0.25)
    before = state_of_scene()
    steps = sample_shot(
        scene(), bpy.context.view_layer, SampleSettings(points=50, model_frames=9, width=90, height=60)
    )
    sample_until(steps, 1)
    for name in ("Deleted", "Zebra", "Rig"):
        bpy.data.objects.remove(bpy.data.objects[name])
        del before["objects"][name]
    bpy.data.collections.remove(hidden[0])
    del before["collections"]["Deleted set"]
    steps.close()
    after = state_of_scene()
    assert {**after, "data": None, "active": None} == {**before, "data": None, "active": None}
    assert bpy.context.view_layer.layer_collection.children["Kept set"].hide_viewport


def test_deleting_the_camera_while_sampling_gives_the_frame_and_visibility_back():
    _busy_scene()
    steps = sample_shot(
        scene(), bpy.context.view_layer, SampleSettings(points=50, model_frames=9, width=90, height=60)
    )
    sample_until(steps, 1)
    bpy.data.objects.remove(bpy.data.objects["Camera"])
    steps.close()
    assert (scene().frame_current, scene().frame_subframe, scene().camera) == (7, 0.25, None)
    assert bpy.data.objects["Ant"].hide_get()


def test_a_pose_that_is_not_keyed_survives():
    add_camera()
    animate_location(add_cube(), 1, 9)
    bpy.ops.object.armature_add()
    bone = bpy.context.object.pose.bones["Bone"]
    bone.keyframe_insert("rotation_quaternion", frame=1)
    bpy.data.objects["Cube"].location = (1, 2, 3)
    bone.rotation_quaternion = (0.5, 0.5, 0.5, 0.5)
    before = state_of_scene()
    sample()
    assert tuple(bpy.data.objects["Cube"].location) == (1, 2, 3)
    assert tuple(bone.rotation_quaternion) == (0.5, 0.5, 0.5, 0.5)
    assert state_of_scene() == before


def test_markers_that_switch_cameras_do_not_leave_another_camera():
    first = add_camera()
    animate_location(add_cube(), 1, 9)
    second = add_camera((0, -20, 0))
    scene().timeline_markers.new("Start", frame=1).camera = first
    scene().timeline_markers.new("Cut", frame=5).camera = second
    scene().camera = first
    scene().frame_set(1)
    scene().camera = first
    shot = sample(first_frame=1, last_frame=9)
    assert scene().camera is first
    assert shot.meta.camera is not None
    assert shot.meta.camera.camera_to_world[0, 1, 3] == pytest.approx(-10)
    assert shot.meta.camera.camera_to_world[-1, 1, 3] == pytest.approx(-20)


# --- bad input --------------------------------------------------------------------------------------------


def test_no_camera():
    add_cube()
    _refused(ErrorCode.NO_CAMERA, "The scene has no camera", first_frame=1, last_frame=9)


def test_a_camera_that_does_not_exist():
    add_cube()
    add_camera()
    _refused(ErrorCode.NO_CAMERA, "no camera 'Cam 2' in the scene: choose one of Camera", camera="Cam 2")


@pytest.mark.parametrize("scale", [(0, 0, 0), (1, 1, 0)])
def test_a_camera_scaled_to_zero_is_named(scale):
    add_cube()
    add_camera().scale = scale
    _refused(
        ErrorCode.NO_CAMERA, "camera 'Camera' is scaled to zero on frame 1,", first_frame=1, last_frame=9
    )


def test_a_camera_that_shrinks_to_zero_in_the_middle_is_named():
    add_cube()
    camera = add_camera()
    for frame, scale in ((1, 1), (5, 0), (6, 1)):
        camera.scale = (scale, scale, scale)
        camera.keyframe_insert("scale", frame=frame)
    _refused(
        ErrorCode.NO_CAMERA, "camera 'Camera' is scaled to zero on frame 5,", first_frame=1, last_frame=9
    )


def test_a_camera_whose_place_is_not_a_number_is_named():
    add_cube()
    add_camera().location.x = math.nan
    with pytest.raises(FlexTrajError, match="camera 'Camera' is not a finite number on frame 1:") as caught:
        sample(first_frame=1, last_frame=9)
    assert caught.value.code is ErrorCode.NO_CAMERA


def test_an_empty_scene_and_an_empty_selection():
    add_camera()
    _refused(ErrorCode.NO_SUBJECT, "Nothing that renders has a surface", first_frame=1, last_frame=9)
    add_cube()
    _refused(ErrorCode.NO_SUBJECT, "no object 'Hero' in the scene: choose one of Cube", objects=("Hero",))
    _refused(ErrorCode.NO_SUBJECT, "'Camera' has no surface to sample", objects=("Camera",))


def test_a_chosen_object_that_does_not_render():
    add_camera()
    add_cube("Cube").hide_render = True
    add_cube("Other", (3, 0, 0))
    _refused(ErrorCode.NO_SUBJECT, "'Cube' does not render on the first frame", objects=("Cube",))


def test_a_background_object_that_is_not_sampled():
    add_camera()
    add_cube("Hero")
    add_cube("Ground", (0, 0, -2))
    _refused(
        ErrorCode.NO_SUBJECT, "'Ground' is not among the sampled", objects=("Hero",), background=("Ground",)
    )


def test_a_mesh_without_area():
    add_camera()
    cube = add_cube()
    cube.scale = (0, 0, 0)
    _refused(ErrorCode.GEOMETRY, "'Cube' has no surface to sample, its area is zero", objects=("Cube",))


def test_a_mesh_without_area_does_not_spoil_the_rest_of_the_scene():
    add_camera()
    add_cube("Flat").scale = (0, 0, 0)
    add_cube("Hero")
    shot = sample(first_frame=1, last_frame=2)
    assert [segment.name for segment in shot.meta.segments] == ["Hero"]


@pytest.mark.parametrize("modifier", ["BUILD", "DECIMATE"])
def test_an_object_whose_topology_changes(modifier):
    add_camera()
    bpy.ops.mesh.primitive_uv_sphere_add()
    sphere = bpy.context.object
    changing = sphere.modifiers.new("Changing", modifier)
    if modifier == "BUILD":
        changing.frame_start, changing.frame_duration = -20, 60
    else:
        changing.ratio = 1.0
        changing.keyframe_insert("ratio", frame=1)
        changing.ratio = 0.2
        changing.keyframe_insert("ratio", frame=20)
    _refused(ErrorCode.TOPOLOGY, "'Sphere' changes its topology on frame", first_frame=1, last_frame=20)


def test_an_object_that_loses_its_vertices_is_not_taken_for_hidden():
    add_camera()
    cube = add_cube()
    cube.vertex_groups.new(name="Nothing")
    mask = cube.modifiers.new("Mask", "MASK")
    mask.vertex_group = "Nothing"
    for frame, invert in ((1, True), (5, False)):
        mask.invert_vertex_group = invert
        mask.keyframe_insert("invert_vertex_group", frame=frame)
    _refused(
        ErrorCode.TOPOLOGY,
        r"'Cube' changes its topology on frame 5 \(8 vertices became 0\)",
        first_frame=1,
        last_frame=9,
    )


def test_an_unsampled_object_may_lose_its_vertices():
    add_camera()
    add_cube("Hero")
    wall = add_cube("Wall", (0, -4, 0), 3.0)
    wall.vertex_groups.new(name="Nothing")
    mask = wall.modifiers.new("Mask", "MASK")
    mask.vertex_group = "Nothing"
    for frame, invert in ((1, True), (5, False), (9, True)):
        mask.invert_vertex_group = invert
        mask.keyframe_insert("invert_vertex_group", frame=frame)
    seen = sample(objects=("Hero",), first_frame=1, last_frame=9).visible.any(axis=1)
    assert seen.tolist() == [False, False, True, True, False]


def test_an_object_with_as_many_vertices_but_other_faces():
    add_camera()
    cube = add_cube()
    twisted = cube.data.copy()
    order = [0, 1, 3, 2, 4, 5, 7, 6]
    for loop in twisted.loops:
        loop.vertex_index = order[loop.vertex_index]

    def swap(changed_scene, _depsgraph=None):
        mesh = twisted if changed_scene.frame_current >= 5 else plain
        if cube.data is not mesh:
            cube.data = mesh

    plain = cube.data
    bpy.app.handlers.frame_change_pre.append(swap)
    try:
        with pytest.raises(
            FlexTrajError, match=r"'Cube' changes its topology .* connected differently"
        ) as caught:
            sample(first_frame=1, last_frame=9)
        assert caught.value.code is ErrorCode.TOPOLOGY
    finally:
        bpy.app.handlers.frame_change_pre.remove(swap)


def test_an_unsampled_mesh_may_change_its_topology():
    add_camera()
    add_cube("Hero")
    build = add_cube("Smoke", (0, -4, 0)).modifiers.new("Build", "BUILD")
    build.frame_start, build.frame_duration = 1, 8
    shot = sample(objects=("Hero",), first_frame=1, last_frame=9)
    assert shot.visible[0].any()
    assert shot.visible[-1].mean() < shot.visible[0].mean()


def test_quads_that_bend_are_no_change_of_topology():
    add_camera()
    cube = add_cube()
    cube.shape_key_add(name="Basis")
    key = cube.shape_key_add(name="Fold")
    key.data[0].co = Vector((0.8, 0.8, 0.8))
    key.value = 0
    key.keyframe_insert("value", frame=1)
    key.value = 1
    key.keyframe_insert("value", frame=9)
    assert sample().frame_count == 5


def test_a_transform_that_is_not_a_number():
    add_camera()
    cube = add_cube()
    cube.location.x = math.nan
    with pytest.raises(
        FlexTrajError, match="The transform of 'Cube' is not a finite number on frame 1"
    ) as caught:
        sample(first_frame=1, last_frame=9)
    assert caught.value.code is ErrorCode.GEOMETRY


def test_a_vertex_that_is_not_a_number():
    add_camera()
    cube = add_cube()
    cube.shape_key_add(name="Basis")
    key = cube.shape_key_add(name="Broken")
    key.data[0].co.x = math.inf
    key.keyframe_insert("value", frame=1)
    key.value = 1
    key.keyframe_insert("value", frame=9)
    with pytest.raises(FlexTrajError, match="'Cube' has") as caught:
        sample()
    assert caught.value.code is ErrorCode.GEOMETRY


def test_a_range_of_one_frame():
    add_camera()
    add_cube()
    _refused(ErrorCode.FRAME_RANGE, "single frame 7", first_frame=7, last_frame=7)


@pytest.mark.parametrize(
    ("settings", "match", "code"),
    [
        ({"points": 0}, "0 points cannot be sampled", ErrorCode.REQUEST),
        ({"points": 65_537}, "'Each segment' would get 65537 points", ErrorCode.GEOMETRY),
        ({"points": None, "density": 1e6}, "'Cube' would get 24000000 points", ErrorCode.GEOMETRY),
        ({"points": None, "density": -1.0}, "density must be", ErrorCode.REQUEST),
        ({"points": None, "density": None}, "density must be", ErrorCode.REQUEST),
        ({"seed": -1}, "seed -1 is negative", ErrorCode.REQUEST),
        ({"width": 0}, "size must be", ErrorCode.REQUEST),
        ({"height": None}, "size must be", ErrorCode.REQUEST),
    ],
)
def test_settings_that_cannot_be_sampled(settings, match, code):
    add_camera()
    add_cube()
    _refused(code, match, first_frame=1, last_frame=2, **settings)


# --- what the user is in the middle of ---------------------------------------------------------------------


def test_something_in_edit_mode_is_named_instead_of_sampled_in_its_rest_pose():
    two_cubes()
    bpy.context.view_layer.objects.active = bpy.data.objects["Ant"]
    bpy.ops.object.mode_set(mode="EDIT")
    _refused(ErrorCode.REQUEST, "'Ant' is in Edit Mode")
    bpy.ops.object.mode_set(mode="OBJECT")
    assert sample().positions.any()


def test_a_subject_in_a_collection_below_an_excluded_one_is_sampled():
    add_camera()
    outer, inner = bpy.data.collections.new("Outer"), bpy.data.collections.new("Inner")
    scene().collection.children.link(outer)
    outer.children.link(inner)
    cube = add_cube("Deep")
    animate_location(cube, 1, 9, (1, 0, 0))
    inner.objects.link(cube)
    scene().collection.objects.unlink(cube)
    layer = bpy.context.view_layer.layer_collection.children["Outer"]
    layer.exclude = True
    layer.children["Inner"].exclude = False
    shot = sample(objects=("Deep",), first_frame=1, last_frame=9)
    assert shot.visible.any()


def test_a_linked_duplicate_that_appears_later_changes_nobodys_topology():
    add_camera()
    first = add_cube("A", (-2, 0, 0))
    second = bpy.data.objects.new("B", first.data)
    second.location = (2, 0, 0)
    scene().collection.objects.link(second)
    animate_location(second, 1, 9, (3, 0, 0))
    for frame, hidden in ((1, True), (4, False)):
        first.hide_render = hidden
        first.keyframe_insert("hide_render", frame=frame)
    shot = sample(objects=("B",), first_frame=1, last_frame=9, model_frames=9)
    assert shot.positions.shape[0] == 9
