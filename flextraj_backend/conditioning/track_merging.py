"""Two track sets of a clip: forward tracks, and reversed ones for what appears late (conventions 1.5)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

COVERED_DISTANCE = 11.0
"""Pixels; about one cell of the tracker's grid, whose larger spacing is 10.1 px."""


def late_points(forward_tracks: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which points of the reversed set show something that the forward set has lost.

    Both sets start from the same grid: the forward set lies on it on the first frame, the reversed set on
        the last.
    A grid point is kept where no forward track lies within 11 px of it on the last frame.

    Args:
        forward_tracks: (T, N, 2 or more) x, y in pixels.

    Returns:
        (N,) bool.
    """
    grid = forward_tracks[0, :, :2].astype(np.float64)
    ends = forward_tracks[-1, :, :2].astype(np.float64)
    nearest = np.full(len(grid), np.inf)
    for start in range(0, len(ends), 512):  # blocks bound the (N, block) distance matrix
        offsets = grid[:, None] - ends[None, start : start + 512]
        np.minimum(nearest, np.hypot(offsets[..., 0], offsets[..., 1]).min(axis=1), out=nearest)
    return nearest > COVERED_DISTANCE


def merge_tracks(
    first: NDArray[np.floating],
    second: NDArray[np.floating],
    first_visible: NDArray[np.bool_],
    second_visible: NDArray[np.bool_],
) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
    """Put a second set of tracks (T, M, 3) behind a first (T, N, 3): tracks (T, N + M, 3) and visibility."""
    return np.concatenate([first, second], axis=1), np.concatenate([first_visible, second_visible], axis=1)
