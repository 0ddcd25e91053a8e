"""Which frame of a motion shows the rig in the pose of the photo's subject: overlap of silhouettes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .placement import Affine, scale_of

MATCH_SIDE = 96
"""Longer side of the pictures that are compared, in pixels."""
FIRST_STEP, LAST_STEP = 0.08, 0.01
"""Of the pattern search, in units of the longer side and of the scale."""
CUT_PIXELS = 2
"""A side cuts a silhouette where at least this many of its border pixels belong to it."""
START_SCALES = (0.8, 1.0, 1.25)


@dataclass(frozen=True, eq=False)
class PoseMatch:
    """How well a silhouette covers the subject.

    Attributes:
        frame: scene frame.
        overlap: intersection over union after the best shift and scale, 0 to 1.
        fit: (2, 3) from pixels of the silhouette to those of the mask.
    """

    frame: float
    overlap: float
    fit: Affine


def shrunk(mask: NDArray[np.bool_], side: int = MATCH_SIDE) -> NDArray[np.bool_]:
    """A mask (H, W) made small enough to be compared; the aspect ratio stays."""
    height, width = mask.shape
    factor = side / max(height, width)
    if factor >= 1:
        return mask
    rows = np.minimum(((np.arange(max(1, round(height * factor))) + 0.5) / factor).astype(int), height - 1)
    columns = np.minimum(((np.arange(max(1, round(width * factor))) + 0.5) / factor).astype(int), width - 1)
    return mask[np.ix_(rows, columns)]


def match_pose(frame: float, silhouette: NDArray[np.bool_], mask: NDArray[np.bool_]) -> PoseMatch | None:
    """Place a silhouette on the subject by shift and scale, without rotation or mirroring.

    Args:
        silhouette: (H, W) bool of the rig.
        mask: (H, W) bool of the photo's subject, not empty, at the same raster.

    Returns:
        The best placement that was found, None where the silhouette is empty.
    """
    if not silhouette.any():
        return None
    search = _Search(silhouette, mask)
    found = max((search.improve(start) for start in search.starts()), key=lambda item: item[0])
    return PoseMatch(frame, *found)


def best_frames(matches: Sequence[PoseMatch], count: int, apart: float) -> tuple[PoseMatch, ...]:
    """The best matches, the best first, no two nearer to each other than `apart` frames."""
    chosen: list[PoseMatch] = []
    for match in sorted(matches, key=lambda item: (-item.overlap, item.frame)):
        if len(chosen) < count and all(abs(match.frame - other.frame) >= apart for other in chosen):
            chosen.append(match)
    return tuple(chosen)


class _Search:
    """Overlap of the moved silhouette and the mask within the frame."""

    def __init__(self, silhouette: NDArray[np.bool_], mask: NDArray[np.bool_]) -> None:
        self._silhouette, self._mask = silhouette, mask
        self._x = np.arange(mask.shape[1]) + 0.5
        self._y = np.arange(mask.shape[0]) + 0.5
        self._rig, self._subject = _box(silhouette), _box(mask)
        self._rig_cut, self._subject_cut = _cut_sides(silhouette), _cut_sides(mask)

    def starts(self) -> list[Affine]:
        """The similarity of the bounding boxes; where the frame cuts one of them, more to choose from."""
        rig, subject = self._rig, self._subject
        by_width = (subject[2] - subject[0]) / (rig[2] - rig[0])
        by_height = (subject[3] - subject[1]) / (rig[3] - rig[1])
        scale = float(np.sqrt(by_width * by_height)) if 0.5 < by_height / by_width < 2 else by_height
        factors = START_SCALES if self._rig_cut.any() or self._subject_cut.any() else (1.0,)
        # A head that both show stands at the top of both boxes; else their middles meet.
        anchor = 1 if self._subject_cut[3] else None
        result = []
        for factor in factors:
            size = scale * factor
            x = (subject[0] + subject[2] - size * (rig[0] + rig[2])) / 2
            y = (subject[1] + subject[3] - size * (rig[1] + rig[3])) / 2
            if anchor is not None:
                y = subject[1] - size * rig[1]
            result.append(np.array([[size, 0.0, x], [0.0, size, y]]))
        return result

    def improve(self, fit: Affine) -> tuple[float, Affine]:
        """Pattern search over shift and scale; scaling keeps the middle of the rig in place."""
        best, step = self._overlap(fit), FIRST_STEP
        length = max(self._mask.shape)
        middle = np.array([(self._rig[0] + self._rig[2]) / 2, (self._rig[1] + self._rig[3]) / 2])
        while step > LAST_STEP:
            has_moved = False
            for candidate in _neighbours(fit, step, step * length / 2, middle):
                value = self._overlap(candidate)
                if value > best + 1e-6:
                    best, fit, has_moved = value, candidate, True
            if not has_moved:
                step /= 2
        return best, fit

    def _overlap(self, fit: Affine) -> float:
        scale = scale_of(fit)
        height, width = self._silhouette.shape
        columns = np.floor((self._x - fit[0, 2]) / scale).astype(np.int64)
        rows = np.floor((self._y - fit[1, 2]) / scale).astype(np.int64)
        # A rig that the frame cuts goes on beyond it, so its border row is repeated on that side.
        left, top, right, bottom = self._rig_cut
        used_columns = (left | (columns >= 0)) & (right | (columns < width))
        used_rows = (top | (rows >= 0)) & (bottom | (rows < height))
        part = np.ix_(np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1))
        moved = self._silhouette[part] & (used_rows[:, None] & used_columns)
        both = np.count_nonzero(moved & self._mask)
        return both / max(np.count_nonzero(moved | self._mask), 1)


def _neighbours(fit: Affine, step: float, shift: float, middle: NDArray[np.float64]) -> list[Affine]:
    result = []
    for x, y in ((shift, 0.0), (-shift, 0.0), (0.0, shift), (0.0, -shift)):
        result.append(fit + np.array([[0.0, 0.0, x], [0.0, 0.0, y]]))
    fixed = fit[:, :2] @ middle + fit[:, 2]
    for factor in (1 + step, 1 / (1 + step)):
        linear = fit[:, :2] * factor
        result.append(np.column_stack([linear, fixed - linear @ middle]))
    return result


def _box(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of what is in a mask that is not empty."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _cut_sides(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether the frame cuts a mask at its left, top, right and bottom."""
    sides = (mask[:, 0], mask[0], mask[:, -1], mask[-1])
    return np.array([np.count_nonzero(side) >= CUT_PIXELS for side in sides])
