"""Where the samples are on a frame: vertices to the raster, gathered at the samples, divided.

Homogeneous raster coordinates are linear over a triangle, so vertices are projected first and interpolated
after (exact, unlike interpolating pixels); arrays are kept one coordinate a row and processed in chunks that
stay in the processor's cache. One million points take about 25 ms a frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .camera import LARGEST_COORDINATE
from .camera_track import Projection

_CHUNK = 8192
_SMALLEST_DIVISOR = np.float32(1e-12)


@dataclass(frozen=True, eq=False)
class PointBinding:
    """How samples follow vertices.

    Attributes:
        corners: (K, N) int64 vertex indices; K = 3 for surface samples, 1 for vertex samples.
        weights: (K, N) float32, summing to 1 over K.
    """

    corners: NDArray[np.int64]
    weights: NDArray[np.float32]

    @property
    def point_count(self) -> int:
        return self.corners.shape[1]


def bind_to_triangles(
    triangles: NDArray[np.integer], triangle: NDArray[np.integer], barycentric: NDArray[np.float32]
) -> PointBinding:
    """Bind points to corners: triangles (M, 3), triangle (N,) of each point, barycentric (3, N)."""
    corners = np.ascontiguousarray(np.take(triangles, triangle, axis=0).T, dtype=np.int64)
    return PointBinding(corners, barycentric)


def bind_to_vertices(vertices: NDArray[np.integer]) -> PointBinding:
    """Bind each point to one vertex: vertices (N,)."""
    corners = np.asarray(vertices, dtype=np.int64)[None]
    return PointBinding(corners, np.ones(corners.shape, dtype=np.float32))


def join_bindings(bindings: list[PointBinding]) -> PointBinding:
    """Put the points of several bindings of one kind (same K) one after the other."""
    return PointBinding(
        np.concatenate([binding.corners for binding in bindings], axis=1),
        np.concatenate([binding.weights for binding in bindings], axis=1),
    )


def transform_vertices(
    vertices: NDArray[np.float32], matrix: NDArray[np.float64], out: NDArray[np.float32]
) -> None:
    """Apply the first three rows of an affine or projective (4, 4) `matrix` to vertices (V, 3).

    The matrix is composed in double precision by the caller; `out` is (3, V) float32, one coordinate a row.
    """
    np.matmul(matrix[:3, :3].astype(np.float32), vertices.T, out=out)
    out += matrix[:3, 3:].astype(np.float32)


def interpolate(values: NDArray[np.float32], binding: PointBinding) -> NDArray[np.float32]:
    """Interpolate vertex values (C, V) at the points: (C, N) float32."""
    result = np.empty((len(values), binding.point_count), dtype=np.float32)
    gathered = np.empty(_CHUNK, dtype=np.float32)
    for start in range(0, binding.point_count, _CHUNK):
        part = slice(start, start + _CHUNK)
        _interpolate_part(
            values, binding.corners[:, part], binding.weights[:, part], result[:, part], gathered
        )
    return result


def project_points(
    raster: NDArray[np.float32],
    binding: PointBinding,
    projection: Projection,
    out: NDArray[np.float32],
) -> None:
    """Interpolate projected vertices at the points and divide.

    Args:
        raster: (3, V) float32, rows x_px * w, y_px * w, depth of `CameraFrame.world_to_raster`, where w is
            the depth for a perspective camera and 1 for an orthographic one.
        binding: N points.
        projection: the camera's.
        out: (N, 3) float32, receives x, y in pixels and the planar depth. Finite for finite input: points in
            the camera's plane land far outside the raster.
    """
    count = binding.point_count
    part_values = np.empty((3, _CHUNK), dtype=np.float32)
    gathered = np.empty(_CHUNK, dtype=np.float32)
    for start in range(0, count, _CHUNK):
        part = slice(start, min(start + _CHUNK, count))
        values = part_values[:, : part.stop - start]
        _interpolate_part(raster, binding.corners[:, part], binding.weights[:, part], values, gathered)
        x, y, depth = values
        if projection is Projection.PERSPECTIVE:
            divisor = np.where(np.abs(depth) < _SMALLEST_DIVISOR, _SMALLEST_DIVISOR, depth)
            x /= divisor
            y /= divisor
            np.clip(values[:2], -LARGEST_COORDINATE, LARGEST_COORDINATE, out=values[:2])
        out[part] = values.T


def _interpolate_part(
    values: NDArray[np.float32],
    corners: NDArray[np.int64],
    weights: NDArray[np.float32],
    out: NDArray[np.float32],
    gathered: NDArray[np.float32],
) -> None:
    """One chunk of `interpolate`; `gathered` is scratch memory."""
    gathered = gathered[: out.shape[1]]
    for row, target in zip(values, out, strict=True):
        # mode="clip" lets take write straight into `out=`; the indices are always valid.
        np.take(row, corners[0], out=target, mode="clip")
        if len(corners) == 1:
            continue
        target *= weights[0]
        for corner, weight in zip(corners[1:], weights[1:], strict=True):
            np.take(row, corner, out=gathered, mode="clip")
            np.multiply(gathered, weight, out=gathered)
            target += gathered
