"""Stamping: a solid rectangle per visible point, the point of largest priority on top.

The reference paints rectangle after rectangle (conventions 1.6). Here every frame is painted at once: each
point's rank in painting order goes to the top left pixel of its rectangle, and since rectangles of one
shape are translates of each other, the rank on top of a pixel is the largest one in the window of that
shape before it. Pixels are identical to those of the loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

HEIGHT_RATIO = 1.5
"""A stamp is 1.5 times as wide as it is high: the grid that the reference tracks has cells of that shape."""


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

    def paint(self, frame: NDArray[np.uint8], colors: NDArray[np.uint32]) -> None:
        """Write the points' colours (N,), made by `pack_colors`, over black into `frame` (H, W, 3) uint8."""
        if self.label.size == 0:
            return
        palette = np.zeros(len(self.points) + 1, np.uint32)
        palette[1:] = colors[self.points]
        rgba = palette.take(self.label).view(np.uint8).reshape(*self.label.shape, 4)
        cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB, dst=frame[self.rows, self.columns])


def pack_colors(colors: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Pack colours (N, 3) uint8 into (N,) uint32: four bytes are gathered several times faster than three."""
    packed = np.zeros((len(colors), 4), np.uint8)
    packed[:, :3] = colors
    return packed.view(np.uint32)[:, 0]


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
    points = np.flatnonzero(visible)
    left, right = _extent(xy[points, 0], half_width)  # (M,) each
    top, bottom = _extent(xy[points, 1], half_width / HEIGHT_RATIO)
    # Comparisons with NaN are false, so points that are not finite drop out here.
    painted = (right > 0) & (left < width) & (right > left) & (bottom > 0) & (top < height) & (bottom > top)
    if not painted.all():
        points, left, right = points[painted], left[painted], right[painted]
        top, bottom = top[painted], bottom[painted]
    if points.size == 0:
        return empty_cover()
    if priority is not None:
        order = _painting_order(priority[points])
        points, left, right, top, bottom = (a[order] for a in (points, left, right, top, bottom))
    return _resolve(points, left, right, top, bottom, height, width)


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
    packed = pack_colors(colors)
    for frame, positions, visible_now in zip(video, tracks, visible, strict=True):
        priority = positions[:, 2].astype(np.float32) if positions.shape[1] > 2 else None
        stamp_frame(positions[:, :2], visible_now, priority, half_width, height, width).paint(frame, packed)
    return video


def _extent(center: NDArray[np.floating], half: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    # Rounding down differs from truncation only between -1 and 0, where clipping makes both 0; unlike
    # truncation it keeps the rectangles at the border translates of all others.
    center = center.astype(np.float64)
    return np.floor(center - half), np.floor(center + half)


def _painting_order(priority: NDArray[np.float32]) -> NDArray[np.int64]:
    """Indices from the first painted to the last; equal priorities in array order."""
    # One sort of (priority, index) packed in 64 bits is several times faster than a stable argsort.
    # Flipping the lower bits of negative numbers makes float bit patterns sort like integers; adding 0
    # turns -0 into +0.
    bits = (priority + np.float32(0)).view(np.int32)
    sortable = bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))
    keys = (sortable.astype(np.int64) << 32) | np.arange(len(priority))
    keys.sort()
    return keys & 0xFFFFFFFF


def _resolve(
    points: NDArray[np.int64],
    left: NDArray[np.float64],
    right: NDArray[np.float64],
    top: NDArray[np.float64],
    bottom: NDArray[np.float64],
    height: int,
    width: int,
) -> FrameCover:
    """Find the point on top of each pixel. Stamps come in painting order, may reach over the border."""
    x0, x1 = int(left.min()), min(int(right.max()), width)
    y0, y1 = int(top.min()), min(int(bottom.max()), height)
    box = (y1 - y0, x1 - x0)
    corner = ((top - y0) * box[1] + (left - x0)).astype(np.intp)
    dtype = _rank_dtype(len(points))
    rank = np.arange(1, len(points) + 1).astype(dtype)
    ranks: NDArray[Any] | None = None
    for columns, rows, members in _shapes(right - left, bottom - top):
        corners = np.zeros(box, dtype)
        np.maximum.at(corners.reshape(-1), corner[members], rank[members])
        # The window of a pixel holds the corners of all stamps of this shape that cover it.
        window = np.ones((rows, columns), np.uint8)
        cv2.dilate(corners, window, dst=corners, anchor=(columns - 1, rows - 1))
        ranks = corners if ranks is None else np.maximum(ranks, corners, out=ranks)
    assert ranks is not None
    label = ranks[max(0, -y0) :, max(0, -x0) :].astype(np.intp)
    return FrameCover(slice(max(0, y0), y1), slice(max(0, x0), x1), label, points)


def _rank_dtype(count: int) -> type[np.uint16 | np.float32 | np.float64]:
    """Smallest type in which OpenCV dilates that holds the ranks 0 to `count` exactly."""
    if count < 1 << 16:
        return np.uint16
    return np.float32 if count < 1 << 24 else np.float64


def _shapes(
    widths: NDArray[np.float64], heights: NDArray[np.float64]
) -> Iterator[tuple[int, int, NDArray[np.bool_] | slice]]:
    """Group rectangles by shape: columns, rows and members. Rounding makes at most four or so."""
    if widths.min() == widths.max() and heights.min() == heights.max():
        yield int(widths[0]), int(heights[0]), slice(None)
        return
    for columns, rows in np.unique(np.stack([widths, heights], axis=1), axis=0):
        yield int(columns), int(rows), (widths == columns) & (heights == rows)
