"""Finding the subject and placing the motion on it."""

from __future__ import annotations

from dataclasses import replace

import cv2
import ellipsoid_shots as shots
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from blender_addon.core.request import FitMode, RenderRequest
from flextraj_backend.fitting.motion_fit import FitError, MotionFit, fit_motion, fit_silhouette
from flextraj_backend.fitting.silhouettes import group_silhouettes, overlap, warp_mask
from flextraj_backend.fitting.subject_mask import mask_from_silhouette, split_by_group

AUTO = RenderRequest("0" * 64, "0" * 64)
STILL = shots.moving((0, 0, 4), (0, 0, 4))


def fit(shot: shots.Shot, mask: NDArray[np.bool_] | None, request: RenderRequest = AUTO) -> MotionFit:
    return fit_motion(shot.trajectories, shot.photo, mask, request)


def figure(width: int, height: int, left: int, top: int, scale: float) -> NDArray[np.bool_]:
    """A head on shoulders with two legs; parts below the raster are cut off."""
    canvas = np.zeros((height, width), np.uint8)

    def at(x: float, y: float) -> tuple[int, int]:
        return round(left + scale * x), round(top + scale * y)

    cv2.ellipse(canvas, at(0, 11), (round(9 * scale), round(11 * scale)), 0, 0, 360, (1.0,), -1)
    cv2.rectangle(canvas, at(-18, 20), at(18, 62), (1.0,), -1)
    cv2.rectangle(canvas, at(-14, 62), at(-4, 120), (1.0,), -1)
    cv2.rectangle(canvas, at(4, 62), at(14, 120), (1.0,), -1)
    return canvas > 0


@settings(max_examples=30, deadline=None)
@given(scale=st.floats(0.6, 1.6), dx=st.floats(-40, 40), dy=st.floats(-20, 20))
def test_a_shifted_and_scaled_subject_is_found_again(scale: float, dx: float, dy: float):
    silhouette = figure(320, 240, 160, 70, 0.8)
    matrix = np.array([[scale, 0, 160 - scale * 160 + dx], [0, scale, 118 - scale * 118 + dy]])
    mask = warp_mask(silhouette, matrix)
    found = fit_silhouette(silhouette, mask)
    corners = np.array([[140.0, 72.0], [180.0, 160.0]])
    error = (corners @ found[:, :2].T + found[:, 2]) - (corners @ matrix[:, :2].T + matrix[:, 2])
    assert np.abs(error).max() < 2.0
    assert overlap(warp_mask(silhouette, found), mask) > 0.88


@settings(max_examples=25, deadline=None)
@given(scale=st.floats(1.2, 2.6), center=st.integers(120, 200), top=st.integers(10, 50))
def test_a_whole_rig_is_placed_on_a_half_body_portrait(scale: float, center: int, top: int):
    silhouette = figure(320, 240, 150, 60, 1.2)
    mask = figure(320, 240, center, top, 1.2 * scale)
    if not mask[-1].any() or mask[:, 0].any() or mask[:, -1].any():
        return
    found = fit_silhouette(silhouette, mask)
    assert abs(found[0, 0] / scale - 1) < 0.12
    head = found[:, :2] @ [150.0, 60.0] + found[:, 2]
    assert np.abs(head - [center, top]).max() < 8


@settings(max_examples=25, deadline=None)
@given(scale=st.floats(0.6, 1.5), center=st.integers(110, 210), top=st.integers(15, 60))
def test_a_half_body_rig_is_placed_on_a_half_body_portrait(scale: float, center: int, top: int):
    silhouette = figure(320, 240, 170, 40, 3.4)
    mask = figure(320, 240, center, top, 3.4 * scale)
    if not mask[-1].any() or mask[:, 0].any() or mask[:, -1].any():
        return
    found = fit_silhouette(silhouette, mask)
    assert abs(found[0, 0] / scale - 1) < 0.12
    head = found[:, :2] @ [170.0, 40.0] + found[:, 2]
    assert np.abs(head - [center, top]).max() < 8


