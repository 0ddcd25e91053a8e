"""Dense surface of a clip whose masks are known: exact outlines, and far less work than estimating them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from blender_addon.core.stamping import FrameCover
from blender_addon.core.trajectories import TrajectorySet

_MARGIN = 2
"""Pixels: a visible point at the outline may fall into the pixel beside it."""


class MaskedSurface:
    """Finds the surface point of every subject pixel: the nearest visible point of its segment.

    Background segments are left out.

    Args:
        trajectories: the set.
        segments: (T, H, W) uint8, s + 1 where segment s is seen.
    """

    def __init__(self, trajectories: TrajectorySet, segments: NDArray[np.uint8]) -> None:
        self._trajectories = trajectories
        self._segments = segments

    def frame(self, index: int) -> FrameCover:
        """Cover of the frame with this index."""
        mask = self._segments[index]  # (H, W)
        label = np.zeros(mask.shape, np.int64)
        visible = self._trajectories.visible[index]
        for number, segment in enumerate(self._trajectories.meta.segments):
            if segment.background:
                continue
            x, y, width, height = cv2.boundingRect((mask == number + 1).view(np.uint8))
            members = np.flatnonzero(visible & (self._trajectories.seg_id == number))
            if width == 0 or members.size == 0:
                continue
            rows = slice(max(0, y - _MARGIN), min(mask.shape[0], y + height + _MARGIN))
            columns = slice(max(0, x - _MARGIN), min(mask.shape[1], x + width + _MARGIN))
            nearest = self._nearest_point(index, members, rows, columns)
            if nearest is not None:
                inside = mask[rows, columns] == number + 1
                label[rows, columns][inside] = nearest[inside] + 1
        points = np.arange(self._trajectories.point_count)
        return FrameCover(slice(0, mask.shape[0]), slice(0, mask.shape[1]), label, points)

    def _nearest_point(
        self, frame: int, members: NDArray[np.int64], rows: slice, columns: slice
    ) -> NDArray[np.int64] | None:
        """Index of the nearest of the points `members` for each pixel of a window; None where it has none."""
        positions = self._trajectories.positions[frame, members]  # (M, 3)
        pixels = np.floor(positions[:, :2]).astype(np.int64) - (columns.start, rows.start)
        size = (columns.stop - columns.start, rows.stop - rows.start)
        inside = ((pixels >= 0) & (pixels < size)).all(axis=1)
        if not inside.any():
            return None
        members, pixels = members[inside], pixels[inside]
        # Of several points in a pixel the nearest to the camera is written last.
        order = np.argsort(-positions[inside, 2], kind="stable")
        column, row = pixels[order].T
        free = np.ones((size[1], size[0]), np.uint8)
        free[row, column] = 0
        _, seeds = cv2.distanceTransformWithLabels(
            free, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
        )
        seeds = np.asarray(seeds, np.int32)
        point_of_seed = np.zeros(int(seeds.max()) + 1, np.int64)
        point_of_seed[seeds[row, column]] = members[order]
        return point_of_seed[seeds]
