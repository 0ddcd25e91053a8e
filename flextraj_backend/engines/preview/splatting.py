"""Forward splatting of points into one z-buffer. Reference algorithm, step 7."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from flextraj_backend.engines.preview.canvas import disc

DEPTH_LEVELS = 65_535
EMPTY = -1
_AROUND = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))


def splat(
    targets: NDArray[np.float32],
    depth: NDArray[np.float32],
    sources: NDArray[np.int64],
    width: int,
    height: int,
) -> NDArray[np.int32]:
    """Draw points one pixel large, the nearest on top; of equal depth the later one.

    Args:
        targets: (P, 2) pixels.
        depth: (P,) larger = farther; points that are not in front of the camera are left out.
        sources: (P,) numbers to draw, >= 0.

    Returns:
        (height, width) int32 number of the nearest point, EMPTY where there is none.
    """
    column, row = np.floor(targets[:, 0]), np.floor(targets[:, 1])
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height) & (depth > 0)
    image = np.full(height * width, EMPTY, np.int32)
    if not inside.any():
        return image.reshape(height, width)
    depth = depth[inside]
    near, far = float(depth.min()), float(depth.max())
    level = ((far - depth) / max(far - near, 1e-12) * DEPTH_LEVELS).astype(np.uint16)  # far = 0
    order = np.argsort(level, kind="stable")
    cell = row[inside].astype(np.int32) * width + column[inside].astype(np.int32)
    image[cell[order]] = sources[inside][order]
    return image.reshape(height, width)


def fill_cracks(image: NDArray[np.int32], depth: NDArray[np.float32], passes: int = 2) -> NDArray[np.int32]:
    """Close gaps up to about four pixels wide between splats with the nearest in depth of their neighbours.

    Args:
        image: (H, W) numbers or EMPTY.
        depth: (S,) depth of every number.
    """
    height, width = image.shape
    image = image.copy()
    closed = cv2.morphologyEx((image != EMPTY).astype(np.uint8), cv2.MORPH_CLOSE, disc(2)) > 0
    for _ in range(passes):
        rows, columns = np.nonzero((image == EMPTY) & closed)
        if rows.size == 0:
            break
        best = np.full(rows.size, EMPTY, np.int32)
        best_depth = np.full(rows.size, np.inf, np.float32)
        for dy, dx in _AROUND:
            candidate = image[np.clip(rows + dy, 0, height - 1), np.clip(columns + dx, 0, width - 1)]
            candidate_depth = np.where(candidate == EMPTY, np.inf, depth[np.maximum(candidate, 0)])
            nearer = candidate_depth < best_depth
            best = np.where(nearer, candidate, best)
            best_depth = np.where(nearer, candidate_depth, best_depth)
        image[rows, columns] = best
    return image
