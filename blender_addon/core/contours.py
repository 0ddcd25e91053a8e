"""Outlines of masks as line segments, smooth enough to be enlarged."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LEVEL = 0.5
_MARGIN = 3


def mask_contours(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Outline a mask by marching squares (Lorensen and Cline 1987, in the plane).

    Pixel steps are smoothed away. There is no line where the border of the picture cuts the mask: it goes on
    beyond.

    Args:
        mask: (H, W) bool.

    Returns:
        (2 * n, 2) float32: both ends of n segments, pixels of the mask (pixel centres at +0.5).
    """
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if len(rows) == 0 or min(mask.shape) < 2:
        return np.zeros((0, 2), np.float32)
    top, left = max(rows[0] - _MARGIN, 0), max(columns[0] - _MARGIN, 0)
    part = mask[top : rows[-1] + _MARGIN + 1, left : columns[-1] + _MARGIN + 1]
    values = _smoothed(_smoothed(part.astype(np.float32)))
    segments = _marching_squares(values)
    return segments + np.array([left + 0.5, top + 0.5], np.float32)


def _smoothed(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean over 3 x 3 pixels; at the border the picture goes on."""
    padded = np.pad(values, 1, mode="edge")
    columns = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    return (columns[:-2] + columns[1:-1] + columns[2:]) / 9


def _marching_squares(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Segments at which values (h, w) pass the level, (2 * n, 2) x and y; sample (0, 0) lies at (0, 0)."""
    inside = values > _LEVEL
    cells = np.argwhere(
        (inside[:-1, :-1] != inside[:-1, 1:])
        | (inside[:-1, :-1] != inside[1:, :-1])
        | (inside[:-1, :-1] != inside[1:, 1:])
    )  # (c, 2) row and column of the upper left corner
    if len(cells) == 0:
        return np.zeros((0, 2), np.float32)
    row, column = cells.T
    # Corners clockwise from the upper left; edge k runs from corner k to the next.
    corner_rows = np.stack([row, row, row + 1, row + 1])  # (4, c)
    corner_columns = np.stack([column, column + 1, column + 1, column])
    corners = values[corner_rows, corner_columns]
    following = np.roll(corners, -1, axis=0)
    crosses = (corners > _LEVEL) != (following > _LEVEL)
    step = np.where(crosses, following - corners, 1.0)
    share = np.where(crosses, (_LEVEL - corners) / step, 0.0)[..., None]
    start = np.stack([corner_columns, corner_rows], axis=-1).astype(np.float32)  # (4, c, 2)
    places = start + share * (np.roll(start, -1, axis=0) - start)
    order = np.argsort(~crosses, axis=0, kind="stable")  # (4, c) crossed edges first
    cell = np.arange(len(cells))
    ends = [places[order[0], cell], places[order[1], cell]]
    pairs = np.stack(ends, axis=1)  # (c, 2, 2)
    # A saddle has two segments; either pairing of its edges is right.
    saddle = np.flatnonzero(crosses.all(axis=0))
    others = np.stack([places[2, saddle], places[3, saddle]], axis=1)
    return np.concatenate([pairs, others]).reshape(-1, 2).astype(np.float32)
