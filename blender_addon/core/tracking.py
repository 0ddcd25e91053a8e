"""Where the samples are on a frame: interpolated on their mesh, taken to the raster, divided.

A vertex is padded to four single-precision numbers: NumPy gathers items of 16 bytes as fast as single
numbers, so one `take` a corner moves all coordinates. The points' raster coordinates are rows, so that the
divisions run over contiguous memory. Points are processed in chunks that stay in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

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

    @cached_property
    def runs(self) -> tuple[tuple[int, int, int], ...]:
        """Consecutive points of one mesh: (mesh, first point, one past the last point)."""
        starts = np.flatnonzero(np.diff(self.mesh, prepend=-1))
        ends = np.append(starts[1:], self.point_count)
        return tuple(zip(self.mesh[starts].tolist(), starts.tolist(), ends.tolist(), strict=True))


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
    for part, (x, y, depth, divisor) in _transformed(meshes, binding, world_to_raster):
        target = positions[part]
        in_camera_plane = np.abs(divisor) < _SMALLEST_DIVISOR
        reaches_camera_plane = bool(in_camera_plane.any())
        if reaches_camera_plane:
            divisor[in_camera_plane] = _SMALLEST_DIVISOR
        target[:, 0] = np.divide(x, divisor, out=x)
        target[:, 1] = np.divide(y, divisor, out=y)
        target[:, 2] = depth
        if reaches_camera_plane:
            np.clip(target, -LARGEST_COORDINATE, LARGEST_COORDINATE, out=target)
    return positions


def world_points(meshes: Sequence[PlacedMesh], binding: PointBinding) -> NDArray[np.float32]:
    """Return the points in world space, (N, 3) float32; arguments as for `project_points`."""
    points = np.empty((binding.point_count, 3), dtype=np.float32)
    for part, rows in _transformed(meshes, binding, np.eye(4)):
        points[part] = rows[:3].T
    return points


def _transformed(
    meshes: Sequence[PlacedMesh], binding: PointBinding, world_to_target: NDArray[np.float64]
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Yield chunks of points: their place among the N and their transformed coordinates, (4, n) float32.

    The matrices are composed in double precision.
    """
    matrices = [(world_to_target @ mesh.matrix_world).astype(np.float32) for mesh in meshes]
    rows = np.empty((4, min(_CHUNK, binding.point_count)), dtype=np.float32)
    runs = iter(binding.runs)
    mesh, _, run_end = next(runs, (0, 0, 0))
    for part, local in _interpolated(meshes, binding):
        target = rows[:, : len(local)]
        start = part.start
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused afterwards
            while start < part.stop:
                if start == run_end:
                    mesh, _, run_end = next(runs)
                end = min(run_end, part.stop)
                of_run = slice(start - part.start, end - part.start)
                np.matmul(matrices[mesh][:, :3], local[of_run, :3].T, out=target[:, of_run])
                # Added to the points, because weights sum to 1 only as far as they are rounded.
                target[:, of_run] += matrices[mesh][:, 3:]
                start = end
        yield part, target


def _interpolated(
    meshes: Sequence[PlacedMesh], binding: PointBinding
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Yield chunks of points: their place among the N and where they are on their mesh, (n, 4) float32.

    The fourth number means nothing.
    """
    padded = _padded_vertices(meshes)
    # Viewed as 16-byte items (the numbers are never used as complex ones).
    vertex_items = padded.view(np.complex128)[:, 0]
    size = min(_CHUNK, binding.point_count)
    total, gathered = np.empty((2, size, 4), dtype=np.float32)
    for start in range(0, binding.point_count, _CHUNK):
        part = slice(start, min(start + _CHUNK, binding.point_count))
        total_part, gathered_part = total[: part.stop - start], gathered[: part.stop - start]
        with np.errstate(over="ignore", invalid="ignore"):  # the fourth number is a neighbour's
            for index, (corner, weight) in enumerate(zip(binding.corners, binding.weights, strict=True)):
                target = total_part if index == 0 else gathered_part
                # mode="clip" lets take write straight into `out=`; the indices are always valid.
                np.take(vertex_items, corner[part], out=target.view(np.complex128)[:, 0], mode="clip")
                np.multiply(target, weight[part], out=target)
                if index > 0:
                    np.add(total_part, gathered_part, out=total_part)
        yield part, total_part


def _padded_vertices(meshes: Sequence[PlacedMesh]) -> NDArray[np.float32]:
    """Return the vertices of all meshes with a fourth number that means nothing: (V, 4) float32."""
    vertices = meshes[0].vertices if len(meshes) == 1 else np.concatenate([m.vertices for m in meshes])
    vertices = np.ascontiguousarray(vertices, dtype=np.float32)
    count = len(vertices)
    padded = np.empty((count, 4), dtype=np.float32)
    if count > 0:
        # Items of 16 bytes every 12 bytes: each takes the next vertex's x along, five times faster than
        # copying rows of three.
        overlapping = np.ndarray((count - 1,), np.complex128, vertices, strides=vertices.strides[:1])
        padded.view(np.complex128)[:-1, 0] = overlapping
        padded[-1] = (*vertices[-1], 0.0)
    return padded
