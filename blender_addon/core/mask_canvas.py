"""A mask that is corrected by hand: round brush, rectangle, undo and redo."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .placement import Affine, apply, inverse

MAX_UNDO = 64
MAX_CANVAS_SIDE = 1024


@dataclass(frozen=True, eq=False)
class _Patch:
    """A part of the mask as it was: first row and column, pixels (h, w) bool."""

    row: int
    column: int
    pixels: NDArray[np.bool_]

    @property
    def place(self) -> tuple[slice, slice]:
        height, width = self.pixels.shape
        return slice(self.row, self.row + height), slice(self.column, self.column + width)


@dataclass(frozen=True)
class PaintMode:
    """What a stroke writes into the mask."""

    value: bool


ADD, REMOVE = PaintMode(True), PaintMode(False)


class MaskCanvas:
    """A mask in the photo's proportions, and its history.

    Args:
        mask: (H, W) bool; it is copied.
    """

    def __init__(self, mask: NDArray[np.bool_]) -> None:
        self.mask = mask.copy()
        self.revision = 0
        self._before: NDArray[np.bool_] | None = None
        self._past: list[_Patch] = []
        self._future: list[_Patch] = []

    @property
    def can_undo(self) -> bool:
        return bool(self._past)

    @property
    def can_redo(self) -> bool:
        return bool(self._future)

    def begin_step(self) -> None:
        """What is painted from now on is undone in one step."""
        self._before = self.mask.copy()

    def end_step(self) -> None:
        """Close the step; one that changed nothing leaves no trace."""
        before, self._before = self._before, None
        if before is None:
            return
        changed = before != self.mask
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        if len(rows) == 0:
            return
        place = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        self._past.append(_Patch(int(rows[0]), int(columns[0]), before[place].copy()))
        del self._past[:-MAX_UNDO]
        self._future.clear()

    def undo(self) -> None:
        """Take the last step back; harmless where there is none."""
        self._swap(self._past, self._future)

    def redo(self) -> None:
        """Do the last undone step again; harmless where there is none."""
        self._swap(self._future, self._past)

    def paint(
        self, start: tuple[float, float], end: tuple[float, float], radius: float, mode: PaintMode
    ) -> None:
        """Draw a round brush from one place to another.

        Args:
            start, end: x, y in pixels.
            radius: in pixels; at least the pixel under the brush is painted.
        """
        reach = max(radius, 0.5)
        window = self._window(
            (min(start[0], end[0]) - reach, min(start[1], end[1]) - reach),
            (max(start[0], end[0]) + reach, max(start[1], end[1]) + reach),
        )
        rows, columns = window
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return
        x = np.arange(columns.start, columns.stop) + 0.5 - start[0]  # (w,)
        y = (np.arange(rows.start, rows.stop) + 0.5 - start[1])[:, None]  # (h, 1)
        along = end[0] - start[0], end[1] - start[1]
        length = along[0] ** 2 + along[1] ** 2
        share = np.clip((x * along[0] + y * along[1]) / length, 0, 1) if length > 0 else 0.0
        distance = (x - share * along[0]) ** 2 + (y - share * along[1]) ** 2  # (h, w)
        self.mask[window][distance <= max(reach, math.sqrt(0.5)) ** 2] = mode.value
        self.revision += 1

    def fill_rectangle(
        self, corner: tuple[float, float], other: tuple[float, float], mode: PaintMode
    ) -> None:
        """Fill the rectangle between two corners (x, y in pixels)."""
        low = min(corner[0], other[0]), min(corner[1], other[1])
        high = max(corner[0], other[0]), max(corner[1], other[1])
        self.mask[self._window(low, high)] = mode.value
        self.revision += 1

    def _window(self, low: tuple[float, float], high: tuple[float, float]) -> tuple[slice, slice]:
        """Rows and columns whose pixels lie between two corners, as far as the mask goes."""
        height, width = self.mask.shape

        def part(first: float, last: float, size: int) -> slice:
            start = min(max(math.floor(first), 0), size)
            return slice(start, min(max(math.ceil(last), start), size))

        return part(low[1], high[1], height), part(low[0], high[0], width)

    def _swap(self, source: list[_Patch], destination: list[_Patch]) -> None:
        if not source:
            return
        patch = source.pop()
        now = self.mask[patch.place].copy()
        self.mask[patch.place] = patch.pixels
        destination.append(_Patch(patch.row, patch.column, now))
        self.revision += 1


def canvas_size(photo: tuple[int, int]) -> tuple[int, int]:
    """Width and height of the canvas of a photo: its proportions, not larger than is useful."""
    shrink = min(1.0, MAX_CANVAS_SIDE / max(photo))
    return max(1, round(photo[0] * shrink)), max(1, round(photo[1] * shrink))


def resample_mask(mask: NDArray[np.bool_], affine: Affine, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Move a mask to another raster; what lies beyond the mask is False.

    Args:
        mask: (H, W) bool.
        affine: from pixels of the mask to those of the result.
        size: width and height of the result.

    Returns:
        (height, width) bool: each pixel is that of the mask under its centre.
    """
    width, height = size
    column, row = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    source = np.floor(apply(inverse(affine), np.stack([column, row], axis=-1))).astype(np.int64)
    x, y = source[..., 0], source[..., 1]
    inside = (x >= 0) & (x < mask.shape[1]) & (y >= 0) & (y < mask.shape[0])
    result = np.zeros((height, width), bool)
    result[inside] = mask[y[inside], x[inside]]
    return result
