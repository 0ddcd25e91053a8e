"""Control granularity: which points and which frames of a clip stay visible (conventions 1.8)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def kept_frames(frame_count: int, fraction: float) -> NDArray[np.int64]:
    """Frames that stay: evenly spread, first and last always among them.

    Returns:
        (K,) increasing indices; all frames where `fraction` is 1, otherwise max(2, floor(T * fraction)) of
        them.
    """
    if fraction == 1:
        return np.arange(frame_count)
    count = max(2, int(frame_count * fraction))
    return np.unique(np.linspace(0, frame_count - 1, count).astype(np.int64))


def random_points(point_count: int, fraction: float, generator: np.random.Generator) -> NDArray[np.bool_]:
    """Keep a random `fraction` of the points, at least one.

    Returns:
        (N,) bool. For one state of the generator, a smaller fraction keeps a subset of what a larger one
        keeps.
    """
    if fraction == 1:
        return np.ones(point_count, bool)
    keep = np.zeros(point_count, bool)
    keep[generator.permutation(point_count)[: max(1, int(point_count * fraction))]] = True
    return keep


def sparsify(
    visible: NDArray[np.bool_], frames: NDArray[np.integer], points: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Restrict visibility (T, N) to the given frames (indices) and points (N,) bool."""
    kept = np.zeros_like(visible)
    kept[frames] = visible[frames] & points
    return kept
