"""Surface mode: every pixel of the visible surface carries the ID of its surface point, without holes.

A trajectory set holds points, no triangles, so the surface is rebuilt from them, segment by segment. All
its samples, those on its far side too, lie within its outline and show where that runs; the visible ones
show which part of it is not hidden by something else. A pixel takes the ID of the nearest visible point of
the segment that is on top there. On the first frame the set's silhouettes, where it has them, are the exact
outlines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from blender_addon.core.stamping import FrameCover
from blender_addon.core.trajectories import TrajectorySet
from flextraj_backend.conditioning.point_extent import (
    Window,
    closed_area,
    fill_small_gaps,
    gather_samples,
    nearest_sample,
)

OUTLINE_REACH = 1.25
"""Gaps within this many spacings of all samples belong to the segment: more than the largest random hole."""
VISIBLE_REACH = 1.75
"""Likewise for visible samples; the outline keeps this larger reach from leaking."""
CERTAIN = 0.6
"""Within this many spacings of a visible point its surface is certain."""
SEAM_REACH = 1.0
"""Within this many spacings of a visible point a surface fills what no other covers."""
_BEYOND_BORDER = 64
"""Pixels."""


@dataclass(frozen=True, eq=False)
class _Layer:
    """What is seen at each pixel of a window, by one segment or by all of them so far; (h, w) arrays.

    Attributes:
        covered: whether there is a surface.
        certain: whether it lies near a visible point or inside a known silhouette.
        depth: of its nearest visible point, in scene units.
        depth_step: typical depth difference between neighbouring points there.
        distance: to the nearest visible point, in pixels.
        point: index of the point that lends its ID.
    """

    covered: NDArray[np.bool_]
    certain: NDArray[np.bool_]
    depth: NDArray[np.float32]
    depth_step: NDArray[np.float32]
    distance: NDArray[np.float32]
    point: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class _Surface:
    """One surface within a window of the raster.

    Attributes:
        layer: what it shows.
        seam: (h, w) pixels inside its outline and near a visible point, that it shows where nothing else is
            seen.
        window: place in the raster.
    """

    layer: _Layer
    seam: NDArray[np.bool_]
    window: Window


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
        self._raster = (trajectories.meta.height, trajectories.meta.width)
        order = np.argsort(trajectories.seg_id, kind="stable")
        segments = trajectories.meta.segments
        stops = np.searchsorted(trajectories.seg_id[order], np.arange(1, len(segments)))
        self._members = np.split(order, stops)
        groups: dict[tuple[bool, int], list[int]] = {}
        for index, segment in enumerate(segments):
            groups.setdefault((segment.background, segment.group), []).append(index)
        self._joined = [
            np.concatenate([self._members[index] for index in group])
            for group in groups.values()
            if len(group) > 1
        ]

    def frame(self, index: int) -> FrameCover:
        """Cover of the frame with this index."""
        height, width = self._raster
        silhouettes = self._silhouettes(index)
        surfaces = [
            self._surface(index, members, silhouette)
            for members, silhouette in zip(self._members, silhouettes, strict=True)
        ]
        if index > 0 or self._trajectories.silhouette is None:
            # Where segments of one subject touch (a joint and its shell), neither may reach the seam.
            surfaces += [self._seams_only(self._surface(index, members, None)) for members in self._joined]
        top, seams = _empty_layer(height, width), _empty_layer(height, width)
        for surface in surfaces:
            if surface is not None:
                _merge(top, surface.layer, surface.window, _in_depth_order)
                _merge(seams, replace(surface.layer, covered=surface.seam), surface.window, _by_distance)
        _merge(top, seams, (slice(0, height), slice(0, width)), _never)
        label = np.where(top.covered, top.point + 1, 0)
        points = np.arange(self._trajectories.point_count)
        return FrameCover(slice(0, height), slice(0, width), label, points)

    def _surface(
        self, index: int, members: NDArray[np.int64], silhouette: NDArray[np.bool_] | None
    ) -> _Surface | None:
        """What frame `index` shows of the surface that the points `members` sample; None = nothing."""
        height, width = self._raster
        positions = self._trajectories.positions[index]  # (N, 3)
        depth = positions[:, 2]
        visible = members[self._trajectories.visible[index, members]]
        lenders = visible[self._kept[visible]]
        seen = gather_samples(self._place(positions[visible]), depth[visible], height, width)
        lending = seen
        if lenders.size < visible.size:
            lending = gather_samples(self._place(positions[lenders]), depth[lenders], height, width)
        if seen is None or lending is None:
            return None
        window = (slice(0, height), slice(0, width))
        if silhouette is None:
            window = seen.window(VISIBLE_REACH, height, width)
        nearest = nearest_sample(seen, window)
        lender = nearest if lending is seen else nearest_sample(lending, window)
        if nearest is None or lender is None:
            return None
        spacings_away = nearest.distance / seen.spacing[nearest.index]  # (h, w)
        if silhouette is None:
            outline = self._outline(index, members, window)
            covered = closed_area(seen, nearest, VISIBLE_REACH) & outline
            certain = covered & (spacings_away <= CERTAIN)
            seam = covered | (outline & (spacings_away <= SEAM_REACH))
            fill_small_gaps(seam, seen, VISIBLE_REACH)
        else:
            covered = certain = silhouette
            seam = np.zeros_like(silhouette)
        layer = _Layer(
            covered,
            certain,
            depth[visible[seen.points]][nearest.index],
            seen.depth_step[nearest.index],
            nearest.distance,
            lenders[lending.points][lender.index].astype(np.int32),
        )
        return _Surface(layer, seam, window)

    @staticmethod
    def _seams_only(surface: _Surface | None) -> _Surface | None:
        if surface is None:
            return None
        nothing = np.zeros_like(surface.seam)
        layer = replace(surface.layer, covered=nothing)
        return _Surface(layer, surface.seam, surface.window)

    def _outline(self, index: int, members: NDArray[np.int64], window: Window) -> NDArray[np.bool_]:
        """The area inside the outline of a surface, hidden parts included, within the window."""
        positions = self._trajectories.positions[index, members]
        positions = positions[positions[:, 2] > 0]
        # Samples beyond the raster's border show that the surface goes on there.
        xy = self._place(positions) + _BEYOND_BORDER
        rows, columns = (slice(side.start, side.stop + 2 * _BEYOND_BORDER) for side in window)
        height, width = (side + 2 * _BEYOND_BORDER for side in self._raster)
        samples = gather_samples(xy, positions[:, 2], height, width)
        nearest = None if samples is None else nearest_sample(samples, (rows, columns))
        if samples is None or nearest is None:
            return np.zeros((window[0].stop - window[0].start, window[1].stop - window[1].start), bool)
        area = closed_area(samples, nearest, OUTLINE_REACH)
        return area[_BEYOND_BORDER:-_BEYOND_BORDER, _BEYOND_BORDER:-_BEYOND_BORDER]

    def _place(self, positions: NDArray[np.float32]) -> NDArray[np.float64]:
        """Pixels of the photo (N, 2) for positions (N, 3) of the set."""
        return positions[:, :2] @ self._fit[:, :2].T + self._fit[:, 2]

    def _silhouettes(self, index: int) -> list[NDArray[np.bool_]] | list[None]:
        """Each segment's known silhouette on the photo's raster, (H, W), on the first frame only."""
        known = self._trajectories.silhouette
        if index > 0 or known is None:
            return [None] * len(self._members)
        height, width = self._raster
        # OpenCV counts from the middle of the first pixel, a trajectory set from its corner.
        matrix = self._fit.copy()
        matrix[:, 2] += self._fit[:, :2] @ (0.5, 0.5) - 0.5
        return [
            cv2.warpAffine(mask.astype(np.uint8), matrix, (width, height), flags=cv2.INTER_NEAREST) > 0
            for mask in known
        ]


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


_Contest = Callable[[_Layer, _Layer], NDArray[np.bool_]]
"""Where a new layer wins over an old one, among pixels that both cover; (h, w) bool."""


def _in_depth_order(new: _Layer, old: _Layer) -> NDArray[np.bool_]:
    """The nearer surface wins, except where it only closes a gap and the farther one has a visible point
    closer by.

    At about equal depth the surface with the closer point wins.
    """
    closer = new.distance < old.distance
    depth_gap = new.depth - old.depth
    level = np.abs(depth_gap) <= np.maximum(new.depth_step, old.depth_step)
    nearer_wins = ~(old.certain & ~new.certain & ~closer)
    farther_wins = new.certain & ~old.certain & closer
    return np.where(level, closer, np.where(depth_gap < 0, nearer_wins, farther_wins))


def _by_distance(new: _Layer, old: _Layer) -> NDArray[np.bool_]:
    return new.distance < old.distance


def _never(new: _Layer, old: _Layer) -> NDArray[np.bool_]:
    return np.zeros_like(old.covered)


def _merge(top: _Layer, new: _Layer, window: Window, wins: _Contest) -> None:
    old = _Layer(*(getattr(top, item.name)[window] for item in fields(_Layer)))
    replaced = new.covered & (~old.covered | wins(new, old))
    for item in fields(_Layer):
        getattr(old, item.name)[replaced] = getattr(new, item.name)[replaced]
