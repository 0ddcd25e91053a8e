"""Outlines over the photo: what a user would see in a wrong place."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from blender_addon.core.contours import mask_contours
from blender_addon.core.outline_picture import tinted_mask

masks = arrays.arrays(bool, st.tuples(st.integers(1, 20), st.integers(1, 20)))


def test_the_outline_of_a_disc_is_a_smooth_circle() -> None:
    rows, columns = np.mgrid[:80, :100] + 0.5
    lines = mask_contours((columns - 50) ** 2 + (rows - 40) ** 2 < 25**2)
    radius = np.hypot(*(lines - [50, 40]).T)
    assert np.abs(radius - 25).max() < 0.7
    directions = np.degrees(np.arctan2(*(lines[::2] - [50, 40]).T[::-1]))
    assert np.diff(np.sort(directions)).max() < 6


def test_the_border_of_the_photo_is_no_outline() -> None:
    mask = np.zeros((40, 60), bool)
    mask[20:, 10:50] = True
    lines = mask_contours(mask)
    assert lines[:, 1].max() <= 39.5
    along_border = (lines[::2, 1] > 39) & (lines[1::2, 1] > 39)
    assert not (along_border & (np.abs(lines[::2, 0] - lines[1::2, 0]) > 0.9)).any()
    assert len(mask_contours(np.ones((9, 9), bool))) == 0


@given(masks)
def test_outlines_stay_in_the_picture_and_close_or_end_at_its_border(mask: np.ndarray) -> None:
    lines = mask_contours(mask)
    height, width = mask.shape
    assert (lines >= 0.49).all() and (lines <= np.array([width, height]) - 0.49).all()
    ends, counts = np.unique(np.round(lines, 3), axis=0, return_counts=True)
    loose = ends[counts % 2 == 1]
    at_border = (np.abs(loose - 0.5) < 0.01) | (np.abs(loose - np.array([width, height]) + 0.5) < 0.01)
    crop = np.abs(loose - np.round(loose - 0.5) - 0.5) < 0.01
    assert (at_border | crop).any(axis=1).all()


@given(masks)
def test_the_tint_covers_the_mask_and_nothing_else(mask: np.ndarray) -> None:
    picture = tinted_mask(mask, (10, 20, 30), 0.5, 1)
    assert np.array_equal(picture[..., 3] > 0, mask)
    assert (picture[..., :3] == (10, 20, 30)).all()
