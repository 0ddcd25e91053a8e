"""A colour cue in the photo's colours: what the photo shows at the points of the first frame.

The authors take the cue from the pixels of the driving video (conventions 1.7). A rig has no such video, and
its materials are rarely those of the photo's subject; where the motion lies on that subject, the photo knows
its colours and its light.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from blender_addon.core import placement
from blender_addon.core.trajectories import TrajectorySet
from flextraj_backend.conditioning.nearest_points import nearest_points

_LONGEST = 32_000
"""OpenCV remaps to pictures of less than 2^15 rows."""


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
    start = trajectories.positions[0, :, :2]
    xy = placement.apply(placement.identity() if fit is None else fit, start)  # (N, 2)
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


def _sampled(photo: NDArray[np.uint8], xy: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The photo at (n, 2) places, pixel centres at +0.5. (n, 3)"""
    places = (xy - 0.5).astype(np.float32)[:, None]  # (n, 1, 2)
    parts = [
        cv2.remap(
            photo,
            places[first : first + _LONGEST],
            None,  # pyright: ignore[reportArgumentType, reportCallIssue] (a map of two channels needs no second)
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        for first in range(0, len(places), _LONGEST)
    ]
    return np.concatenate(parts)[:, 0].astype(np.uint8, copy=False)


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
    found = np.zeros(len(points), bool)
    for one in np.unique(segment[~seen]):
        lenders = np.flatnonzero((segment == one) & seen)
        takers = np.flatnonzero((segment == one) & ~seen)
        if lenders.size:
            nearest, _ = nearest_points(points[takers], points[lenders], 1)
            colors[takers] = colors[lenders[nearest[:, 0]]]
            found[takers] = True
    return found
