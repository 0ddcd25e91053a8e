"""Lofted parts: closed solids given by sections along an axis, as signed distances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


class Material(IntEnum):
    """What a part of the surface is made of; also the index of the material slot."""

    SKIN = 0
    HAIR = 1
    TOP = 2
    TROUSERS = 3
    SHOES = 4
    EYES = 5


@dataclass(frozen=True)
class Loft:
    """A limb: superelliptic sections along a straight axis.

    Attributes:
        start, end: ends of the axis, metres.
        side: direction of the sections' width; the depth is across it and the axis.
        stations: rows (t, half width, half depth, shift along the depth): t from 0 at start to 1 at end.
        material: what it is made of: a `Material` or the number of another character's material slot.
        blend: radius in which it flows into the parts before it, metres.
        power: exponent of the sections, 2 = ellipse, more = boxier.
        rounding: radius of the edge at both ends, metres.
        carved_by: solids cut out of it.
        bone: the one bone that moves it, None = whichever bones are near.
    """

    start: Sequence[float] | Points
    end: Sequence[float] | Points
    side: Sequence[float]
    stations: Sequence[tuple[float, float, float, float]]
    material: int
    blend: float = 0.012
    power: float = 2.0
    rounding: float = 0.02
    carved_by: tuple[Loft, ...] = field(default=())
    bone: str | None = None

    def distance(self, points: Points) -> Points:
        """Return the approximate signed distance (M) of (M, 3) points: negative inside."""
        start, end = np.asarray(self.start, np.float64), np.asarray(self.end, np.float64)
        length = float(np.linalg.norm(end - start))
        axis = (end - start) / length
        side = np.asarray(self.side, np.float64)
        side = side - axis * (side @ axis)
        side /= np.linalg.norm(side)
        depth_axis = np.cross(axis, side)
        local = points - start
        along = local @ axis  # (M)
        t = np.clip(along / length, 0.0, 1.0)
        width, depth, shift = _interpolate(np.asarray(self.stations, np.float64), t)
        across, deep = np.abs(local @ side) / width, np.abs(local @ depth_axis - shift) / depth
        radius = (across**self.power + deep**self.power) ** (1.0 / self.power)
        # Beside the exact distance only in how fast it grows; the zero level is exact.
        radial = (radius - 1.0) * np.minimum(width, depth) + self.rounding
        axial = np.maximum(-along, along - length) + self.rounding
        outside = np.hypot(np.maximum(radial, 0.0), np.maximum(axial, 0.0))
        result = np.minimum(np.maximum(radial, axial), 0.0) + outside - self.rounding
        for other in self.carved_by:
            result = _smooth_maximum(result, -other.distance(points), 0.008)
        return result

    def bounds(self) -> tuple[Points, Points]:
        """Return the lower and upper corner of a box that holds the surface."""
        ends = np.array([self.start, self.end], np.float64)
        widest = max(max(width, depth + abs(shift)) for _, width, depth, shift in self.stations)
        return ends.min(0) - widest, ends.max(0) + widest


def _interpolate(stations: Points, t: Points) -> tuple[Points, Points, Points]:
    """Cubic Hermite interpolation of the stations' columns at (M) parameters."""
    knots = stations[:, 0]
    slopes = np.gradient(stations[:, 1:], knots, axis=0)
    index = np.clip(np.searchsorted(knots, t, side="right") - 1, 0, len(knots) - 2)
    step = knots[index + 1] - knots[index]
    s = ((t - knots[index]) / step)[:, None]
    before, after = stations[index, 1:], stations[index + 1, 1:]
    slope_before, slope_after = slopes[index] * step[:, None], slopes[index + 1] * step[:, None]
    value = (
        (1 + 2 * s) * (1 - s) ** 2 * before
        + s * (1 - s) ** 2 * slope_before
        + s**2 * (3 - 2 * s) * after
        + s**2 * (s - 1) * slope_after
    )
    return np.maximum(value[:, 0], 1e-3), np.maximum(value[:, 1], 1e-3), value[:, 2]


def smooth_minimum(a: Points, b: Points, blend: float) -> Points:
    h = np.clip(0.5 + 0.5 * (b - a) / blend, 0.0, 1.0)
    return b + (a - b) * h - blend * h * (1.0 - h)


def _smooth_maximum(a: Points, b: Points, blend: float) -> Points:
    return -smooth_minimum(-a, -b, blend)
