"""Triangles as a camera sees them: linear functions of the pixel that tell inside, and how near.

Homogeneous rasterization (Olano and Greer 1997): with the vertices' homogeneous raster coordinates as columns
of a matrix, its inverse applied to (x, y, 1) gives the three barycentric weights divided by w. So a triangle
that reaches behind the camera needs no clipping, and each test is three multiplications.

"Nearness" is linear over the raster for both projections and grows towards the camera: 1 / depth for a
perspective camera, -depth for an orthographic one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .camera import CameraFrame
from .camera_track import Projection

# An edge belongs to both of its triangles, also after rounding: slack in barycentric weight.
_EDGE_SLACK = 1e-9
# Pairs of a triangle and a position tested at once: enough to amortise calls, few enough for the cache.
PAIRS_AT_ONCE = 1 << 17
# Below this share of its largest term a determinant is rounding noise: the triangle is seen exactly edge-on.
_DEGENERATE = 1e-14


@dataclass(frozen=True, eq=False)
class OccluderMesh:
    """A mesh that renders.

    Attributes:
        vertices: (V, 3) float, world space, scene units.
        triangles: (M, 3) int32, vertex indices.
    """

    vertices: NDArray[np.floating]
    triangles: NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class ScreenTriangles:
    """Triangles that may cover some of the raster, M of them.

    A linear function of the pixel has three coefficients: f(x, y) = f[0] * x + f[1] * y + f[2].

    Attributes:
        inside: (3, 3, M) float64, three functions that are all >= 0 inside the triangle (and in front).
        nearness: (3, M) float64, see the module's text.
        left, right, top, bottom: (M,) float64, bounds in pixels, not clipped to the raster.
        source: (M,) index into the concatenated triangles of all meshes.
    """

    inside: NDArray[np.float64]
    nearness: NDArray[np.float64]
    left: NDArray[np.float64]
    right: NDArray[np.float64]
    top: NDArray[np.float64]
    bottom: NDArray[np.float64]
    source: NDArray[np.intp]


def nearness_of_depth(camera: CameraFrame, depth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Nearness of planar depths (> 0 for a perspective camera)."""
    return 1.0 / depth if camera.projection is Projection.PERSPECTIVE else -depth


def project_triangles(camera: CameraFrame, meshes: Sequence[OccluderMesh]) -> ScreenTriangles:
    """Set up every triangle whose bounds meet the raster and the depths between the clip planes.

    Both sides of a face count. Triangles that are seen edge-on, or are not finite, cover nothing.
    """
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # what is not finite drops out
        corners = _gather_corners(camera, meshes)
        bounds = _bounds(camera, corners)
        left, right, top, bottom = bounds
        nearest = corners[2].min(axis=0)
        meets = (right >= 0) & (left < camera.width) & (bottom >= 0) & (top < camera.height)
        meets &= (corners[2].max(axis=0) >= camera.clip_start) & (nearest <= camera.clip_end)
        source = np.flatnonzero(meets)
        inside, determinant, proper = _barycentric_functions(corners[:, :, source])
        source = source[proper]
        inside = inside[:, :, proper] / determinant[proper]
    if camera.projection is Projection.PERSPECTIVE:
        nearness = inside.sum(axis=0)
        weight_sum = 1.0 / np.maximum(nearest[source], camera.clip_start)
    else:
        nearness = -np.einsum("ckm,cm->km", inside, corners[2][:, source])
        weight_sum = np.ones(len(source))
    inside[:, 2] += _EDGE_SLACK * weight_sum
    left, right, top, bottom = (bound[source] for bound in bounds)
    return ScreenTriangles(inside, nearness, left, right, top, bottom, source)


def _gather_corners(camera: CameraFrame, meshes: Sequence[OccluderMesh]) -> NDArray[np.float64]:
    """Homogeneous raster coordinates of the corners, (4, 3, M): x * w, y * w, depth, w."""
    corners = [np.empty((4, 3, 0))]
    for mesh in meshes:
        homogeneous = np.ascontiguousarray(camera.world_to_homogeneous(mesh.vertices).T)  # (4, V)
        corners.append(homogeneous[:, np.asarray(mesh.triangles, dtype=np.intp).T])
    return np.concatenate(corners, axis=2)


def _barycentric_functions(
    corners: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]]:
    """Rows of the adjugate (3, 3, M), the determinant (M,) and the indices where it is not just rounding."""
    x, y, _, w = corners
    following, last = [1, 2, 0], [2, 0, 1]
    adjugate = np.stack(
        [
            y[following] * w[last] - w[following] * y[last],
            w[following] * x[last] - x[following] * w[last],
            x[following] * y[last] - y[following] * x[last],
        ],
        axis=1,
    )  # (3 corners, 3 coefficients, M): cross products of the other two corners
    terms = adjugate[0] * np.stack([x[0], y[0], w[0]])  # (3, M)
    determinant = terms.sum(axis=0)
    proper = np.flatnonzero(np.abs(determinant) > _DEGENERATE * np.abs(terms).max(axis=0))
    return adjugate, determinant, proper


def _bounds(camera: CameraFrame, corners: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Left, right, top, bottom in pixels (M,) of what is beyond the near plane; inverted if nothing is."""
    x, y, _, w = corners  # (3, M) each
    if camera.projection is Projection.ORTHOGRAPHIC:
        return x.min(axis=0), x.max(axis=0), y.min(axis=0), y.max(axis=0)
    column, row = x / w, y / w
    left, right, top, bottom = column.min(axis=0), column.max(axis=0), row.min(axis=0), row.max(axis=0)
    crossing = np.flatnonzero(w.min(axis=0) < camera.clip_start)
    left[crossing], right[crossing] = _bounds_beyond(camera.clip_start, x[:, crossing], w[:, crossing])
    top[crossing], bottom[crossing] = _bounds_beyond(camera.clip_start, y[:, crossing], w[:, crossing])
    return left, right, top, bottom


def _bounds_beyond(
    near: float, values: NDArray[np.float64], w: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest value / w (M,) over the part of triangles (3, M) where w >= near."""
    following = [1, 2, 0]
    beyond = w >= near
    share = (near - w) / (w[following] - w)  # along the edge to the next corner
    on_plane = (values + share * (values[following] - values)) / near
    exists = np.concatenate([beyond, beyond != beyond[following]])  # (6, M): corners, then cuts
    places = np.concatenate([values / w, on_plane])
    return (
        np.where(exists, places, np.inf).min(axis=0),
        np.where(exists, places, -np.inf).max(axis=0),
    )


def evaluate(
    function: NDArray[np.float64],
    triangle: NDArray[np.intp],
    x: NDArray[np.floating],
    y: NDArray[np.floating],
) -> NDArray[np.float64]:
    """Evaluate linear functions (3, M) of the chosen triangles (P,) at pixel coordinates (P,)."""
    return function[0][triangle] * x + function[1][triangle] * y + function[2][triangle]


def split_work(
    triangles: NDArray[np.intp], work: NDArray[np.intp], work_at_once: int
) -> list[NDArray[np.intp]]:
    """Cut a list of triangles into batches of about the same work (a positive count for each triangle)."""
    return np.split(triangles, np.flatnonzero(np.diff(np.cumsum(work) // work_at_once)) + 1)


def expand_ranges(
    first: NDArray[np.intp], end: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Expand ranges (R,): for every value of every range, the index of its range and the value."""
    count = end - first
    owner = np.repeat(np.arange(len(count)), count)
    before = np.cumsum(count) - count
    return owner, np.arange(len(owner)) + (first - before)[owner]
