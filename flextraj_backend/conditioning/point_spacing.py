"""How far apart the samples of a surface are: how far the surface reaches around a visible point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from blender_addon.core.camera_track import CameraTrack, Projection

_NEIGHBOURS = 6
"""On a plane of evenly random samples of density d, the 6th neighbour is 1.38 / sqrt(d) away."""
_STRAY_QUANTILE, _STRAY_FACTOR = 0.9, 1.5
_KDTREE_SINGLE = 4
_EXACT = -1


@dataclass(frozen=True, eq=False)
class PointSpacing:
    """Distance of each sample to its 6th neighbour.

    Attributes:
        pixels: (N,) as it appears face on at the sample's depth.
        units: (N,) in scene units; 0 where the camera is not known.
    """

    pixels: NDArray[np.float64]
    units: NDArray[np.float64]


def neighbour_distance(points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Distance of each point to its 6th neighbour (the farthest where there are fewer), averaged over those.

    A stray point counts as no farther from the others than 1.5 times the 90 % quantile.

    Args:
        points: (N, 2 or 3).

    Returns:
        (N,) float64 in the units of the points; 0 for a single point.
    """
    data = np.ascontiguousarray(points, np.float32)
    count = min(_NEIGHBOURS + 1, len(data))
    # OpenCV's type stubs lack its module for nearest neighbours.
    flann: Any = vars(cv2)["flann"]
    tree = flann.Index(data, {"algorithm": _KDTREE_SINGLE, "leaf_max_size": 10})
    neighbours, squared = tree.knnSearch(data, count, params={"checks": _EXACT})
    farthest = np.sqrt(squared[:, -1].astype(np.float64))
    farthest = np.minimum(farthest, _STRAY_FACTOR * np.quantile(farthest, _STRAY_QUANTILE))
    return farthest[neighbours].mean(axis=1)


def point_spacing(positions: NDArray[np.floating], camera: CameraTrack | None, frame: int) -> PointSpacing:
    """Spacing of the visible samples of one segment.

    With a camera, distances are measured in space, so that a surface seen at a grazing angle does not look
    denser than it is; without one, in the picture.

    Args:
        positions: (N, 3) x, y in pixels and depth, of one frame.
        camera: of the shot, or None.
        frame: index of that frame.
    """
    if camera is None:
        pixels = neighbour_distance(positions[:, :2])
        return PointSpacing(pixels, np.zeros_like(pixels))
    now = camera.select_frames(np.array([frame]))
    units = neighbour_distance(now.unproject(positions[None])[0])
    pixels = units * now.focal[0].mean()
    if camera.projection is Projection.PERSPECTIVE:
        pixels = pixels / positions[:, 2]
    return PointSpacing(pixels, units)
