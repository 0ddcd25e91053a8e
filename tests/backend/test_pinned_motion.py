"""Pins and mirroring in the fit: what would move to another place than the user put it."""

from __future__ import annotations

from dataclasses import replace

import ellipsoid_shots as shots
import numpy as np
import pytest

from blender_addon.core.errors import FlexTrajError
from blender_addon.core.placement import apply
from blender_addon.core.request import FitMode, FitPin, RenderRequest
from blender_addon.core.trajectories import Segment
from flextraj_backend.engines.base import ConditioningVideos, EngineInputs
from flextraj_backend.engines.preview.engine import PreviewEngine
from flextraj_backend.fitting.motion_fit import MotionFit, fit_motion
from flextraj_backend.fitting.silhouettes import overlap

AUTO = RenderRequest(trajectories="a" * 64, image="b" * 64)
LEFT, RIGHT = (-0.7, 0.0, 5.0), (0.8, 0.1, 5.0)


def pair(groups: tuple[int, int] = (0, 1)) -> shots.Shot:
    """Two ellipsoids side by side, not aligned."""
    shot = shots.shot(
        [shots.moving(LEFT, LEFT, 30), shots.moving(RIGHT, RIGHT, 30)],
        frames=3,
        points=200,
        radii=(0.3, 0.5, 0.3),
        groups=groups,
    )
    meta = replace(shot.trajectories.meta, aligned=False)
    return replace(shot, trajectories=replace(shot.trajectories, meta=meta))


def fit(shot: shots.Shot, mask: np.ndarray | None = None, **settings: object) -> MotionFit:
    request = replace(AUTO, **settings)
    return fit_motion(shot.trajectories, shot.photo, shot.mask if mask is None else mask, request)


def on_photo(found: MotionFit, point: int, frame: int = 0) -> np.ndarray:
    return apply(found.matrix, found.trajectories.positions[frame, point, :2])


def test_a_pinned_point_goes_where_the_user_put_it_and_its_group_goes_along() -> None:
    shot = pair()
    x, y = (float(value) for value in shot.trajectories.positions[0, 250, :2])
    free = fit(shot, fit=FitMode.NONE)
    found = fit(shot, fit=FitMode.NONE, pins=(FitPin(1, 50, x + 9, y - 4),))
    assert np.allclose(on_photo(found, 250), [x + 9, y - 4], atol=1e-3)
    for frame in range(3):
        assert np.allclose(
            on_photo(found, 399, frame), on_photo(free, 399, frame) + np.array([9, -4]), atol=1e-3
        )
        assert np.array_equal(on_photo(found, 20, frame), on_photo(free, 20, frame))
    assert set(found.pinned) == {1}


def test_two_pins_turn_and_scale_their_group() -> None:
    shot = pair()
    places = shot.trajectories.positions[0, [10, 120], :2].astype(float)
    wanted = places.mean(axis=0) + 1.3 * (places - places.mean(axis=0)) @ np.array([[0.8, 0.6], [-0.6, 0.8]])
    pins = tuple(
        FitPin(0, point, float(x), float(y)) for point, (x, y) in zip((10, 120), wanted, strict=True)
    )
    found = fit(shot, pins=pins)
    assert np.allclose([on_photo(found, 10), on_photo(found, 120)], wanted, atol=1e-2)


def test_segments_of_one_group_move_as_one() -> None:
    shot = pair(groups=(3, 3))
    x, y = (float(value) for value in shot.trajectories.positions[0, 0, :2])
    found = fit(shot, fit=FitMode.NONE, pins=(FitPin(0, 0, x + 5, y),))
    moved = found.trajectories.positions[..., :2] - shot.trajectories.positions[..., :2]
    assert np.allclose(moved, [5, 0], atol=1e-3)


def test_a_pinned_outline_goes_along_so_that_the_preview_finds_the_group() -> None:
    shot = pair()
    x, y = (float(value) for value in shot.trajectories.positions[0, 250, :2])
    found = fit(shot, fit=FitMode.NONE, pins=(FitPin(1, 50, x - 6, y),))
    assert found.trajectories.silhouette is not None and shot.trajectories.silhouette is not None
    before, after = shot.trajectories.silhouette[1], found.trajectories.silhouette[1]
    assert overlap(after[:, :-6], before[:, 6:]) > 0.98


