"""Stamping: a solid rectangle per visible point, the point of largest priority on top.

The reference paints rectangle after rectangle (conventions 1.6). Here every frame is painted at once: each
point's rank in painting order goes to the top left pixel of its rectangle, and since rectangles of one
shape are translates of each other, the rank on top of a pixel is the largest one in the window of that
shape before it. Pixels are identical to those of the loop.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

HEIGHT_RATIO = 1.5
"""A stamp is 1.5 times as wide as it is high: the grid that the reference tracks has cells of that shape."""
_EXACT_IN_FLOAT32 = 1 << 24


@dataclass(frozen=True, eq=False)
class FrameCover:
    """Which point is on top of each pixel of one frame.

    Attributes:
        rows, columns: the part of the frame that holds every painted pixel.
        label: (rows, columns) integer; 0 = nothing, k = the point `points[k - 1]`.
        points: (K,) indices into the points of the set.
    """

    rows: slice
    columns: slice
    label: NDArray[np.integer]
    points: NDArray[np.integer]

    def paint(self, frame: NDArray[np.uint8], colors: NDArray[np.uint8]) -> None:
        """Write the colours (N, 3) uint8 of the points into `frame` (H, W, 3) uint8, over black."""
        if self.label.size == 0:
            return
        # Four bytes a colour are gathered several times faster than three.
        palette = np.zeros((len(self.points) + 1, 4), np.uint8)
        palette[1:, :3] = colors[self.points]
        painted = palette.view(np.uint32)[:, 0].take(self.label)
        rgba = painted.view(np.uint8).reshape(*self.label.shape, 4)
        frame[self.rows, self.columns] = cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB)


def empty_cover() -> FrameCover:
    """The cover of a frame on which nothing is visible."""
    return FrameCover(slice(0, 0), slice(0, 0), np.zeros((0, 0), np.int32), np.zeros(0, np.int64))


def stamp_frame(
    xy: NDArray[np.floating],
    visible: NDArray[np.bool_],
    priority: NDArray[np.float32] | None,
    half_width: float,
    height: int,
    width: int,
) -> FrameCover:
    """Stamp the visible points of one frame.

    A stamp spans trunc(x - half_width) to trunc(x + half_width), and likewise in y with half_width / 1.5,
    half open and clipped to the raster. Points that are not finite paint nothing.

    Args:
        xy: (N, 2) pixels.
        visible: (N,).
        priority: (N,) the largest ends on top; None = array order, the last on top. Of equal priorities the
            later point in the array is on top.
        half_width: pixels.
        height, width: raster.
    """
    left, right = _extent(xy[:, 0], half_width)  # (N,) float64 each
    top, bottom = _extent(xy[:, 1], half_width / HEIGHT_RATIO)
    # Comparisons with NaN are false, so points that are not finite drop out here.
    painted = visible & (right > np.maximum(left, 0)) & (bottom > np.maximum(top, 0))
    painted &= (left < width) & (top < height)
    points = np.flatnonzero(painted)
    if points.size == 0:
        return empty_cover()
    points = points[_painting_order(None if priority is None else priority[points], len(points))]
    left, top = left[points].astype(np.int64), top[points].astype(np.int64)
    right, bottom = right[points].astype(np.int64), bottom[points].astype(np.int64)
    return _cover(points, left, top, right - left, bottom - top, height, width)


def draw_tracks(
    tracks: NDArray[np.floating],
    visible: NDArray[np.bool_],
    colors: NDArray[np.uint8],
    half_width: float,
    height: int,
    width: int,
) -> NDArray[np.uint8]:
    """Draw a whole clip as the reference does: its third column is a priority, the largest is painted on top.

    Args:
        tracks: (T, N, 3) x, y in pixels and priority, or (T, N, 2): array order, the last on top.
        visible: (T, N).
        colors: (N, 3) uint8.

    Returns:
        (T, H, W, 3) uint8 on black.
    """
    video = np.zeros((len(tracks), height, width, 3), np.uint8)
    for frame, positions, visible_now in zip(video, tracks, visible, strict=True):
        priority = positions[:, 2].astype(np.float32) if positions.shape[1] > 2 else None
        stamp_frame(positions[:, :2], visible_now, priority, half_width, height, width).paint(frame, colors)
    return video


def _extent(center: NDArray[np.floating], half: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    # Rounding down differs from truncation only between -1 and 0, where clipping makes both 0; unlike
    # truncation it keeps the rectangles at the border translates of all others.
    center = center.astype(np.float64)
    return np.floor(center - half), np.floor(center + half)


def _painting_order(priority: NDArray[np.float32] | None, count: int) -> NDArray[np.int64]:
    """Indices from the first painted to the last."""
    if priority is None:
        return np.arange(count)
    # One sort of (priority, index) packed in 64 bits is several times faster than a stable argsort.
    # Flipping the lower bits of negative numbers makes float bit patterns sort like integers; adding 0
    # turns -0 into +0.
    bits = (priority + np.float32(0)).view(np.int32)
    sortable = bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))
    keys = (sortable.astype(np.int64) << 32) | np.arange(count)
    keys.sort()
    return keys & 0xFFFFFFFF


def _cover(
    points: NDArray[np.int64],
    left: NDArray[np.int64],
    top: NDArray[np.int64],
    stamp_width: NDArray[np.int64],
    stamp_height: NDArray[np.int64],
    height: int,
    width: int,
) -> FrameCover:
    """Resolve stamps given in painting order."""
    x0, y0 = int(left.min()), int(top.min())
    x1 = min(int((left + stamp_width).max()), width)
    y1 = min(int((top + stamp_height).max()), height)
    box = (y1 - y0, x1 - x0)
    corner = (top - y0) * box[1] + (left - x0)
    dtype = np.float32 if len(points) < _EXACT_IN_FLOAT32 else np.float64
    rank = np.arange(1, len(points) + 1, dtype=dtype)
    resolved = np.zeros(box, dtype)
    shape_code = stamp_height * (int(stamp_width.max()) + 1) + stamp_width
    for code in np.unique(shape_code):
        members = slice(None) if shape_code.min() == shape_code.max() else shape_code == code
        columns, rows = int(stamp_width[members][0]), int(stamp_height[members][0])
        corners = np.zeros(box, dtype)
        np.maximum.at(corners.reshape(-1), corner[members], rank[members])
        window = np.ones((rows, columns), np.uint8)
        spread = cv2.dilate(corners, window, anchor=(columns - 1, rows - 1))
        np.maximum(resolved, spread, out=resolved)
    inside = resolved[max(0, -y0) :, max(0, -x0) :]
    return FrameCover(slice(max(0, y0), y1), slice(max(0, x0), x1), inside.astype(np.int32), points)
