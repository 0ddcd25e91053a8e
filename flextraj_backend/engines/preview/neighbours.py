"""Nearest neighbours by brute force in chunks: no BLAS, so the result does not depend on the thread count."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CHUNK_DISTANCES = 2_000_000
"""Distances held at once: about 8 MB of float32."""


def nearest(
    queries: NDArray[np.floating], points: NDArray[np.floating], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Find the nearest points of every query, nearest first.

    Args:
        queries: (Q, D) float.
        points: (P, D) float, P >= 1.
        count: neighbours wanted; fewer come back where there are fewer points.

    Returns:
        Indices into `points` (Q, K) and distances (Q, K), K = min(count, P).
    """
    count = min(count, len(points))
    query = np.asarray(queries, dtype=np.float32)
    point = np.asarray(points, dtype=np.float32)
    indices = np.empty((len(query), count), np.int64)
    distances = np.empty((len(query), count), np.float32)
    chunk = max(1, CHUNK_DISTANCES // len(point))
    for start in range(0, len(query), chunk):
        part = slice(start, start + chunk)
        squared = np.zeros((len(query[part]), len(point)), np.float32)  # (q, P)
        for axis in range(point.shape[1]):
            difference = query[part, axis, None] - point[None, :, axis]
            squared += difference * difference
        if count < len(point):
            chosen = np.argpartition(squared, count - 1, axis=1)[:, :count]
        else:
            chosen = np.broadcast_to(np.arange(count), squared.shape)
        chosen_squared = np.take_along_axis(squared, chosen, axis=1)
        order = np.argsort(chosen_squared, axis=1, kind="stable")
        indices[part] = np.take_along_axis(chosen, order, axis=1)
        distances[part] = np.sqrt(np.take_along_axis(chosen_squared, order, axis=1))
    return indices, distances
