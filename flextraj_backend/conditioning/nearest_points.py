"""Exact nearest neighbours by OpenCV's k-d tree."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

_KDTREE_SINGLE = 4
_EXACT = -1


def nearest_points(
    queries: NDArray[Any], points: NDArray[Any], count: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Find the nearest points of every query, nearest first.

    Args:
        queries: (Q, D), compared as float32.
        points: (P, D) likewise.
        count: neighbours wanted, 1 to P.

    Returns:
        Indices into `points` and squared distances, (Q, count) each.
    """
    # OpenCV's type stubs lack its module for nearest neighbours.
    flann: Any = vars(cv2)["flann"]
    data = np.ascontiguousarray(points, np.float32)
    tree = flann.Index(data, {"algorithm": _KDTREE_SINGLE, "leaf_max_size": 10})
    return tree.knnSearch(np.ascontiguousarray(queries, np.float32), count, params={"checks": _EXACT})