def test_the_fit_never_mirrors_or_rotates():
    silhouette = figure(320, 240, 160, 60, 1.0)
    mask = warp_mask(silhouette, np.array([[-1.0, 0, 330], [0, 1.0, 0]]))
    found = fit_silhouette(silhouette, mask)
    assert found[0, 0] > 0
    assert found[0, 0] == found[1, 1]
    assert found[0, 1] == found[1, 0] == 0


def test_an_aligned_rig_keeps_its_place_and_finds_its_subject():
    shot = shots.shot([STILL], frames=2)
    found = fit(shot, None)
    assert np.array_equal(found.matrix, np.eye(2, 3))
    assert overlap(found.subject_mask, shot.mask) > 0.95
    assert found.iou > 0.95
    assert found.warnings == ()


def test_an_outline_that_is_a_little_off_is_pulled_to_the_edges_of_the_photo():
    shot = shots.shot([STILL], frames=2)
    off = np.roll(shot.mask, 2, axis=1)
    mask, warnings = mask_from_silhouette(shot.photo, off)
    assert warnings == ()
    assert overlap(mask, shot.mask) > overlap(off, shot.mask)


def test_the_same_photo_gives_the_same_mask():
    shot = shots.shot([STILL], frames=2)
    assert np.array_equal(fit(shot, None).subject_mask, fit(shot, None).subject_mask)


def test_the_users_mask_is_taken_as_it_is():
    shot = shots.shot([STILL], frames=2)
    mask = np.roll(shot.mask, 5, axis=0)
    assert np.array_equal(fit(shot, mask).subject_mask, mask)


def unaligned(shot: shots.Shot) -> shots.Shot:
    meta = replace(shot.trajectories.meta, aligned=False)
    return shots.Shot(replace(shot.trajectories, meta=meta), shot.photo, shot.truth)


def test_an_unaligned_rig_is_moved_onto_the_users_mask():
    shot = unaligned(shots.shot([STILL], frames=2, radii=(0.4, 0.6, 0.4)))
    mask = warp_mask(shot.mask, np.array([[1.2, 0, 20], [0, 1.2, -14]]))
    found = fit(shot, mask)
    assert overlap(warp_mask(shot.mask, found.matrix), mask) > 0.93


def test_a_given_matrix_is_used_as_it_is():
    shot = unaligned(shots.shot([STILL], frames=2))
    request = replace(AUTO, fit=FitMode.GIVEN, fit_matrix=(1.1, 0.1, -5.0, -0.1, 1.1, 3.0))
    found = fit(shot, shot.mask, request)
    assert np.allclose(found.matrix, [[1.1, 0.1, -5.0], [-0.1, 1.1, 3.0]])


def test_without_a_fit_the_motion_stays_where_the_camera_puts_it():
    shot = unaligned(shots.shot([STILL], frames=2))
    found = fit(shot, shot.mask, replace(AUTO, fit=FitMode.NONE))
    assert np.array_equal(found.matrix, np.eye(2, 3))


def test_a_motion_that_is_left_to_the_model_may_stand_beside_the_subject():
    shot = unaligned(shots.shot([STILL], frames=2))
    elsewhere = np.zeros_like(shot.mask)
    elsewhere[:8, :8] = True
    assert not (elsewhere & shot.mask).any()
    found = fit(shot, elsewhere, replace(AUTO, fit=FitMode.NONE))
    assert np.array_equal(found.matrix, np.eye(2, 3))
    assert np.array_equal(found.subject_mask, elsewhere)
    # Nothing that would lead away from what was asked for.
    assert not found.warnings


def test_a_guessed_subject_is_called_a_guess():
    found = fit(unaligned(shots.shot([STILL], frames=2)), None)
    assert any("the subject was guessed" in warning for warning in found.warnings)
    assert found.subject_mask.any()


