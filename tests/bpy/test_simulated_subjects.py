"""Simulations that are not baked: what an animator would lose if frames were skipped."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

bpy = pytest.importorskip("bpy")

from bpy_extras.object_utils import world_to_camera_view  # noqa: E402
from mathutils import Vector  # noqa: E402
from sampling_scenes import add_camera, sample, scene, state_of_scene, world_positions  # noqa: E402

from blender_addon.bridge.auto_camera import framing_camera  # noqa: E402
from blender_addon.bridge.shot_sampling import run_to_end  # noqa: E402
from blender_addon.bridge.simulations import frames_between, simulation_start  # noqa: E402
from blender_addon.bridge.start_frames import find_start_frames  # noqa: E402
from blender_addon.core.sample_settings import SampleSettings  # noqa: E402


@pytest.fixture(autouse=True)
def _empty_scene() -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)


def falling_cloth() -> Any:
    add_camera(location=(0.0, -30.0, -4.0))
    bpy.ops.mesh.primitive_grid_add(x_subdivisions=4, y_subdivisions=4, size=2.0)
    cloth: Any = bpy.context.object
    cloth.name = "Cloth"
    cloth.modifiers.new("Cloth", "CLOTH")
    scene().frame_start, scene().frame_end = 1, 41
    scene().render.resolution_x, scene().render.resolution_y = 192, 144
    return cloth


def heights_when_played(cloth: Any) -> dict[int, float]:
    """Mean height of the cloth on each frame, shown one after the other."""
    heights = {}
    for frame in range(1, 42):
        scene().frame_set(frame)
        mesh = cloth.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
        heights[frame] = float(np.mean([vertex.co.z for vertex in mesh.vertices]))
    return heights


def height_in_picture(camera: Any, height: float) -> float:
    """Where the camera sees this height above the world's origin: 0 = the lower edge, 1 = the upper one."""
    return world_to_camera_view(scene(), camera, Vector((0.0, 0.0, height))).y


@pytest.mark.parametrize("first_frame", [1, 21])
def test_cloth_falls_although_only_every_tenth_frame_is_sampled(first_frame: int) -> None:
    cloth = falling_cloth()
    played = heights_when_played(cloth)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    falling_cloth()
    before = state_of_scene()
    count = 5 if first_frame == 1 else 3
    shot = sample(objects=("Cloth",), first_frame=first_frame, last_frame=41, model_frames=count)
    height = world_positions(shot)[..., 2].mean(axis=1)
    assert (np.diff(height) < -0.2).all()
    np.testing.assert_allclose(height, [played[int(frame)] for frame in shot.meta.source_frames], atol=0.02)
    assert state_of_scene() == before


def test_a_camera_in_front_of_a_simulated_subject_sees_where_it_falls() -> None:
    every_frame = tuple(float(frame) for frame in range(1, 42))
    places = []
    for frames in (every_frame, (every_frame[0], every_frame[-1])):
        bpy.ops.wm.read_factory_settings(use_empty=True)
        falling_cloth()
        view_layer: Any = bpy.context.view_layer
        settings = SampleSettings(objects=("Cloth",), points=10)
        with framing_camera(scene(), view_layer, settings, frames) as camera:
            place: Any = camera.matrix_world.translation
            places.append(tuple(place))
    assert places[1] == pytest.approx(places[0], abs=0.02)
    assert places[0][2] < -1.0


def test_start_frames_of_a_simulated_subject_show_where_it_has_fallen() -> None:
    played = heights_when_played(falling_cloth())
    mask = np.zeros((144, 192), bool)
    mask[70:75, 80:110] = True
    bpy.ops.wm.read_factory_settings(use_empty=True)
    falling_cloth()
    settings = SampleSettings(objects=("Cloth",), points=10, first_frame=21)
    view_layer: Any = bpy.context.view_layer
    found = run_to_end(find_start_frames(scene(), view_layer, settings, mask))
    assert found
    for item in found:
        shown = 1.0 - (np.argwhere(item.silhouette)[:, 0].mean() + 0.5) / len(item.silhouette)
        expected = height_in_picture(scene().camera, played[int(item.match.frame)])
        assert shown == pytest.approx(expected, abs=1.0 / len(item.silhouette))


def test_only_simulations_make_sampling_walk_through_the_frames_between() -> None:
    bpy.ops.mesh.primitive_cube_add()
    assert simulation_start(scene()) is None
    assert not list(frames_between(None, 3.0, 40.0))
    falling_cloth().modifiers["Cloth"].point_cache.frame_start = 4
    assert simulation_start(scene()) == 4
    assert list(frames_between(4, None, 7.5)) == [4, 5, 6, 7]
    assert list(frames_between(4, 7.5, 10.0)) == [8, 9]
    assert not list(frames_between(4, None, 2.0))


def test_a_simulation_zone_inside_a_node_group_is_found() -> None:
    inner = bpy.data.node_groups.new("Inner", "GeometryNodeTree")
    inner.nodes.new("GeometryNodeSimulationOutput")
    outer = bpy.data.node_groups.new("Outer", "GeometryNodeTree")
    outer.nodes.new("GeometryNodeGroup").node_tree = inner
    bpy.ops.mesh.primitive_cube_add()
    modifier: Any = bpy.context.object.modifiers.new("Nodes", "NODES")
    modifier.node_group = outer
    scene().frame_start = 3
    assert simulation_start(scene()) == 3
