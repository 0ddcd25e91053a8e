"""The area that a surface covers in the picture, estimated from its samples there."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from flextraj_backend.conditioning.nearest_points import nearest_points

_NEIGHBOURS = 6
"""Among evenly random samples of density d, the 6th neighbour is 1.38 / sqrt(d) away."""
_STRAY_FACTOR = 1.5
_MIN_SPACING = 1.5
"""Pixels: neighbouring pixels that all hold samples."""
RIM = 0.25
"""The area ends this many spacings beyond its outermost samples."""


Window = tuple[slice, slice]
"""Rows and columns of the raster."""


@dataclass(frozen=True, eq=False)
class Samples:
    """The pixels of the raster that hold samples of one surface, one sample a pixel.

    Attributes:
        pixels: (K, 2) integer x, y.
        points: (K,) index of the sample, the one of least depth in its pixel.
        spacing: (K,) pixels to the 6th neighbour. Evenly random samples of a surface at a grazing angle are
            evenly random in the picture too, only denser, so distances are those in the picture.
        depth_step: (K,) typical depth difference to those neighbours, in scene units.
    """

    pixels: NDArray[np.int64]
    points: NDArray[np.int64]
    spacing: NDArray[np.float32]
    depth_step: NDArray[np.float32]

    def window(self, reach: float, height: int, width: int) -> Window:
        """The part of the raster within `reach` spacings of a sample, with a pixel to spare."""
        margin = int(np.ceil(reach * self.spacing.max())) + 2
        left, top = np.maximum(self.pixels.min(axis=0) - margin, 0)
        right, bottom = np.minimum(self.pixels.max(axis=0) + margin + 1, (width, height))
        return slice(int(top), int(bottom)), slice(int(left), int(right))


@dataclass(frozen=True, eq=False)
class NearestSample:
    """The nearest sample of every pixel of a window.

    Attributes:
        distance: (h, w) pixels to it.
        index: (h, w) its place among the samples.
    """

    distance: NDArray[np.float32]
    index: NDArray[np.int64]


def gather_samples(
    xy: NDArray[np.float64], depth: NDArray[np.float32], height: int, width: int
) -> Samples | None:
    """Sort samples into the pixels of a raster.

    Args:
        xy: (N, 2) pixels.
        depth: (N,) scene units.

    Returns:
        The samples on the raster, None where there is none.
    """
    inside = np.flatnonzero(((xy >= 0) & (xy < (width, height))).all(axis=1))
    if inside.size == 0:
        return None
    by_depth = inside[np.argsort(depth[inside], kind="stable")]
    pixels = np.floor(xy[by_depth]).astype(np.int64)
    _, first = np.unique(pixels[:, 1] * width + pixels[:, 0], return_index=True)
    pixels, points = pixels[first], by_depth[first]
    spacing, depth_step = _measure_neighbours(pixels, depth[points])
    return Samples(pixels, points, spacing, depth_step)


def nearest_sample(samples: Samples, window: Window) -> NearestSample | None:
    """Find the nearest of the samples inside a window for each of its pixels; None where there is none."""
    rows, columns = window
    column, row = samples.pixels.T
    inside = np.flatnonzero(
        (row >= rows.start) & (row < rows.stop) & (column >= columns.start) & (column < columns.stop)
    )
    if inside.size == 0:
        return None
    row, column = row[inside] - rows.start, column[inside] - columns.start
    free = np.ones((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
    free[row, column] = 0
    distance, label = cv2.distanceTransformWithLabels(
        free, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    label = np.asarray(label, np.int32)
    index = np.zeros(inside.size + 1, np.int64)
    index[label[row, column]] = inside
    return NearestSample(np.asarray(distance, np.float32), index[label])


def closed_area(samples: Samples, nearest: NearestSample, reach: float) -> NDArray[np.bool_]:
    """Close the gaps between samples: grow by `reach` spacings, fill what is left enclosed, shrink again.

    The growth follows the local spacing; what remains ends `RIM` spacings beyond the outermost samples. The
    border of the window is not shrunk from: it is that of the raster, or farther away than the growth.

    Returns:
        (h, w) bool.
    """
    spacing = samples.spacing[nearest.index]
    grown = nearest.distance <= reach * spacing
    fill_small_gaps(grown, samples, reach)
    to_outside = cv2.distanceTransform(grown.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    return (to_outside > (reach - RIM) * spacing) | (nearest.distance <= RIM * spacing)


def fill_small_gaps(area: NDArray[np.bool_], samples: Samples, reach: float) -> None:
    """Fill, in place, the enclosed gaps of an area (h, w) of at most `reach` spacings squared."""
    height, width = area.shape
    largest = float((reach * np.median(samples.spacing)) ** 2)
    _, label, stats, _ = cv2.connectedComponentsWithStats((~area).astype(np.uint8), connectivity=4)
    left, top = stats[:, cv2.CC_STAT_LEFT], stats[:, cv2.CC_STAT_TOP]
    right, bottom = left + stats[:, cv2.CC_STAT_WIDTH], top + stats[:, cv2.CC_STAT_HEIGHT]
    enclosed = (left > 0) & (top > 0) & (right < width) & (bottom < height)
    small = enclosed & (stats[:, cv2.CC_STAT_AREA] <= largest)
    small[0] = False  # label 0 is the area itself
    if small.any():
        area |= small[np.asarray(label, np.int32)]


def _measure_neighbours(
    pixels: NDArray[np.int64], depth: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    neighbours, squared = nearest_points(pixels, pixels, min(_NEIGHBOURS + 1, len(pixels)))
    farthest = np.sqrt(squared[:, -1])
    # A stray sample, seen through a gap, must not claim a large area: its neighbours are close to each other.
    farthest = np.minimum(farthest, _STRAY_FACTOR * np.median(farthest[neighbours], axis=1))
    spacing = np.maximum(farthest[neighbours].mean(axis=1), _MIN_SPACING)
    depth_step = np.median(np.abs(depth[neighbours] - depth[:, None]), axis=1)
    return spacing.astype(np.float32), depth_step.astype(np.float32)