def test_missing_silhouettes_are_estimated_and_it_says_so():
    shot = shots.shot([STILL], frames=2)
    bare = shots.Shot(replace(shot.trajectories, silhouette=None), shot.photo, shot.truth)
    found = fit(bare, shot.mask)
    assert any("outline was estimated" in warning for warning in found.warnings)
    assert overlap(group_silhouettes(bare.trajectories)[0], shot.mask) > 0.8


def test_a_rig_of_another_shape_is_reported_with_its_overlap():
    shot = unaligned(shots.shot([STILL], frames=2, radii=(0.2, 0.9, 0.2)))
    mask = np.zeros_like(shot.mask)
    mask[50:60, 20:140] = True
    assert any("differ in shape or pose" in warning for warning in fit(shot, mask).warnings)


def test_two_subjects_share_the_mask_by_who_is_there():
    left, right = shots.moving((-0.8, 0, 4), (-0.8, 0, 4)), shots.moving((0.8, 0, 4), (0.8, 0, 4))
    shot = shots.shot([left, right], frames=2)
    wide = cv2.dilate(shot.mask.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    parts = split_by_group(shot.trajectories, wide, np.eye(2, 3))
    assert sorted(parts) == [0, 1]
    assert not (parts[0] & parts[1]).any()
    assert np.array_equal(parts[0] | parts[1], wide)
    assert (parts[0] & shot.truth[0, 0]).sum() == shot.truth[0, 0].sum()


def test_a_set_of_nothing_but_background_needs_no_subject():
    shot = shots.shot([STILL], frames=2)
    segment = replace(shot.trajectories.meta.segments[0], background=True)
    ground = replace(shot.trajectories, meta=replace(shot.trajectories.meta, segments=(segment,)))
    found = fit_motion(ground, shot.photo, None, AUTO)
    assert np.array_equal(found.matrix, np.eye(2, 3))
    assert not found.subject_mask.any()


def _refused(kind: str) -> None:
    shot = shots.shot([STILL], frames=2)
    if kind == "photo":
        fit_motion(shot.trajectories, shot.photo[:, :100], None, AUTO)
    elif kind == "mask":
        fit(shot, shot.mask[:50])
    elif kind == "empty":
        fit(shot, np.zeros_like(shot.mask))
    elif kind == "elsewhere":
        corner = np.zeros_like(shot.mask)
        corner[:8, :8] = True
        fit(shot, corner)
    elif kind == "no rig":
        silhouette = np.zeros_like(shot.trajectories.silhouette)
        gone = replace(shot.trajectories, silhouette=silhouette)
        fit_motion(gone, shot.photo, shot.mask, AUTO)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("photo", "but the shot is 160x120 px: crop it to the shot's size first."),
        ("mask", "The subject mask is 160x50 px, but the photo is 160x120: paint it at the photo's size."),
        ("empty", "The subject mask is empty: paint the subject white."),
        ("elsewhere", "The subject mask and the rig do not overlap: check the mask"),
        ("no rig", "The rig is not in the picture on the first frame"),
    ],
)
def test_what_cannot_be_fitted_gets_a_sentence_that_says_what_to_do(kind: str, sentence: str):
    with pytest.raises(FitError) as caught:
        _refused(kind)
    assert sentence in caught.value.message


def test_a_fit_that_leaves_the_photo_is_named_and_no_mask_is_blamed():
    shot = unaligned(shots.shot([STILL], frames=2))
    request = replace(AUTO, fit=FitMode.GIVEN, fit_matrix=(1e6, 0.0, 1e9, 0.0, 1e6, 1e9))
    with pytest.raises(FitError, match="outside of the photo"):
        fit(shot, None, request)


def test_a_rig_that_misses_the_subject_gets_advice_that_helps():
    shot = unaligned(shots.shot([STILL], frames=2))
    specks = np.zeros_like(shot.mask)
    specks[2:-2:40, 2:-2:60] = True
    found = fit(shot, specks)
    assert found.iou < 0.05
    assert any("mark ground and props as background" in warning for warning in found.warnings)
