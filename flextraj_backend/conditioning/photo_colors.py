"""A colour cue in the photo's colours: what the photo shows at the points of the first frame.

The authors take the cue from the pixels of the driving video (conventions 1.7). A rig has no such video, and
its materials are rarely those of the photo's subject; where the motion lies on that subject, the photo knows
its colours and its light.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from blender_addon.core.trajectories import TrajectorySet

_KDTREE_SINGLE = 4
_EXACT = -1
"""OpenCV's numbers for its exact tree."""


def with_photo_colors(
    trajectories: TrajectorySet, photo: NDArray[np.uint8], fit: NDArray[np.float64] | None = None
) -> TrajectorySet:
    """Give each point the colour that the photo shows at its place on the first frame.

    A point that is hidden there takes the colour of the seen point of its segment that is nearest in space. A
    segment of which nothing is seen keeps its own colours; where it has none, it takes the mean of all that
    is seen. A set of which nothing is seen stays as it is.

    Args:
        trajectories: N points.
        photo: (H, W, 3) uint8 RGB at the raster of the set.
        fit: (2, 3) affine from pixels of the set to pixels of the photo, or None: as projected.

    Returns:
        The set with colours (N, 3).
    """
    xy = trajectories.positions[0, :, :2].astype(np.float64)  # (N, 2)
    if fit is not None:
        xy = xy @ fit[:, :2].T + fit[:, 2]
    height, width = photo.shape[:2]
    seen = trajectories.visible[0] & ((xy >= 0) & (xy < (width, height))).all(axis=1)  # (N,)
    if not seen.any():
        return trajectories
    colors = np.empty((trajectories.point_count, 3))
    colors[seen] = _sampled(photo, xy[seen])
    found = seen | _fill_from_nearest(colors, seen, trajectories.seg_id, _in_space(trajectories))
    if not found.all():
        own = trajectories.color
        mean = colors[seen].mean(axis=0)
        colors[~found] = mean if own is None else (own if own.ndim == 2 else own[0])[~found]
    return replace(trajectories, color=np.round(colors).astype(np.uint8))


def _sampled(photo: NDArray[np.uint8], xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """The photo at (n, 2) places, pixel centres at +0.5. (n, 3)"""
    x, y = np.ascontiguousarray(xy.T - 0.5, dtype=np.float32)[:, :, None]
    return _remapped(photo, x, y)[:, 0].astype(np.float64)


_LONGEST = 32_000
"""OpenCV remaps to pictures of less than 2^15 rows."""


def _remapped(photo: NDArray[np.uint8], x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.uint8]:
    parts = [
        cv2.remap(
            photo,
            x[first : first + _LONGEST],
            y[first : first + _LONGEST],
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        for first in range(0, len(x), _LONGEST)
    ]
    return np.concatenate(parts).astype(np.uint8, copy=False)


def _in_space(trajectories: TrajectorySet) -> NDArray[np.float64]:
    """Where the points are on the first frame, (N, 3), with one unit for all axes."""
    start = trajectories.positions[:1]
    camera = trajectories.meta.camera
    if camera is not None:
        return camera.select_frames(np.array([0])).unproject(start)[0]
    # Without a camera, depths are of another unit than pixels and may be relative: only the picture counts.
    flat = start[0].astype(np.float64)
    flat[:, 2] = 0
    return flat


def _fill_from_nearest(
    colors: NDArray[np.float64],
    seen: NDArray[np.bool_],
    segment: NDArray[np.integer],
    points: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Write the colours (N, 3) of hidden points: each takes that of the nearest seen one of its segment.

    Returns:
        (N,) bool: which hidden points found one.
    """
    # OpenCV's type stubs lack its module for nearest neighbours.
    flann: Any = vars(cv2)["flann"]
    found = np.zeros(len(points), bool)
    for one in np.unique(segment[~seen]):
        lenders = np.flatnonzero((segment == one) & seen)
        takers = np.flatnonzero((segment == one) & ~seen)
        if not lenders.size:
            continue
        tree = flann.Index(points[lenders].astype(np.float32), {"algorithm": _KDTREE_SINGLE})
        nearest, _ = tree.knnSearch(points[takers].astype(np.float32), 1, params={"checks": _EXACT})
        colors[takers] = colors[lenders[nearest[:, 0]]]
        found[takers] = True
    return found
