"""Choosing points on meshes: area-weighted barycentric surface samples and vertex samples, seeded.

Areas are taken in world space: local areas under a scale of (1, 1, 6) put up to 5.8 times too many points on
the faces that the scale stretches least.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import ErrorCode, FlexTrajError
from .matrices import cofactors
from .trajectories import MAX_IDS


@dataclass(frozen=True, eq=False)
class SurfaceSamples:
    """Points on triangles, sorted by triangle.

    Attributes:
        triangle: (N,) int64, index of the triangle.
        barycentric: (3, N) float32, weights of the triangle's corners; they sum to 1.
    """

    triangle: NDArray[np.int64]
    barycentric: NDArray[np.float32]


def triangle_areas(
    vertices: NDArray[np.floating],
    triangles: NDArray[np.integer],
    linear: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Return the area of each triangle.

    Args:
        vertices: (V, 3), scene units or the mesh's own. Edges keep their precision.
        triangles: (M, 3) vertex indices.
        linear: (3, 3) to world space, without the translation; None = the vertices are there.

    Returns:
        (M,) float64, square scene units.
    """
    # Columns instead of rows: 1-D passes over contiguous memory.
    x, y, z = np.ascontiguousarray(vertices.T)
    a, b, c = np.ascontiguousarray(triangles.T)
    xa, ya, za = x.take(a), y.take(a), z.take(a)
    ux, uy, uz = x.take(b) - xa, y.take(b) - ya, z.take(b) - za
    vx, vy, vz = x.take(c) - xa, y.take(c) - ya, z.take(c) - za
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused when it is sampled
        normals = np.empty((3, len(a)))
        np.subtract(uy * vz, uz * vy, out=normals[0])
        np.subtract(uz * vx, ux * vz, out=normals[1])
        np.subtract(ux * vy, uy * vx, out=normals[2])
        if linear is not None:
            normals = cofactors(linear) @ normals
        np.square(normals, out=normals)
        return 0.5 * np.sqrt(normals[0] + normals[1] + normals[2])


def sample_surface(
    areas: NDArray[np.floating], count: int, rng: np.random.Generator, name: str
) -> SurfaceSamples:
    """Spread points over triangles in proportion to their areas.

    The total area is cut into `count` equal strata with one point each, which spreads points more evenly than
    independent draws and leaves them sorted by triangle (cache-friendly when vertices are gathered).

    Args:
        areas: (M,) area of each triangle.
        count: number of points, at least 1.
        rng: source of all randomness.
        name: what the user calls this surface, for messages.

    Raises:
        FlexTrajError: the surface has no area, or an area that is not a finite number.
    """
    cumulative = np.cumsum(areas, dtype=np.float64)
    total = cumulative[-1] if len(cumulative) else 0.0
    if not np.isfinite(total):
        raise FlexTrajError(
            f"'{name}' has vertices at infinite positions: clear its transforms and modifiers until it shows "
            "in the viewport.",
            ErrorCode.GEOMETRY,
        )
    if total <= 0:
        raise FlexTrajError(
            f"'{name}' has no surface to sample, its area is zero on the first frame: give it faces and a "
            "scale above zero, or leave it out.",
            ErrorCode.GEOMETRY,
        )
    triangle, across = _stratified(cumulative, np.asarray(areas, dtype=np.float64), count, rng)
    along = rng.random(count)
    root = np.sqrt(across)
    barycentric = np.empty((3, count), dtype=np.float32)
    barycentric[1] = root * along
    barycentric[2] = root - barycentric[1]
    barycentric[0] = 1.0 - root
    return SurfaceSamples(triangle, barycentric)


