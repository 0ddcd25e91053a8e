"""Silhouettes of the rig on the first frame and operations on masks that fitting and rendering share."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from blender_addon.core.trajectories import TrajectorySet

REFERENCE_AREA = 720 * 480
DISC_SPACING = 1.7
"""Radius of a point's disc in units of the median distance to the nearest point, where silhouettes are
missing."""
SPACING_SAMPLES = 1500
MAX_DISC = 0.1
"""Largest radius of a disc in units of the longer side."""


def raster_scale(mask: NDArray[np.bool_]) -> float:
    """Side of the raster in units of 720x480; pixel radii grow with it."""
    return float(np.sqrt(mask.size / REFERENCE_AREA))


def ellipse(radius: float) -> NDArray[np.uint8]:
    """Elliptic structuring element, at least one pixel in radius."""
    side = 2 * max(1, round(radius)) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)).astype(np.uint8)


def dilated(mask: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    return cv2.dilate(mask.astype(np.uint8), ellipse(radius)) > 0


def eroded(mask: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    return cv2.erode(mask.astype(np.uint8), ellipse(radius)) > 0


def large_components(mask: NDArray[np.bool_], share: float = 0.08) -> NDArray[np.bool_]:
    """Keep connected parts of at least `share` of the largest."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count < 2:
        return mask
    areas = stats[1:, cv2.CC_STAT_AREA]
    return np.isin(labels, 1 + np.flatnonzero(areas >= share * areas.max()))


def without_holes(mask: NDArray[np.bool_], smaller_than: float) -> NDArray[np.bool_]:
    """Fill holes of fewer pixels than given."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8))
    small = 1 + np.flatnonzero(stats[1:count, cv2.CC_STAT_AREA] < smaller_than)
    return mask | np.isin(labels, small)


def overlap(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Intersection over union, 0 where both are empty."""
    union = int((first | second).sum())
    return float((first & second).sum()) / union if union else 0.0


def warp_mask(mask: NDArray[np.bool_], matrix: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Move a (H, W) mask by a (2, 3) affine in pixels whose centres lie at +0.5."""
    height, width = mask.shape
    shift = matrix.copy()
    shift[:, 2] += 0.5 * matrix[:, :2].sum(axis=1) - 0.5
    return cv2.warpAffine(mask.astype(np.uint8) * 255, shift, (width, height)) > 127


def _point_silhouette(points: NDArray[np.float32], width: int, height: int) -> NDArray[np.bool_]:
    """Union of discs around (N, 2) visible points, closed: a rough stand-in for a missing silhouette."""
    canvas = np.zeros((height, width), np.uint8)
    sample = points[np.linspace(0, len(points) - 1, min(len(points), SPACING_SAMPLES)).astype(int)]
    difference = sample[:, None] - sample[None]
    squared = np.einsum("abc,abc->ab", difference, difference)
    np.fill_diagonal(squared, np.inf)
    spacing = float(np.sqrt(np.median(squared.min(axis=1)))) if len(sample) > 1 else 8.0
    spacing *= float(np.sqrt(len(sample) / len(points)))
    radius = min(max(1.5, DISC_SPACING * spacing), MAX_DISC * max(width, height))
    for x, y in points:
        cv2.circle(canvas, (round(float(x) * 8), round(float(y) * 8)), round(radius * 8), (1.0,), -1, shift=3)
    closed = cv2.morphologyEx(canvas, cv2.MORPH_CLOSE, ellipse(0.8 * radius))
    return cv2.erode(closed, ellipse(0.8 * radius)) > 0


def group_silhouettes(trajectories: TrajectorySet) -> dict[int, NDArray[np.bool_]]:
    """Silhouette of every subject group on the first frame, (H, W) bool in rig pixels; background left out.

    Taken from the set; from its visible points where it carries none.
    """
    meta = trajectories.meta
    result: dict[int, NDArray[np.bool_]] = {}
    for index, segment in enumerate(meta.segments):
        if segment.background:
            continue
        if trajectories.silhouette is not None:
            part = trajectories.silhouette[index]
        else:
            shown = (trajectories.seg_id == index) & trajectories.visible[0]
            points = trajectories.positions[0, shown, :2]
            points = points[((points >= 0) & (points < [meta.width, meta.height])).all(axis=1)]
            empty = np.zeros((meta.height, meta.width), bool)
            part = _point_silhouette(points, meta.width, meta.height) if len(points) else empty
        result[segment.group] = part | result[segment.group] if segment.group in result else part.copy()
    return result


def union(masks: dict[int, NDArray[np.bool_]], height: int, width: int) -> NDArray[np.bool_]:
    """Union of masks by group."""
    total = np.zeros((height, width), bool)
    for mask in masks.values():
        total |= mask
    return total
