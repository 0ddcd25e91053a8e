"""Surface mode: every pixel of the visible surface carries the ID of its surface point, without holes.

A trajectory set holds points, no triangles, so the surface is rebuilt from the visible points of each
    segment: gaps
between them are closed, it ends a little beyond the outermost ones, and a pixel takes the ID of the nearest
visible point of the segment that is on top there. On the first frame the set's silhouettes, where it has
them, are the exact extent.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import cv2
import numpy as np
from numpy.typing import NDArray

from blender_addon.core.trajectories import TrajectorySet
from flextraj_backend.conditioning.point_spacing import point_spacing
from flextraj_backend.conditioning.stamping import FrameCover

REACH = 1.25
"""Gaps within this many sample spacings are closed: more than the largest hole among random samples."""
RIM = 0.2
"""The surface ends this many spacings beyond its outermost visible points."""
CERTAIN = 0.6
"""Within this many spacings of a visible point its surface is certain."""
_MIN_REACH_PX, _MIN_RIM_PX = 2.0, 0.75


@dataclass(frozen=True, eq=False)
class _Layer:
    """What is seen at each pixel of a window, by one segment or by all of them so far; (h, w) arrays.

    Attributes:
        covered: whether there is a surface.
        certain: whether it lies near a visible point or inside a known silhouette.
        depth: of its nearest visible point, in scene units.
        distance: to that point, in pixels.
        spacing: of the samples there, in scene units.
        point: index of the point that lends its ID.
    """

    covered: NDArray[np.bool_]
    certain: NDArray[np.bool_]
    depth: NDArray[np.float32]
    distance: NDArray[np.float32]
    spacing: NDArray[np.float32]
    point: NDArray[np.int32]


class SurfaceCover:
    """Finds the surface point of every pixel of a shot, frame by frame.

    Args:
        trajectories: the set.
        points_kept: (N,) bool; the extent is that of all points, but only these lend their IDs.
        fit: (2, 3) affine from pixels of the set to pixels of the photo, or None.
    """

    def __init__(
        self,
        trajectories: TrajectorySet,
        points_kept: NDArray[np.bool_],
        fit: NDArray[np.float64] | None,
    ) -> None:
        self._trajectories = trajectories
        self._kept = points_kept
        self._fit = np.eye(2, 3) if fit is None else fit
        self._scale = float(np.sqrt(abs(np.linalg.det(self._fit[:, :2]))))
        order = np.argsort(trajectories.seg_id, kind="stable")
        stops = np.searchsorted(trajectories.seg_id[order], np.arange(1, len(trajectories.meta.segments)))
        self._members = np.split(order, stops)

    def frame(self, index: int) -> FrameCover:
        """Cover of the frame with this index."""
        meta = self._trajectories.meta
        top = _empty_layer(meta.height, meta.width)
        for segment, members in enumerate(self._members):
            visible = members[self._trajectories.visible[index, members]]
            if self._kept[visible].any():
                self._add_segment(top, index, segment, visible)
        label = np.where(top.covered, top.point + 1, 0)
        points = np.arange(self._trajectories.point_count)
        return FrameCover(slice(0, meta.height), slice(0, meta.width), label, points)

    def _add_segment(self, top: _Layer, index: int, segment: int, visible: NDArray[np.int64]) -> None:
        meta = self._trajectories.meta
        positions = self._trajectories.positions[index, visible]  # (M, 3)
        spacing = point_spacing(positions, meta.camera, index)
        reach = np.maximum(REACH * spacing.pixels * self._scale, _MIN_REACH_PX)
        xy = positions[:, :2] @ self._fit[:, :2].T + self._fit[:, 2]
        silhouette = self._silhouette(index, segment)
        window = _window(xy, float(reach.max()), silhouette, meta.height, meta.width)
        pixels, first = _nearest_per_pixel(xy, positions[:, 2], window)
        if pixels.size == 0:
            return
        shape = (window[0].stop - window[0].start, window[1].stop - window[1].start)
        distance, owner = _nearest_source(pixels, first, shape)
        rim = np.maximum(RIM * spacing.pixels * self._scale, _MIN_RIM_PX)
        if silhouette is None:
            covered = _closed_extent(distance, reach[owner], rim[owner])
            certain = covered & (distance <= (reach * (CERTAIN / REACH))[owner])
        else:
            covered = certain = silhouette[window]
        lenders = self._kept[visible]
        point = visible[owner]
        if not lenders.all():
            pixels, first = _nearest_per_pixel(xy[lenders], positions[lenders, 2], window)
            if pixels.size == 0:
                return
            point = visible[lenders][_nearest_source(pixels, first, shape)[1]]
        layer = _Layer(
            covered,
            certain,
            positions[owner, 2],
            distance,
            spacing.units.astype(np.float32)[owner],
            point.astype(np.int32),
        )
        _put_on_top(top, layer, window)

    def _silhouette(self, index: int, segment: int) -> NDArray[np.bool_] | None:
        """The segment's known silhouette on the photo's raster, (H, W), on the first frame only."""
        known = self._trajectories.silhouette
        if index > 0 or known is None:
            return None
        height, width = known.shape[1:]
        # OpenCV counts from the middle of the first pixel, a trajectory set from its corner.
        matrix = self._fit.copy()
        matrix[:, 2] += self._fit[:, :2] @ (0.5, 0.5) - 0.5
        warped = cv2.warpAffine(
            known[segment].astype(np.uint8), matrix, (width, height), flags=cv2.INTER_NEAREST
        )
        return warped > 0


def _empty_layer(height: int, width: int) -> _Layer:
    shape = (height, width)
    return _Layer(
        np.zeros(shape, bool),
        np.zeros(shape, bool),
        np.zeros(shape, np.float32),
        np.zeros(shape, np.float32),
        np.zeros(shape, np.float32),
        np.zeros(shape, np.int32),
    )


def _window(
    xy: NDArray[np.float64],
    margin: float,
    silhouette: NDArray[np.bool_] | None,
    height: int,
    width: int,
) -> tuple[slice, slice]:
    """The part of the raster that a segment can cover."""
    left, up = xy.min(axis=0) - margin - 1
    right, down = xy.max(axis=0) + margin + 2
    if silhouette is not None and silhouette.any():
        rows, columns = np.flatnonzero(silhouette.any(axis=1)), np.flatnonzero(silhouette.any(axis=0))
        up, down = min(up, rows[0]), max(down, rows[-1] + 1)
        left, right = min(left, columns[0]), max(right, columns[-1] + 1)
    y0, y1 = np.clip([up, down], 0, height).astype(int)
    x0, x1 = np.clip([left, right], 0, width).astype(int)
    return slice(y0, y1), slice(x0, x1)


def _nearest_per_pixel(
    xy: NDArray[np.float64], depth: NDArray[np.float32], window: tuple[slice, slice]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pixels of the window that hold a point, and the point of least depth in each.

    Returns:
        (K,) flat pixel indices within the window and (K,) indices of points.
    """
    rows, columns = window
    pixel = np.floor(xy).astype(np.int64) - (columns.start, rows.start)  # (M, 2)
    size = (columns.stop - columns.start, rows.stop - rows.start)
    inside = np.flatnonzero(((pixel >= 0) & (pixel < size)).all(axis=1))
    by_depth = inside[np.argsort(depth[inside], kind="stable")]
    flat = pixel[by_depth, 1] * size[0] + pixel[by_depth, 0]
    occupied, first = np.unique(flat, return_index=True)
    return occupied, by_depth[first]


