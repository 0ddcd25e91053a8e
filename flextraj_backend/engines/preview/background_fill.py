"""The background behind the subject, guessed once from its surroundings.

Exemplar fill by PatchMatch (Barnes et al. 2009) with the voting of Wexler, Shechtman, Irani 2007, coarse to
fine up to half size, then a copy of the fine detail by the shift map. Reference algorithm, step 10: its mean
error is no better than diffusion's, but it looks like texture instead of smears.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from flextraj_backend.engines.preview.canvas import blur

LEVELS = ((8, 6), (4, 4), (2, 2))
"""(reduction, rounds of voting)"""
PATCH = 7
SWEEPS = 4
MAX_CORRECTION = 24.0
"""Largest change of brightness of the filled texture (0 to 255)."""
DETAIL_SIGMA = 2.0
DETAIL_GAIN = 0.9
_HALF = PATCH // 2
_OFFSETS = tuple((dy, dx) for dy in range(-_HALF, _HALF + 1) for dx in range(-_HALF, _HALF + 1))


def diffuse(picture: NDArray[np.float32], hole: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Fill a hole smoothly from its rim (pyramid of weighted averages), (H, W, 3) float32."""
    weight = (~hole).astype(np.float32)
    levels = [(picture * weight[..., None], weight)]
    while min(levels[-1][1].shape) > 4:
        color, weight = levels[-1]
        size = (max(1, weight.shape[1] // 2), max(1, weight.shape[0] // 2))
        levels.append(
            (
                cv2.resize(blur(color, 1.0), size, interpolation=cv2.INTER_AREA).astype(np.float32),
                cv2.resize(blur(weight, 1.0), size, interpolation=cv2.INTER_AREA).astype(np.float32),
            )
        )
    color, weight = levels[-1]
    filled = color / np.maximum(weight[..., None], 1e-4)
    for color, weight in levels[-2::-1]:
        coarse = cv2.resize(filled, weight.shape[::-1], interpolation=cv2.INTER_LINEAR)
        share = np.clip(weight, 0, 1)[..., None]
        known = color / np.maximum(weight[..., None], 1e-4)
        filled = np.where(share > 1e-3, known, 0) * share + coarse * (1 - share)
    return np.where(hole[..., None], filled, picture).astype(np.float32)


class _PatchSearch:
    """One level of the pyramid: the current guess and the best source of each patch at the hole."""

    def __init__(
        self,
        picture: NDArray[np.float32],
        hole: NDArray[np.bool_],
        guess: NDArray[np.float32],
        rng: np.random.Generator,
    ) -> None:
        kernel = np.ones((PATCH, PATCH), np.uint8)
        self.picture, self.hole, self.guess, self.rng = picture, hole, guess, rng
        self.height, self.width = hole.shape
        self.valid = (
            cv2.erode((~hole).astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=(0.0,))
            > 0
        )
        self.valid_rows, self.valid_columns = np.nonzero(self.valid)
        self.rows, self.columns = np.nonzero(cv2.dilate(hole.astype(np.uint8), kernel) > 0)
        self.number = np.full(hole.shape, -1, np.int64)
        self.number[self.rows, self.columns] = np.arange(len(self.rows))
        self.source_rows = np.zeros(len(self.rows), np.int64)
        self.source_columns = np.zeros(len(self.rows), np.int64)
        self.padded = self._pad(picture)
        self.targets = np.zeros((len(self.rows), len(_OFFSETS), 3), np.float32)
        self.costs = np.zeros(len(self.rows), np.float32)

    @property
    def can_search(self) -> bool:
        return self.valid_rows.size > 0

    @staticmethod
    def _pad(picture: NDArray[np.float32]) -> NDArray[np.float32]:
        return cv2.copyMakeBorder(picture, _HALF, _HALF, _HALF, _HALF, cv2.BORDER_REFLECT_101).astype(
            np.float32
        )

    def seed(self, coarse_shift: NDArray[np.int64] | None) -> None:
        """Start from the coarser level's shifts (2, h, w), or at random."""
        if coarse_shift is not None:
            y = np.minimum(self.rows // 2, coarse_shift.shape[1] - 1)
            x = np.minimum(self.columns // 2, coarse_shift.shape[2] - 1)
            self.source_rows = np.clip(self.rows + 2 * coarse_shift[0, y, x], 0, self.height - 1)
            self.source_columns = np.clip(self.columns + 2 * coarse_shift[1, y, x], 0, self.width - 1)
            wrong = ~self.valid[self.source_rows, self.source_columns]
        else:
            wrong = np.ones(len(self.rows), bool)
        drawn = self.rng.integers(0, len(self.valid_rows), int(wrong.sum()))
        self.source_rows[wrong] = self.valid_rows[drawn]
        self.source_columns[wrong] = self.valid_columns[drawn]

    def _cost(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
        cost = np.zeros(len(rows), np.float32)
        for k, (dy, dx) in enumerate(_OFFSETS):
            difference = self.padded[rows + _HALF + dy, columns + _HALF + dx] - self.targets[:, k]
            cost += np.einsum("pc,pc->p", difference, difference)
        return cost

    def _try(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> None:
        rows = np.clip(rows, 0, self.height - 1)
        columns = np.clip(columns, 0, self.width - 1)
        cost = self._cost(rows, columns)
        better = self.valid[rows, columns] & (cost < self.costs)
        self.costs = np.where(better, cost, self.costs)
        self.source_rows = np.where(better, rows, self.source_rows)
        self.source_columns = np.where(better, columns, self.source_columns)

    def search(self) -> None:
        """Propagate good sources to neighbours at shrinking jumps, with random trials."""
        padded = self._pad(self.guess)
        for k, (dy, dx) in enumerate(_OFFSETS):
            self.targets[:, k] = padded[self.rows + _HALF + dy, self.columns + _HALF + dx]
        self.costs = self._cost(self.source_rows, self.source_columns)
        for sweep in range(SWEEPS):
            jump = 2 ** (SWEEPS - 1 - sweep)
            for dy, dx in ((0, jump), (0, -jump), (jump, 0), (-jump, 0)):
                y = np.clip(self.rows + dy, 0, self.height - 1)
                x = np.clip(self.columns + dx, 0, self.width - 1)
                neighbour = self.number[y, x]
                known = neighbour >= 0
                self._try(
                    np.where(known, self.source_rows[neighbour] - dy, self.source_rows),
                    np.where(known, self.source_columns[neighbour] - dx, self.source_columns),
                )
            reach = max(self.height, self.width) / 2 ** (1.5 * sweep + 1)
            self._try(
                (self.source_rows + self.rng.uniform(-reach, reach, len(self.rows))).astype(np.int64),
                (self.source_columns + self.rng.uniform(-reach, reach, len(self.rows))).astype(np.int64),
            )

    def vote(self) -> None:
        """Replace the hole by the average of all source patches that cover a pixel, weighted by fit."""
        height, width = self.height + 2 * _HALF, self.width + 2 * _HALF
        total = np.zeros((height, width, 3), np.float32)
        weights = np.zeros((height, width), np.float32)
        weight = (
            np.exp(-self.costs / (2 * float(np.percentile(self.costs, 75)) + 1e-3)).astype(np.float32) + 1e-6
        )
        for dy, dx in _OFFSETS:
            y, x = self.rows + _HALF + dy, self.columns + _HALF + dx
            source = self.padded[self.source_rows + _HALF + dy, self.source_columns + _HALF + dx]
            total[y, x] += source * weight[:, None]
            weights[y, x] += weight
        inner = slice(_HALF, -_HALF)
        voted = total[inner, inner] / np.maximum(weights[inner, inner, None], 1e-9)
        voted += self._membrane(voted, weights[inner, inner] > 0)
        self.guess = np.where(self.hole[..., None], voted, self.picture).astype(np.float32)

    def _membrane(self, voted: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Smooth correction that makes the votes meet the photo at the hole's rim (Perez et al. 2003)."""
        rim = known & ~self.hole & (cv2.dilate(self.hole.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0)
        error = np.clip(self.picture - voted, -MAX_CORRECTION, MAX_CORRECTION)
        return diffuse(np.where(rim[..., None], error, 0).astype(np.float32), ~rim)

    def shifts(self) -> NDArray[np.int64]:
        """Source minus target, (2, h, w); 0 away from the hole."""
        result = np.zeros((2, self.height, self.width), np.int64)
        result[0, self.rows, self.columns] = self.source_rows - self.rows
        result[1, self.rows, self.columns] = self.source_columns - self.columns
        return result


def fill_background(
    photo: NDArray[np.uint8],
    hole: NDArray[np.bool_],
    feather: float,
    rng: np.random.Generator,
    check: Callable[[], None] = lambda: None,
) -> NDArray[np.uint8]:
    """Fill a hole of the photo. Pixels outside the hole stay as they are.

    Args:
        photo: (H, W, 3) uint8.
        hole: (H, W) bool.
        feather: width in pixels of the blend from photo to fill, inside the hole.
        check: called between rounds; it may raise to stop.
    """
    if not hole.any():
        return photo.copy()
    height, width = hole.shape
    if hole.all():
        return photo.copy()
    guess: NDArray[np.float32] | None = None
    shift: NDArray[np.int64] | None = None
    reduction = 1
    for reduction, rounds in LEVELS:
        size = (max(1, width // reduction), max(1, height // reduction))
        small = cv2.resize(photo, size, interpolation=cv2.INTER_AREA).astype(np.float32)
        coverage = cv2.resize(hole.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        small_hole = coverage > 0.01
        if small_hole.all():
            continue
        if guess is None:
            guess = diffuse(small, small_hole)
        else:
            guess = np.where(small_hole[..., None], cv2.resize(guess, size), small).astype(np.float32)
        search = _PatchSearch(small, small_hole, guess, rng)
        if not search.can_search:
            continue
        search.seed(shift)
        for _ in range(rounds):
            check()
            search.search()
            search.vote()
        guess, shift = search.guess, search.shifts()
    full = photo.astype(np.float32)
    if guess is None or shift is None:
        filled = diffuse(full, hole)
    else:
        filled = _with_detail(full, guess, shift, reduction)
    return _feathered(full, filled, hole, feather)


def _with_detail(
    photo: NDArray[np.float32], guess: NDArray[np.float32], shift: NDArray[np.int64], reduction: int
) -> NDArray[np.float32]:
    """Add to the enlarged guess the fine detail of the places that the shift map points to."""
    height, width = photo.shape[:2]
    moved = [
        cv2.resize(part.astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST) * reduction
        for part in shift
    ]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    copied = cv2.remap(
        photo,
        (x + moved[1]).astype(np.float32),
        (y + moved[0]).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    ).astype(np.float32)
    detail = copied - blur(copied, DETAIL_SIGMA)
    return cv2.resize(guess, (width, height), interpolation=cv2.INTER_CUBIC) + detail * DETAIL_GAIN


def _feathered(
    photo: NDArray[np.float32], filled: NDArray[np.float32], hole: NDArray[np.bool_], feather: float
) -> NDArray[np.uint8]:
    """Blend inside the hole from the photo at its rim to the fill."""
    distance = cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, 5)
    weight = np.clip(distance / feather, 0, 1)[..., None]
    return np.clip(photo * (1 - weight) + filled * weight + 0.5, 0, 255).astype(np.uint8)