def test_a_pin_of_a_point_that_is_gone_is_refused() -> None:
    for pin in (FitPin(0, 200, 1, 1), FitPin(9, 0, 1, 1)):
        with pytest.raises(FlexTrajError, match="remove the pins"):
            fit(pair(), pins=(pin,))


def test_a_pin_of_a_prop_is_refused_because_props_move_with_the_camera() -> None:
    shot = pair()
    first, _ = shot.trajectories.meta.segments
    meta = replace(shot.trajectories.meta, segments=(first, Segment(1, "Ground", 1, background=True)))
    shot = replace(shot, trajectories=replace(shot.trajectories, meta=meta))
    with pytest.raises(FlexTrajError, match="Ground"):
        fit(shot, pins=(FitPin(1, 0, 1, 1),))


def lopsided() -> shots.Shot:
    """A large ellipsoid on the left and a small one on the right, one subject."""
    shot = pair((0, 0))
    assert shot.trajectories.silhouette is not None
    silhouette = shot.trajectories.silhouette.copy()
    silhouette[1, :50] = False
    return replace(shot, trajectories=replace(shot.trajectories, silhouette=silhouette))


def test_the_fit_never_mirrors_by_itself() -> None:
    shot = lopsided()
    assert shot.trajectories.silhouette is not None
    mirrored = shot.trajectories.silhouette.any(axis=0)[:, ::-1]
    assert np.linalg.det(fit(shot, mirrored).matrix[:, :2]) > 0


@pytest.mark.parametrize("mode", [FitMode.AUTO, FitMode.NONE])
def test_mirroring_on_request_swaps_left_and_right(mode: FitMode) -> None:
    shot = lopsided()
    assert shot.trajectories.silhouette is not None
    mirrored = shot.trajectories.silhouette.any(axis=0)[:, ::-1]
    found = fit(shot, mirrored, fit=mode, mirror=True)
    assert np.linalg.det(found.matrix[:, :2]) < 0
    assert found.iou > 0.95
    assert found.iou > fit(shot, mirrored, fit=mode).iou + 0.1


def test_a_given_place_is_that_of_the_mirrored_rig() -> None:
    shot = lopsided()
    found = fit(shot, fit=FitMode.GIVEN, fit_matrix=(1.0, 0.0, 3.0, 0.0, 1.0, 0.0), mirror=True)
    assert np.allclose(found.matrix, [[-1, 0, shots.WIDTH + 3], [0, 1, 0]])


def test_a_mirrored_draft_is_the_mirror_image_of_the_draft_of_the_mirrored_photo() -> None:
    start, end = (-0.5, 0.0, 5.0), (0.1, 0.1, 5.0)
    shot = shots.shot([shots.moving(start, end, 40)], frames=4, points=400, radii=(0.4, 0.6, 0.4))
    meta = replace(shot.trajectories.meta, aligned=False)
    trajectories = replace(shot.trajectories, meta=meta)

    def draft(photo: np.ndarray, mask: np.ndarray, request: RenderRequest) -> np.ndarray:
        placed = fit_motion(trajectories, photo, mask, request)
        black = np.zeros((4, *photo.shape), np.uint8)
        inputs = EngineInputs(
            request,
            placed.trajectories,
            photo,
            placed.matrix,
            ConditioningVideos(black, black),
            mask,
            placed.subject_mask,
        )
        return PreviewEngine().render(inputs, lambda _: None, lambda: False).frames

    plain = draft(shot.photo, shot.mask, AUTO)
    mirrored = draft(
        np.ascontiguousarray(shot.photo[:, ::-1]),
        np.ascontiguousarray(shot.mask[:, ::-1]),
        replace(AUTO, mirror=True),
    )
    difference = np.abs(plain[-1].astype(int) - mirrored[-1, :, ::-1]).mean()
    moved = np.abs(plain[-1].astype(int) - plain[0]).mean()
    assert moved > 3
    assert difference < 0.15 * moved
