"""Points over the camera view: a wrong mapping would draw them beside the rig that they were sampled on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

bpy = pytest.importorskip("bpy")

from sampling_scenes import add_camera, scene, view_layer  # noqa: E402

from blender_addon.bridge.cameras import camera_settings, read_camera  # noqa: E402
from blender_addon.bridge.matrices import matrix_array  # noqa: E402
from blender_addon.core.view_mapping import as_matrix, raster_to_region  # noqa: E402

REGION = (1130, 777)


@pytest.fixture
def camera() -> Any:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    camera = add_camera(location=(1.0, -9.0, 2.0), rotation=(1.4, 0.1, 0.2))
    scene().render.resolution_x, scene().render.resolution_y = 1920, 1080
    return camera


def viewport_matrix(camera: Any) -> np.ndarray:
    """The projection of a viewport in camera view: the render's, zoomed out and moved aside."""
    depsgraph = view_layer().depsgraph
    view_layer().update()
    render = scene().render
    projection = matrix_array(
        camera.calc_matrix_camera(
            depsgraph,
            x=render.resolution_x,
            y=render.resolution_y,
            scale_x=render.pixel_aspect_x,
            scale_y=render.pixel_aspect_y,
        )
    )
    zoom = np.diag([0.6, 0.6 * REGION[0] / REGION[1] / (16 / 9), 1.0, 1.0])
    zoom[:2, 3] = 0.1, -0.05
    return zoom @ projection


@pytest.mark.parametrize("raster", [(720, 480), (1920, 1080), (320, 640)])
@pytest.mark.parametrize("kind", ["PERSP", "ORTHO"])
@pytest.mark.parametrize("fit", ["AUTO", "VERTICAL"])
def test_sampled_pixels_lie_on_what_the_viewport_shows(
    camera: Any, kind: str, fit: str, raster: tuple[int, int]
) -> None:
    camera.data.type, camera.data.sensor_fit = kind, fit
    camera.data.shift_x, camera.data.shift_y = 0.1, -0.07
    scene().render.pixel_aspect_x = 1.25
    window_matrix = viewport_matrix(camera)
    world = np.random.default_rng(1).uniform(-1.5, 1.5, (50, 3))
    pixels = read_camera(scene(), camera, view_layer().depsgraph, *raster).world_to_pixels(world)[:, :2]
    mapping = raster_to_region(camera_settings(scene(), camera.data), raster, window_matrix, REGION)
    in_region = pixels @ mapping[:, :2].T + mapping[:, 2]
    view_matrix = matrix_array(camera.matrix_world.normalized().inverted())
    clip = np.column_stack([world, np.ones(50)]) @ (window_matrix @ view_matrix).T
    expected = (clip[:, :2] / clip[:, 3:] + 1) / 2 * REGION
    np.testing.assert_allclose(in_region, expected, atol=1e-3)


def test_a_mapping_and_its_matrix_agree() -> None:
    mapping = np.array([[2.0, 0.5, 7.0], [0.25, -3.0, 9.0]])
    mapped = as_matrix(mapping) @ (4.0, 5.0, 0.0, 1.0)
    np.testing.assert_allclose(mapped, [*(mapping[:, :2] @ (4.0, 5.0) + mapping[:, 2]), 0.0, 1.0])
