"""Where the samples are on a frame: vertices to the raster, gathered at the samples, divided.

Homogeneous raster coordinates are linear over a triangle, so vertices are projected first and interpolated
after (exact, unlike interpolating pixels). A vertex is four single-precision numbers: NumPy gathers items of
16 bytes as fast as single numbers, so one `take` a corner moves all coordinates. Points are processed in
chunks that stay in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .camera import LARGEST_COORDINATE

_CHUNK = 16384
_SMALLEST_DIVISOR = np.float32(1e-12)


@dataclass(frozen=True, eq=False)
class PlacedMesh:
    """A mesh on one frame.

    Attributes:
        vertices: (V, 3) float32, the mesh's own space.
        matrix_world: (4, 4) float64, to world space.
    """

    vertices: NDArray[np.float32]
    matrix_world: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PointBinding:
    """How samples follow the vertices of several meshes, which are counted through.

    Attributes:
        mesh: (N,) int64, index of each point's mesh.
        corners: (K, N) int64 vertex indices; K = 3 for surface samples, 1 for vertex samples.
        weights: (K, N, 4) float32, summing to 1 over K, repeated for each of a vertex's four numbers.
    """

    mesh: NDArray[np.int64]
    corners: NDArray[np.int64]
    weights: NDArray[np.float32]

    @property
    def point_count(self) -> int:
        return self.corners.shape[1]


def bind_to_triangles(
    mesh: int,
    triangles: NDArray[np.integer],
    triangle: NDArray[np.integer],
    barycentric: NDArray[np.float32],
    first_vertex: int = 0,
) -> PointBinding:
    """Bind points to triangles.

    Args:
        mesh: index of the mesh.
        triangles: (M, 3) vertices of the mesh's triangles.
        triangle: (N,) triangle of each point.
        barycentric: (3, N) weights of its corners.
        first_vertex: number of vertices of the meshes before this one.
    """
    corners = np.ascontiguousarray(np.take(triangles, triangle, axis=0).T, dtype=np.int64)
    corners += first_vertex
    weights = np.repeat(barycentric, 4, axis=1).reshape(3, -1, 4)
    return PointBinding(np.full(len(triangle), mesh, dtype=np.int64), corners, weights)


def bind_to_vertices(mesh: int, vertices: NDArray[np.integer], first_vertex: int = 0) -> PointBinding:
    """Bind each point to one vertex (N,) of a mesh; see `bind_to_triangles`."""
    corners = np.asarray(vertices, dtype=np.int64)[None] + first_vertex
    weights = np.ones((*corners.shape, 4), dtype=np.float32)
    return PointBinding(np.full(corners.shape[1], mesh, dtype=np.int64), corners, weights)


def join_bindings(bindings: Sequence[PointBinding]) -> PointBinding:
    """Put the points of several bindings of one kind (same K) one after the other."""
    if len(bindings) == 1:
        return bindings[0]
    return PointBinding(
        np.concatenate([binding.mesh for binding in bindings]),
        np.concatenate([binding.corners for binding in bindings], axis=1),
        np.concatenate([binding.weights for binding in bindings], axis=1),
    )


def project_points(
    meshes: Sequence[PlacedMesh], binding: PointBinding, world_to_raster: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Project points on meshes.

    Args:
        meshes: every mesh that the binding counts.
        binding: N points.
        world_to_raster: (4, 4), gives x_px * w, y_px * w, depth and w (see `CameraFrame.world_to_raster`).

    Returns:
        (N, 3) float32: x, y in pixels and the planar depth. Finite for finite input: points in the camera's
        plane land far outside the raster.
    """
    positions = np.empty((binding.point_count, 3), dtype=np.float32)
    for part, values in _interpolated(meshes, binding, world_to_raster):
        divisor = values[:, 3]
        target = positions[part]
        in_camera_plane = np.abs(divisor) < _SMALLEST_DIVISOR
        if in_camera_plane.any():
            divisor[in_camera_plane] = _SMALLEST_DIVISOR
        np.divide(values[:, 0], divisor, out=target[:, 0])
        np.divide(values[:, 1], divisor, out=target[:, 1])
        target[:, 2] = values[:, 2]
        if in_camera_plane.any():
            np.clip(target, -LARGEST_COORDINATE, LARGEST_COORDINATE, out=target)
    return positions


def world_points(meshes: Sequence[PlacedMesh], binding: PointBinding) -> NDArray[np.float32]:
    """Return the points in world space, (N, 3) float32; arguments as for `project_points`."""
    points = np.empty((binding.point_count, 3), dtype=np.float32)
    for part, values in _interpolated(meshes, binding, np.eye(4)):
        points[part] = values[:, :3]
    return points


def _interpolated(
    meshes: Sequence[PlacedMesh], binding: PointBinding, world_to_target: NDArray[np.float64]
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Yield chunks of points: their place among the N and their four transformed numbers, (n, 4) float32."""
    linear, offsets = _transform(meshes, world_to_target)
    # Viewed as 16-byte items (the numbers are never used as complex ones).
    linear_items, offset_items = linear.view(np.complex128)[:, 0], offsets.view(np.complex128)[:, 0]
    total = np.empty((_CHUNK, 4), dtype=np.float32)
    gathered = np.empty((_CHUNK, 4), dtype=np.float32)
    for start in range(0, binding.point_count, _CHUNK):
        part = slice(start, min(start + _CHUNK, binding.point_count))
        size = part.stop - start
        total_part, gathered_part = total[:size], gathered[:size]
        gathered_items = gathered_part.view(np.complex128)[:, 0]
        # mode="clip" lets take write straight into `out=`; the indices are always valid.
        np.take(offset_items, binding.mesh[part], out=total_part.view(np.complex128)[:, 0], mode="clip")
        for corner, weight in zip(binding.corners, binding.weights, strict=True):
            np.take(linear_items, corner[part], out=gathered_items, mode="clip")
            np.multiply(gathered_part, weight[part], out=gathered_part)
            np.add(total_part, gathered_part, out=total_part)
        yield part, total_part


def _transform(
    meshes: Sequence[PlacedMesh], world_to_target: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Apply a (4, 4) matrix to all vertices: the linear part (V, 4) and each mesh's translation (meshes, 4).

    The matrices are composed in double precision. Weights sum to 1, so the translation can be added to the
    points instead of the vertices.
    """
    linear = np.empty((sum(len(mesh.vertices) for mesh in meshes), 4), dtype=np.float32)
    offsets = np.empty((len(meshes), 4), dtype=np.float32)
    start = 0
    for mesh, offset in zip(meshes, offsets, strict=True):
        matrix = world_to_target @ mesh.matrix_world
        end = start + len(mesh.vertices)
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused afterwards
            np.matmul(mesh.vertices, matrix[:, :3].T.astype(np.float32), out=linear[start:end])
        offset[:] = matrix[:, 3]
        start = end
    return linear, offsets
