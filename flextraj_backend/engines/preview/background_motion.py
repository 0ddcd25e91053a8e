"""Background motion from the tracks of background segments. Reference algorithm, step 10."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from blender_addon.core.trajectories import TrajectorySet

MIN_TRACKS = 8
MAX_TRACKS = 3000
THRESHOLD = 1.5
"""Largest reprojection error of an inlier in pixels."""


def background_homographies(
    trajectories: TrajectorySet, fit: NDArray[np.float64]
) -> tuple[NDArray[np.float64], int]:
    """Estimate how the background moves, robustly (MAGSAC++).

    Args:
        fit: (2, 3) rig pixels to photo pixels.

    Returns:
        (T, 3, 3) homographies from the photo to each frame, in photo pixels, and the number of frames on
        which too few background points were visible, which keep the previous frame's motion.
    """
    is_background = np.array([segment.background for segment in trajectories.meta.segments])
    tracks = np.flatnonzero(is_background[trajectories.seg_id] & trajectories.visible[0])
    if tracks.size > MAX_TRACKS:
        tracks = tracks[np.linspace(0, tracks.size - 1, MAX_TRACKS).astype(int)]
    place = np.vstack([fit, [0.0, 0.0, 1.0]])
    back = np.linalg.inv(place)
    result = np.tile(np.eye(3), (trajectories.frame_count, 1, 1))
    lost = 0
    if tracks.size == 0:
        return result, lost
    for frame in range(1, trajectories.frame_count):
        shown = tracks[trajectories.visible[frame, tracks]]
        homography = None
        if shown.size >= MIN_TRACKS:
            start = trajectories.positions[0, shown, :2].astype(np.float64)
            end = trajectories.positions[frame, shown, :2].astype(np.float64)
            if np.abs(start - end).max() < 1e-3:
                homography = np.eye(3)
            else:
                homography, _ = cv2.findHomography(start, end, cv2.USAC_MAGSAC, THRESHOLD, maxIters=2000)
        if homography is None or not np.isfinite(homography).all():
            lost += 1
            result[frame] = result[frame - 1]
        else:
            result[frame] = place @ homography @ back
    return result, lost


def warp_background(background: NDArray[np.uint8], homography: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Move (H, W, 3) by a homography in pixels (centres at +0.5); outside it is mirrored."""
    if np.array_equal(homography, np.eye(3)):
        return background
    centre = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
    matrix = np.linalg.inv(centre) @ homography @ centre
    height, width = background.shape[:2]
    return cv2.warpPerspective(
        background, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
    ).astype(np.uint8, copy=False)
