"""Camera model without Blender: intrinsics, finite projection, the way to the trajectory set and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from blender_addon.core.camera import CameraFrame, CameraSettings, SensorFit, camera_track
from blender_addon.core.camera_track import Projection
from blender_addon.core.errors import ErrorCode, FlexTrajError


def _camera(projection: Projection = Projection.PERSPECTIVE, **changes) -> CameraFrame:
    pose = np.eye(4)
    pose[:3, :3] = [[0.8, 0.0, 0.6], [0.0, 1.0, 0.0], [-0.6, 0.0, 0.8]]
    pose[:3, 3] = (1.0, 2.0, 3.0)
    values = {
        "projection": projection,
        "focal": np.array([50.0, 48.0]),
        "principal": np.array([31.0, 22.0]),
        "camera_to_world": pose,
        "width": 64,
        "height": 48,
        "clip_start": 0.1,
        "clip_end": 100.0,
    }
    return CameraFrame(**(values | changes))


def test_a_35_mm_lens_on_a_full_frame_sensor_gives_the_textbook_focal_length() -> None:
    settings = CameraSettings(Projection.PERSPECTIVE, lens=35.0, sensor_width=36.0)
    focal, principal = settings.intrinsics(720, 480)
    np.testing.assert_allclose(focal, [700.0, 700.0])
    np.testing.assert_allclose(principal, [360.0, 240.0])


def test_a_portrait_raster_fits_the_sensor_to_its_height() -> None:
    settings = CameraSettings(Projection.PERSPECTIVE, lens=35.0, sensor_width=36.0)
    np.testing.assert_allclose(settings.intrinsics(480, 720)[0], [700.0, 700.0])
    wide = CameraSettings(Projection.PERSPECTIVE, 35.0, 36.0, sensor_fit=SensorFit.HORIZONTAL)
    np.testing.assert_allclose(wide.intrinsics(480, 720)[0], [35 / 36 * 480] * 2)


def test_lens_shift_moves_the_picture_by_its_share_of_the_fitted_side() -> None:
    settings = CameraSettings(Projection.ORTHOGRAPHIC, ortho_scale=4.0, shift_x=0.25, shift_y=0.1)
    focal, principal = settings.intrinsics(400, 200)
    np.testing.assert_allclose(focal, [100.0, 100.0])
    np.testing.assert_allclose(principal, [200.0 - 100.0, 100.0 + 40.0])


def test_a_render_percentage_truncates_the_size_and_never_reaches_zero() -> None:
    half = CameraSettings(
        Projection.PERSPECTIVE, resolution_x=383, resolution_y=163, resolution_percentage=33
    )
    assert half.raster_size == (126, 53)
    tiny = CameraSettings(Projection.PERSPECTIVE, resolution_x=4, resolution_y=4, resolution_percentage=1)
    assert tiny.raster_size == (1, 1)


@given(
    points=arrays(np.float64, (7, 3), elements=st.floats(width=64)),
    projection=st.sampled_from(Projection),
)
def test_no_point_of_any_scene_puts_a_number_that_is_not_finite_into_a_track(points, projection) -> None:
    pixels = _camera(projection).world_to_pixels(points)
    assert np.isfinite(pixels).all()
    assert np.isfinite(pixels.astype(np.float32)).all()


def test_a_point_in_the_plane_of_the_camera_or_behind_it_keeps_its_depth() -> None:
    camera = _camera()
    local = np.array([(0.0, 0.0, 0.0), (3.0, 1.0, 0.0), (0.2, 0.1, 5.0), (0.2, 0.1, -5.0)])
    world = local @ camera.camera_to_world[:3, :3].T + camera.camera_to_world[:3, 3]
    pixels = camera.world_to_pixels(world)
    np.testing.assert_allclose(pixels[:, 2], [0.0, 0.0, -5.0, 5.0], atol=1e-12)
    np.testing.assert_allclose(pixels[3, :2], [31.0 + 50 * 0.2 / 5, 22.0 - 48 * 0.1 / 5])


@given(
    points=arrays(np.float64, (9, 3), elements=st.floats(-3, 3)),
    projection=st.sampled_from(Projection),
)
def test_a_trajectory_set_leads_back_to_the_points_in_the_scene(points, projection) -> None:
    points = points + np.array([-30.0, 2.0, -40.0])  # in front of the camera
    camera = _camera(projection)
    pixels = camera.world_to_pixels(points)
    assert (pixels[:, 2] > 0).all()
    track = camera_track([camera])
    lifted = track.unproject(pixels[None])[0] * (1.0, -1.0, -1.0)  # y down, z forward -> Blender's axes
    back = lifted @ camera.camera_to_world[:3, :3].T + camera.camera_to_world[:3, 3]
    np.testing.assert_allclose(back, points, atol=1e-9)


def test_homogeneous_raster_coordinates_interpolate_over_a_triangle_exactly() -> None:
    camera = _camera()
    corners = np.array([(-8.0, 1.0, -2.0), (-1.0, 4.0, -9.0), (-20.0, 0.0, -60.0)])
    weights = np.array([0.2, 0.5, 0.3])
    between = weights @ camera.world_to_homogeneous(corners)
    expected = camera.world_to_pixels(np.einsum("k,kd->d", weights, corners)[None])[0]
    np.testing.assert_allclose(between[:2] / between[3], expected[:2])
    np.testing.assert_allclose(between[2], expected[2])


def test_a_cut_between_camera_types_is_refused_in_one_sentence() -> None:
    frames = [_camera(), _camera(Projection.ORTHOGRAPHIC)]
    with pytest.raises(FlexTrajError, match=r"use one camera type for all frames\.$") as caught:
        camera_track(frames)
    assert caught.value.code is ErrorCode.NO_CAMERA


def test_the_track_of_a_zooming_camera_keeps_every_frames_lens_and_pose() -> None:
    moved = np.eye(4)
    moved[0, 3] = 5.0
    track = camera_track([_camera(), _camera(focal=np.array([80.0, 80.0]), camera_to_world=moved)])
    assert track.frame_count == 2
    np.testing.assert_allclose(track.focal, [[50.0, 48.0], [80.0, 80.0]])
    np.testing.assert_allclose(track.camera_to_world[1], moved)
