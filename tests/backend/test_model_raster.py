"""A shot of any size on the mini model's raster: nothing of it may be cut, squeezed or moved."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_engines import request, shot

from blender_addon.core.camera_track import CameraTrack, Projection
from blender_addon.core.placement import apply
from flextraj_backend.conditioning.render import render_conditioning
from flextraj_backend.conditioning.requested import conditioning_settings
from flextraj_backend.engines.mini.model_raster import ModelRaster
from flextraj_backend.models.backbone import Backbone

sides = st.integers(16, 1200)


@given(sides, sides)
def test_the_whole_shot_lies_centred_in_the_models_raster_as_large_as_it_can(width: int, height: int) -> None:
    raster = ModelRaster(96, 64, width, height)
    left, top, inner_width, inner_height = raster.content
    assert inner_width == 96 or inner_height == 64
    assert min(left, top) >= 0 and left + inner_width <= 96 and top + inner_height <= 64
    assert abs(96 - inner_width - 2 * left) <= 1 and abs(64 - inner_height - 2 * top) <= 1
    # Never squeezed by more than rounding to whole pixels.
    assert abs(inner_width - width * inner_height / height) <= 1 + width / height


@given(sides, sides)
def test_the_corners_of_the_shot_are_the_corners_of_its_place(width: int, height: int) -> None:
    raster = ModelRaster(96, 64, width, height)
    left, top, inner_width, inner_height = raster.content
    corners = apply(raster.matrix, np.array([[0.0, 0.0], [width, height]]))
    np.testing.assert_allclose(corners, [[left, top], [left + inner_width, top + inner_height]], atol=1e-9)


@pytest.mark.parametrize(("width", "height"), [(720, 480), (480, 720), (1280, 720), (64, 48)])
def test_a_picture_comes_back_in_its_place_and_beyond_it_its_edges_continue(width: int, height: int) -> None:
    across, down = np.meshgrid(np.linspace(20, 230, width), np.linspace(20, 230, height))
    photo = np.stack([across, down, np.full_like(across, 90)], axis=-1).round().astype(np.uint8)
    raster = ModelRaster(96, 64, width, height)
    small = raster.photo(photo)
    assert small.shape == (64, 96, 3)
    left, top, inner_width, inner_height = raster.content
    np.testing.assert_array_equal(small[:, :left], np.repeat(small[:, left : left + 1], left, axis=1))
    below = 64 - top - inner_height
    last = top + inner_height - 1
    np.testing.assert_array_equal(small[last + 1 :], np.repeat(small[last : last + 1], below, axis=0))
    (back,) = raster.enlarged(small[None])
    assert back.shape == photo.shape
    difference = np.abs(back.astype(int) - photo)
    # One pixel of the model spans so many grey values of the ramp.
    assert difference.max() <= 2 * 210 / min(inner_width, inner_height) + 3


def test_a_fine_pattern_becomes_grey_and_no_moire() -> None:
    stripes = np.zeros((480, 720, 3), np.uint8)
    stripes[:, ::2] = 255
    small = ModelRaster(96, 64, 720, 480).photo(stripes).astype(int)
    assert np.ptp(small) <= 40 and abs(small.mean() - 127) < 3


def test_points_lie_on_the_same_things_of_the_picture_and_the_fit_places_them_alike() -> None:
    trajectories, raster = shot(5, width=480, height=720), ModelRaster(96, 64, 480, 720)
    moved = raster.trajectories(trajectories)
    assert (moved.meta.width, moved.meta.height) == (96, 64)
    np.testing.assert_allclose(
        moved.positions[..., :2], apply(raster.matrix, trajectories.positions[..., :2]), atol=1e-4
    )
    np.testing.assert_array_equal(moved.positions[..., 2], trajectories.positions[..., 2])
    np.testing.assert_array_equal(moved.visible, trajectories.visible)
    fit = np.array([[0.5, 0.2, 30.0], [-0.2, 0.5, 60.0]])
    expected = apply(raster.matrix, apply(fit, trajectories.positions[..., :2]))
    np.testing.assert_allclose(apply(raster.fit(fit), moved.positions[..., :2]), expected, atol=1e-3)


def test_the_camera_of_the_small_shot_sees_the_same_points_in_space() -> None:
    frames = 3
    camera = CameraTrack(
        Projection.PERSPECTIVE,
        np.full((frames, 2), 500.0),
        np.tile([360.0, 200.0], (frames, 1)),
        np.tile(np.eye(4), (frames, 1, 1)),
    )
    trajectories = shot(frames, width=720, height=400)
    trajectories = replace(trajectories, meta=replace(trajectories.meta, camera=camera))
    moved = ModelRaster(96, 64, 720, 400).trajectories(trajectories)
    assert moved.meta.camera is not None
    np.testing.assert_allclose(
        moved.meta.camera.unproject(moved.positions), camera.unproject(trajectories.positions), atol=1e-3
    )


def test_silhouettes_and_masks_keep_their_place() -> None:
    mask = np.zeros((720, 480), bool)
    mask[360:, :240] = True
    small = ModelRaster(96, 64, 480, 720).mask(mask)
    left, _, width, _ = ModelRaster(96, 64, 480, 720).content
    assert small[40, left + 5] and not small[20, left + 5] and not small[40, left + width - 5]
    assert not small[:, :left].any()
    assert small.sum() == pytest.approx(32 * width / 2, rel=0.1)


def test_the_small_conditioning_videos_show_every_point_that_the_shots_own_show() -> None:
    trajectories = shot(4, width=480, height=320)
    settings = conditioning_settings(request(Backbone.COGVIDEOX))
    large = render_conditioning(trajectories, settings).ids
    small = render_conditioning(ModelRaster(96, 64, 480, 320).trajectories(trajectories), settings).ids
    shown = {tuple(color) for color in large.reshape(-1, 3)}
    assert {tuple(color) for color in small.reshape(-1, 3)} <= shown
    assert len({tuple(color) for color in small[0].reshape(-1, 3)}) > 8