def sample_weighted_surface(
    areas: NDArray[np.floating],
    corner_weights: NDArray[np.floating],
    count: int,
    rng: np.random.Generator,
    name: str,
) -> SurfaceSamples:
    """Like `sample_surface`, but points follow weights, which run linearly over each triangle.

    Args:
        areas: (M,) area of each triangle.
        corner_weights: (M, 3) weight at each triangle's corners, at least 0.

    Raises:
        FlexTrajError: like `sample_surface`; or the weights are zero wherever there is surface.
    """
    mass = np.asarray(areas, dtype=np.float64) * corner_weights.mean(axis=1)  # (M,)
    if np.isfinite(mass).all() and areas.sum() > 0 and mass.sum() <= 0:
        raise _unpainted(name)
    samples = sample_surface(mass, count, rng, name)
    # A linear density is a mix of three, each of which falls from one corner to zero at the opposite edge:
    # choose one of them by the corners' weights, then a point by its closed form.
    weights = corner_weights[samples.triangle].astype(np.float64)  # (N, 3)
    ends = np.cumsum(weights, axis=1)
    corner = (rng.random(count)[:, None] * ends[:, 2:] >= ends[:, :2]).sum(axis=1)  # (N,)
    # The corner's own coordinate has the distribution function 3 x^2 - 2 x^3, the others share the rest.
    own = 0.5 - np.sin(np.arcsin(np.clip(1.0 - 2.0 * rng.random(count), -1.0, 1.0)) / 3.0)
    share = rng.random(count)
    barycentric = np.empty((3, count), dtype=np.float32)
    points = np.arange(count)
    barycentric[corner, points] = own
    barycentric[(corner + 1) % 3, points] = (1.0 - own) * share
    barycentric[(corner + 2) % 3, points] = (1.0 - own) * (1.0 - share)
    return SurfaceSamples(samples.triangle, barycentric)


def _stratified(
    cumulative: NDArray[np.float64], areas: NDArray[np.float64], count: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Draw triangles in proportion to their areas, one from each of `count` equal strata.

    Returns:
        (N,) triangles in ascending order, and (N,) what is left of each position inside its triangle: uniform
        in 0 to 1 again, so that a large triangle's points are stratified across it, too.
    """
    total = cumulative[-1]
    position = (np.arange(count) + rng.random(count)) * (total / count)
    triangle = np.searchsorted(cumulative, position, side="right")
    # Rounding may carry the last point past the end; no point may land on a triangle without area.
    last = int(np.searchsorted(cumulative, total, side="left"))
    np.minimum(triangle, last, out=triangle)
    return triangle, np.clip((cumulative[triangle] - position) / areas[triangle], 0.0, 1.0)


def sample_weighted_vertices(
    weights: NDArray[np.floating], count: int | None, rng: np.random.Generator, name: str
) -> NDArray[np.int64]:
    """Choose vertices by their weights without repetition, those of weight zero never, in ascending order.

    Args:
        weights: (V,) of all vertices, at least 0.
        count: how many at most; None = all whose weight is above zero.
        name: what the user calls their owner, for messages.

    Raises:
        FlexTrajError: all weights are zero.
    """
    weights = np.asarray(weights, dtype=np.float64)
    painted = np.flatnonzero(weights > 0)
    if len(painted) == 0:
        raise _unpainted(name)
    if count is None or count >= len(painted):
        return painted
    share = weights[painted] / weights[painted].sum()
    return np.sort(rng.choice(painted, count, replace=False, p=share))


def _unpainted(name: str) -> FlexTrajError:
    return FlexTrajError(
        f"'{name}' would get no points, the weight of its density is zero everywhere: paint some, or choose "
        "no vertex group.",
        ErrorCode.GEOMETRY,
    )


def sample_vertices(
    vertices: NDArray[np.integer], count: int | None, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Choose vertices: all of them, or `count` of them without repetition, in ascending order.

    Args:
        vertices: (V,) distinct vertex indices to choose from.
        count: how many at most; None = all.
    """
    chosen = np.sort(np.asarray(vertices, dtype=np.int64))
    if count is None or count >= len(chosen):
        return chosen
    return np.sort(rng.choice(chosen, count, replace=False))


def surface_point_count(area: float, points: int | None, density: float | None) -> int:
    """Number of points for a surface: `points`, or `density` times `area` (at least one)."""
    if points is not None:
        return points
    assert density is not None
    return max(1, round(min(area * density, 1e15)))


def check_point_count(count: int, name: str) -> None:
    """Refuse more points than a TrajID can number. Raises FlexTrajError."""
    if count > MAX_IDS:
        raise FlexTrajError(
            f"'{name}' would get {count} points, but a segment can hold {MAX_IDS}: ask for fewer points or a "
            "lower density, or split it into more segments.",
            ErrorCode.GEOMETRY,
        )
