"""Sampling of real Blender scenes: what an animator would lose if it went wrong."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

bpy = pytest.importorskip("bpy")

from bpy_extras.object_utils import world_to_camera_view  # noqa: E402
from mathutils import Vector  # noqa: E402
from sampling_scenes import (  # noqa: E402
    add_camera,
    add_cube,
    animate_location,
    sample,
    scene,
    state_of_scene,
    world_positions,
)

from blender_addon.bridge.seg_ids import SEG_ID_PROPERTY, assign_seg_ids  # noqa: E402
from blender_addon.bridge.shot_sampling import sample_shot  # noqa: E402
from blender_addon.core.errors import ErrorCode, FlexTrajError  # noqa: E402
from blender_addon.core.sample_settings import (  # noqa: E402
    ColorSource,
    SampleMode,
    SampleSettings,
    SegmentBy,
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


# --- points follow what Blender evaluates -----------------------------------------------------------------


def test_vertices_are_where_world_to_camera_view_puts_them_on_every_frame():
    camera = add_camera()
    cube = add_cube()
    cube.scale, cube.rotation_euler = (1.0, 2.0, 0.3), (0.3, 0.2, 0.1)
    parent = bpy.data.objects.new("Parent", None)
    scene().collection.objects.link(parent)
    parent.scale, parent.location = (0.5, 1.5, 1.0), (0.4, 0.0, 0.2)
    cube.parent = parent
    animate_location(cube, 1, 9)
    animate_location(camera, 1, 9, (1.0, -12.0, 1.0))
    camera.data.keyframe_insert("lens", frame=1)
    camera.data.lens = 70
    camera.data.keyframe_insert("lens", frame=9)
    scene().render.resolution_x, scene().render.resolution_y = 180, 120
    shot = sample(mode=SampleMode.VERTICES, points=None, width=None, height=None)
    assert shot.meta.source_frames == (1, 3, 5, 7, 9)
    for index, frame in enumerate(shot.meta.source_frames):
        scene().frame_set(int(frame))
        expected = []
        for vertex in cube.data.vertices:
            x, y, z = world_to_camera_view(scene(), camera, cube.matrix_world @ vertex.co)
            expected.append((x * 180, (1 - y) * 120, z))
        np.testing.assert_allclose(shot.positions[index], expected, atol=2e-3)


def test_points_stay_on_a_mesh_that_an_armature_bends():
    add_camera()
    bpy.ops.object.armature_add()
    rig = bpy.context.object
    cube = add_cube()
    for vertex in cube.data.vertices:
        vertex.co.z += 1
    cube.vertex_groups.new(name="Bone").add(range(8), 1.0, "REPLACE")
    cube.modifiers.new("Armature", "ARMATURE").object = rig
    bone = rig.pose.bones["Bone"]
    bone.rotation_mode = "XYZ"
    bone.keyframe_insert("rotation_euler", frame=1)
    bone.rotation_euler = (0, math.radians(90), 0)
    bone.keyframe_insert("rotation_euler", frame=25)
    shot = sample(objects=("Armature",))
    assert [segment.name for segment in shot.meta.segments] == ["Cube"]
    assert shot.meta.source_frames[-1] == 25
    world = world_positions(shot)
    # The bone points up: a quarter turn around its own length is one around the world's z axis.
    turned = np.stack([-world[0, :, 1], world[0, :, 0], world[0, :, 2]], axis=-1)
    np.testing.assert_allclose(world[-1], turned, atol=1e-3)


def test_points_follow_shape_keys_and_modifiers():
    add_camera()
    cube = add_cube()
    cube.shape_key_add(name="Basis")
    key = cube.shape_key_add(name="Wide")
    for point in key.data:
        point.co.x *= 3
    key.value = 0
    key.keyframe_insert("value", frame=1)
    key.value = 1
    key.keyframe_insert("value", frame=9)
    cube.modifiers.new("Subdivision", "SUBSURF").levels = 2
    shot = sample()
    world = world_positions(shot)
    assert shot.meta.source_frames[-1] == 9
    np.testing.assert_allclose(world[-1, :, 0], world[0, :, 0] * 3, atol=1e-3)
    # A subdivided cube is rounder than a cube: no point is at its corner.
    assert np.abs(world[0]).max() < 0.99


def test_points_are_spread_by_area_in_the_world_and_not_in_the_mesh():
    add_camera()
    cube = add_cube()
    cube.scale = (1, 1, 6)
    shot = sample(points=20_000, first_frame=1, last_frame=2, model_frames=2)
    on_caps = (np.abs(np.abs(world_positions(shot)[0, :, 2]) - 6) < 1e-3).mean()
    assert on_caps == pytest.approx(2 * 4 / (2 * 4 + 4 * 24), abs=0.004)


def test_every_object_gets_its_points_and_its_segment():
    add_camera()
    add_cube("Left", (-2, 0, 0))
    add_cube("Right", (2, 0, 0), 1.0)
    shot = sample(first_frame=1, last_frame=2)
    assert [(s.id, s.name, s.group) for s in shot.meta.segments] == [(0, "Left", 0), (1, "Right", 1)]
    assert np.array_equal(np.bincount(shot.seg_id), [200, 200])
    assert np.array_equal(shot.traj_id, np.tile(np.arange(200), 2))
    world = world_positions(shot)[0]
    assert (world[shot.seg_id == 0, 0] < 0).all()
    assert (world[shot.seg_id == 1, 0] > 0).all()
    assert shot.silhouette is not None
    left, right = shot.silhouette
    assert left[:, :90].any()
    assert not left[:, 90:].any()
    assert right[:, 90:].any()
    assert left.sum() > 3 * right.sum()


def test_density_gives_larger_objects_more_points():
    add_camera()
    add_cube("Large", (-2, 0, 0), 2.0)
    add_cube("Small", (2, 0, 0), 1.0)
    shot = sample(points=None, density=10.0, first_frame=1, last_frame=2)
    assert np.bincount(shot.seg_id).tolist() == [240, 60]


def test_curves_text_and_metaballs_are_sampled_like_meshes():
    add_camera()
    bpy.ops.curve.primitive_bezier_circle_add()
    bpy.context.object.data.bevel_depth = 0.1
    bpy.context.object.name = "Ring"
    bpy.ops.object.text_add()
    bpy.ops.object.metaball_add(location=(3, 0, 0))
    shot = sample(first_frame=1, last_frame=2)
    assert [segment.name for segment in shot.meta.segments] == ["Ring", "Text", "Mball"]


def test_instances_of_a_collection_are_sampled_even_where_the_source_is_excluded():
    add_camera()
    cube = add_cube()
    source = bpy.data.collections.new("Source")
    scene().collection.children.link(source)
    scene().collection.objects.unlink(cube)
    source.objects.link(cube)
    bpy.context.view_layer.layer_collection.children["Source"].exclude = True
    empty = bpy.data.objects.new("Instance", None)
    empty.instance_type, empty.instance_collection = "COLLECTION", source
    empty.location = (1, 0, 0)
    scene().collection.objects.link(empty)
    animate_location(empty, 1, 5, (3, 0, 0))
    shot = sample(objects=("Instance",))
    assert [segment.name for segment in shot.meta.segments] == ["Instance"]
    world = world_positions(shot)
    np.testing.assert_allclose(world[-1], world[0] + [2, 0, 0], atol=1e-3)
    assert world[0].mean(axis=0) == pytest.approx([1, 0, 0], abs=0.15)


def test_a_particle_that_dies_stays_in_the_set_unseen():
    add_camera((0, -30, 0))
    cube = add_cube()
    plane = add_cube("Emitter", (0, 0, 0), 1.0)
    cube.location = (0, 500, 0)
    plane.show_instancer_for_render = False
    particles = plane.modifiers.new("Particles", "PARTICLE_SYSTEM").particle_system.settings
    particles.count, particles.frame_start, particles.frame_end = 20, 1, 1
    particles.lifetime = 4
    particles.render_type, particles.instance_object = "OBJECT", cube
    particles.particle_size = 0.2
    shot = sample(objects=("Emitter",), first_frame=3, last_frame=9, model_frames=4)
    assert shot.visible[0].any()
    assert not shot.visible[-1].any()


# --- what renders counts, what does not render does not ---------------------------------------------------


def test_objects_hidden_in_the_render_are_neither_sampled_nor_in_the_way():
    add_camera()
    add_cube("Seen")
    wall = add_cube("Wall", (0, -4, 0), 3.0)
    visible = sample(first_frame=1, last_frame=2)
    assert len(visible.meta.segments) == 2
    assert not visible.visible[:, visible.seg_id == 0].any()
    wall.hide_render = True
    alone = sample(first_frame=1, last_frame=2)
    assert [segment.name for segment in alone.meta.segments] == ["Seen"]
    assert alone.visible.mean() > 0.15


def test_a_hidden_collection_is_neither_sampled_nor_in_the_way():
    add_camera()
    add_cube("Seen")
    wall = add_cube("Wall", (0, -4, 0), 3.0)
    collection = bpy.data.collections.new("Off")
    scene().collection.children.link(collection)
    collection.objects.link(wall)
    scene().collection.objects.unlink(wall)
    collection.hide_render = True
    shot = sample(first_frame=1, last_frame=2)
    assert [segment.name for segment in shot.meta.segments] == ["Seen"]
    assert shot.visible.any()


@pytest.mark.parametrize("switch", ["eye", "monitor", "collection"])
def test_an_object_hidden_only_in_the_viewport_still_hides_what_is_behind_it(switch):
    add_camera()
    add_cube("Seen")
    wall = add_cube("Wall", (0, -4, 0), 3.0)
    collection = bpy.data.collections.new("Set")
    scene().collection.children.link(collection)
    collection.objects.link(wall)
    scene().collection.objects.unlink(wall)
    if switch == "eye":
        wall.hide_set(True)
    elif switch == "monitor":
        wall.hide_viewport = True
    else:
        collection.hide_viewport = True
    bpy.context.view_layer.update()
    before = state_of_scene()
    shot = sample(objects=("Seen",), first_frame=1, last_frame=2)
    assert not shot.visible.any()
    assert state_of_scene() == before


def test_a_mesh_that_is_not_sampled_hides_points_behind_it():
    add_camera()
    add_cube("Seen")
    wall = add_cube("Wall", (0, -4, 0), 3.0)
    animate_location(wall, 1, 5, (10, -4, 0))
    shot = sample(objects=("Seen",), first_frame=1, last_frame=5)
    assert not shot.visible[0].any()
    assert shot.visible[-1].any()


def test_an_object_whose_render_visibility_ends_is_unseen_from_then_on():
    add_camera()
    cube = add_cube()
    cube.keyframe_insert("hide_render", frame=1)
    cube.hide_render = True
    cube.keyframe_insert("hide_render", frame=4)
    cube.hide_render = False
    shot = sample(first_frame=1, last_frame=5)
    assert shot.visible[0].any()
    assert not shot.visible[-1].any()


# --- ids --------------------------------------------------------------------------------------------------


def _same_points(one, two) -> bool:
    return (
        np.array_equal(one.positions, two.positions)
        and np.array_equal(one.seg_id, two.seg_id)
        and np.array_equal(one.traj_id, two.traj_id)
        and [s.id for s in one.meta.segments] == [s.id for s in two.meta.segments]
    )


def _two_cubes() -> None:
    add_camera()
    animate_location(add_cube("Zebra", (-2, 0, 0)), 1, 9, (-1, 0, 0))
    animate_location(add_cube("Ant", (2, 0, 0)), 1, 9, (3, 1, 0))


@pytest.mark.parametrize("segment_by", list(SegmentBy))
def test_points_are_the_same_after_saving_and_loading(tmp_path: Path, segment_by):
    _two_cubes()
    before = sample(segment_by=segment_by)
    path = tmp_path / "scene.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.wm.open_mainfile(filepath=str(path))
    assert _same_points(before, sample(segment_by=segment_by))


@pytest.mark.parametrize("segment_by", list(SegmentBy))
def test_points_are_the_same_after_renaming(segment_by):
    _two_cubes()
    for index, ob in enumerate(ob for ob in scene().objects if ob.type == "MESH"):
        ob.data.materials.append(bpy.data.materials.new(f"Paint {index}"))
    before = sample(segment_by=segment_by)
    bpy.data.objects["Ant"].name = "Zulu"
    bpy.data.objects["Zebra"].name = "Aardvark"
    bpy.data.materials["Paint 0"].name = "Zinc"
    after = sample(segment_by=segment_by)
    assert _same_points(before, after)
    if segment_by is SegmentBy.OBJECT:
        assert [segment.name for segment in after.meta.segments] == ["Aardvark", "Zulu"]


def test_points_are_the_same_after_undo():
    _two_cubes()
    before = sample()
    with bpy.context.temp_override(window=bpy.context.window_manager.windows[0]):
        bpy.ops.ed.undo_push(message="before")
        bpy.data.objects["Ant"].location.z += 3
        add_cube("New")
        bpy.ops.ed.undo_push(message="after")
        bpy.ops.ed.undo()
    assert "New" not in bpy.data.objects
    assert _same_points(before, sample())


def test_another_object_leaves_the_points_of_the_others_alone():
    _two_cubes()
    alone = sample(objects=("Zebra",))
    add_cube("New", (0, 3, 0))
    together = sample()
    kept = together.seg_id == 0
    assert np.array_equal(alone.positions, together.positions[:, kept])


def test_another_seed_gives_other_points():
    _two_cubes()
    assert not np.array_equal(sample(seed=1).positions, sample(seed=2).positions)


def test_assigned_ids_stay_when_objects_are_deleted_and_a_duplicate_gets_its_own():
    _two_cubes()
    third = add_cube("Third", (0, 3, 0))
    assert assign_seg_ids(list(scene().objects)) == {"Zebra": 0, "Ant": 1, "Third": 2}
    bpy.data.objects.remove(bpy.data.objects["Zebra"])
    copy = third.copy()
    copy.name = "Copy"
    scene().collection.objects.link(copy)
    assert copy[SEG_ID_PROPERTY] == 2
    ids = {segment.name: segment.id for segment in sample().meta.segments}
    assert ids == {"Ant": 1, "Third": 2, "Copy": 0}
    assert assign_seg_ids([copy]) == {"Copy": 0}
    assert copy[SEG_ID_PROPERTY] == 0
    assert third[SEG_ID_PROPERTY] == 2


def test_collections_and_materials_can_be_the_segments():
    add_camera()
    red, blue = bpy.data.materials.new("Red"), bpy.data.materials.new("Blue")
    one, two = add_cube("One", (-2, 0, 0)), add_cube("Two", (2, 0, 0))
    for ob in (one, two):
        ob.data.materials.append(red)
        ob.data.materials.append(blue)
        for face in list(ob.data.polygons)[:2]:
            face.material_index = 1
    props = bpy.data.collections.new("Props")
    scene().collection.children.link(props)
    scene().collection.objects.unlink(two)
    props.objects.link(two)
    by_collection = sample(segment_by=SegmentBy.COLLECTION, first_frame=1, last_frame=2)
    assert [segment.name for segment in by_collection.meta.segments] == ["Scene Collection", "Props"]
    by_material = sample(segment_by=SegmentBy.MATERIAL, points=600, first_frame=1, last_frame=2)
    assert [segment.name for segment in by_material.meta.segments] == ["Red", "Blue"]
    world = world_positions(by_material)[0]
    for index in range(2):
        side = world[by_material.seg_id == index, 0] > 0
        assert side.mean() == pytest.approx(0.5, abs=0.02)


def test_meshes_of_one_rig_are_one_subject_and_the_ground_is_background():
    add_camera()
    bpy.ops.object.armature_add()
    rig = bpy.context.object
    body, hat, ground = add_cube("Body"), add_cube("Hat", (0, 0, 2), 1.0), add_cube("Ground", (0, 0, -2))
    body.modifiers.new("Armature", "ARMATURE").object = rig
    hat.parent, hat.parent_type, hat.parent_bone = rig, "BONE", "Bone"
    shot = sample(background=("Ground",), first_frame=1, last_frame=2)
    found = {segment.name: (segment.group, segment.background) for segment in shot.meta.segments}
    assert found == {"Body": (0, False), "Hat": (0, False), "Ground": (1, True)}
    named = sample(objects=(rig.name,), first_frame=1, last_frame=2)
    assert [segment.name for segment in named.meta.segments] == ["Body", "Hat"]
    del ground


# --- colour -----------------------------------------------------------------------------------------------


def test_points_take_the_colour_of_material_and_texture():
    add_camera()
    plain, textured = bpy.data.materials.new("Plain"), bpy.data.materials.new("Textured")
    for material in (plain, textured):
        material.use_nodes = True
    plain.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = (1, 0, 0, 1)
    image = bpy.data.images.new("Halves", 4, 4)
    pixels = np.zeros((4, 4, 4), dtype=np.float32)
    pixels[..., 3] = 1
    pixels[:2, :, 1] = 0.5  # bottom half green
    pixels[2:, :, 2] = 1.0  # top half blue
    image.pixels.foreach_set(pixels.ravel())
    node = textured.node_tree.nodes.new("ShaderNodeTexImage")
    node.image = image
    textured.node_tree.links.new(
        textured.node_tree.nodes["Principled BSDF"].inputs["Base Color"], node.outputs["Color"]
    )
    bpy.ops.mesh.primitive_plane_add(rotation=(math.pi / 2, 0, 0))
    plane = bpy.context.object
    plane.data.materials.append(textured)
    cube = add_cube("Cube", (4, 0, 0))
    cube.data.materials.append(plain)
    shot = sample(first_frame=1, last_frame=2)
    assert shot.color is not None
    world = world_positions(shot)[0]
    on_plane = shot.seg_id == 0
    assert (shot.color[~on_plane] == [255, 0, 0]).all()
    upper, lower = on_plane & (world[:, 2] > 0.01), on_plane & (world[:, 2] < -0.01)
    assert (shot.color[upper] == [0, 0, 255]).all()
    assert (np.abs(shot.color[lower].astype(int) - [0, 128, 0]) <= 1).all()
    assert sample(color=ColorSource.NONE, first_frame=1, last_frame=2).color is None


# --- the scene stays as it was ----------------------------------------------------------------------------


def _busy_scene() -> None:
    _two_cubes()
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
    for expected in (1, 2, 3):
        progress = next(steps)
        assert (progress.done, progress.total) == (expected, 9)
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
