"""Sampling of real Blender scenes: what an animator would lose if points did not follow what renders."""

from __future__ import annotations

import math

import numpy as np
import pytest

bpy = pytest.importorskip("bpy")

from bpy_extras.object_utils import world_to_camera_view  # noqa: E402
from sampling_scenes import (  # noqa: E402
    add_camera,
    add_cube,
    animate_location,
    sample,
    scene,
    state_of_scene,
    two_cubes,
    view_layer,
    world_positions,
)

from blender_addon.bridge.shot_sampling import sample_shot  # noqa: E402
from blender_addon.core.sample_settings import (  # noqa: E402
    ColorSource,
    SampleMode,
    SampleSettings,
)


@pytest.fixture(autouse=True)
def _empty_scene():
    bpy.ops.wm.read_factory_settings(use_empty=True)


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


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 3e38])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("lens", ["PERSP", "ORTHO"])
def test_broken_faces_of_a_mesh_in_the_way_hide_what_they_would_hide_without_them(lens, axis, value):
    camera = add_camera(rotation=(math.pi / 2 + 0.05, 0.1, 0.02))
    camera.data.type = lens
    add_cube("Seen")
    bpy.ops.mesh.primitive_grid_add(
        x_subdivisions=4, y_subdivisions=4, size=4, location=(0, -4, 0), rotation=(1.5, 0.1, 0.1)
    )
    wall = bpy.context.object
    bpy.ops.object.mode_set(mode="EDIT")
    bpy.ops.mesh.quads_convert_to_tris()
    bpy.ops.object.mode_set(mode="OBJECT")
    whole = wall.data.copy()
    broken_vertices = {2, 8, 12}
    positions = np.empty((len(whole.vertices), 3), dtype=np.float32)
    wall.data.attributes["position"].data.foreach_get("vector", positions.ravel())
    positions[list(broken_vertices), axis] = value
    wanted = {"objects": ("Seen",), "first_frame": 1, "last_frame": 2}
    hidden_by_whole = sample(**wanted).visible
    # Not `co`, which cuts infinity to the largest finite number.
    wall.data.attributes["position"].data.foreach_set("vector", positions.ravel())
    wall.data.update()
    broken = sample(**wanted)
    kept = [list(face.vertices) for face in whole.polygons if not set(face.vertices) & broken_vertices]
    wall.data = bpy.data.meshes.new("Without")
    wall.data.from_pydata([vertex.co for vertex in whole.vertices], [], kept)
    expected = sample(**wanted)
    assert broken.silhouette is not None
    assert expected.silhouette is not None
    assert np.array_equal(broken.visible, expected.visible)
    assert np.array_equal(broken.silhouette, expected.silhouette)
    assert expected.visible.sum() > hidden_by_whole.sum()


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


def test_scrubbing_the_timeline_while_sampling_changes_no_point() -> None:
    """Between the steps of sampling the window handles events, and the user may move the frame."""
    two_cubes()
    expected = sample()
    settings = SampleSettings(points=200, model_frames=5, width=180, height=120)
    steps = sample_shot(scene(), view_layer(), settings)
    scrubbed = None
    while scrubbed is None:
        try:
            next(steps)
            scene().frame_set(7)
        except StopIteration as end:
            scrubbed = end.value
    np.testing.assert_array_equal(scrubbed.positions, expected.positions)
    np.testing.assert_array_equal(scrubbed.visible, expected.visible)
    assert scrubbed.color is not None and expected.color is not None
    np.testing.assert_array_equal(scrubbed.color, expected.color)