def _nearest_source(
    pixels: NDArray[np.int64], points: NDArray[np.int64], shape: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Distance (h, w) in pixels to the nearest occupied pixel and the point in it."""
    free = np.ones(shape, np.uint8)
    free.reshape(-1)[pixels] = 0
    distance, label = cv2.distanceTransformWithLabels(
        free, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    label = np.asarray(label, np.int32)
    owner = np.zeros(len(pixels) + 1, np.int64)
    owner[label.reshape(-1)[pixels]] = points
    return np.asarray(distance, np.float32), owner[label]


def _closed_extent(
    distance: NDArray[np.float32], reach: NDArray[np.float64], rim: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Morphological closing whose radius varies: grow by `reach`, shrink by `reach - rim`."""
    grown = (distance <= reach).astype(np.uint8)
    depth_inside = cv2.distanceTransform(grown, cv2.DIST_L2, cv2.DIST_MASK_5)
    return (depth_inside > reach - rim) | (distance <= rim)


def _put_on_top(top: _Layer, new: _Layer, window: tuple[slice, slice]) -> None:
    """Let a segment win the pixels of `top` where its surface is on top.

    The nearer surface wins, except where it only closes a gap and the farther one has a visible point
    closer by. At about equal depth the surface with the closer point wins.
    """
    old = _Layer(*(getattr(top, item.name)[window] for item in fields(_Layer)))
    closer = new.distance < old.distance
    depth_gap = new.depth - old.depth
    level = np.abs(depth_gap) <= np.maximum(new.spacing, old.spacing)
    nearer_wins = ~(old.certain & ~new.certain & ~closer)
    farther_wins = new.certain & ~old.certain & closer
    wins = np.where(level, closer, np.where(depth_gap < 0, nearer_wins, farther_wins))
    wins = new.covered & (wins | ~old.covered)
    for item in fields(_Layer):
        getattr(old, item.name)[wins] = getattr(new, item.name)[wins]
