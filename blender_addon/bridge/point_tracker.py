"""Points on evaluated meshes: placed on the first frame, found again on every other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.camera import CameraFrame
from ..core.errors import ErrorCode, FlexTrajError
from ..core.sample_settings import SampleMode, SampleSettings
from ..core.sampling import (
    check_point_count,
    sample_surface,
    sample_vertices,
    surface_point_count,
    triangle_areas,
)
from ..core.tracking import (
    PointBinding,
    bind_to_triangles,
    bind_to_vertices,
    interpolate,
    join_bindings,
    project_points,
    transform_vertices,
)
from .evaluated_meshes import MeshKey, MeshState, MeshTopology
from .subjects import Patch, Subjects


@dataclass(frozen=True, eq=False)
class PointRun:
    """Points that lie on one mesh, consecutive in the trajectory set.

    Attributes:
        key: the mesh.
        points: their place among all N points.
        triangle: (n,) triangle of each point (of the mesh).
        barycentric: (3, n) float32.
    """

    key: MeshKey
    points: slice
    triangle: NDArray[np.int64]
    barycentric: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class TrackedMesh:
    """A mesh with points on it, and its place in the buffer of all tracked vertices."""

    key: MeshKey
    name: str
    topology: MeshTopology
    vertices: slice


@dataclass(frozen=True, eq=False)
class PlacedPoints:
    """Points of a shot.

    Attributes:
        seg_index: (N,) int64, index of each point's segment, ascending.
        runs: the points by mesh.
        meshes: meshes with points on them.
        binding: N points over the vertices of `meshes`.
        mesh_of_point: (N,) int32, index into `meshes`.
    """

    seg_index: NDArray[np.int64]
    runs: tuple[PointRun, ...]
    meshes: tuple[TrackedMesh, ...]
    binding: PointBinding
    mesh_of_point: NDArray[np.int32]

    @property
    def count(self) -> int:
        return len(self.seg_index)


def place_points(
    subjects: Subjects, states: Mapping[MeshKey, MeshState], settings: SampleSettings
) -> PlacedPoints:
    """Place points on the subjects as they are on the current frame.

    Each segment draws from a generator of its own, seeded by the job's seed and the SegID, so that other
    segments may come and go.

    Raises:
        FlexTrajError: a segment has no area (surface) or no vertex (vertices).
    """
    meshes: dict[MeshKey, tuple[int, TrackedMesh]] = {}
    end = 0
    for patch in subjects.patches:
        if patch.key not in meshes:
            state = states[patch.key]
            count = state.topology.vertex_count
            mesh = TrackedMesh(patch.key, state.name, state.topology, slice(end, end + count))
            meshes[patch.key] = (len(meshes), mesh)
            end += count
    seg_index: list[NDArray[np.int64]] = []
    mesh_of_point: list[NDArray[np.int32]] = []
    runs: list[PointRun] = []
    bindings: list[PointBinding] = []
    total = 0
    for index, segment in enumerate(subjects.segments):
        patches = [patch for patch in subjects.patches if patch.segment == index]
        rng = np.random.default_rng([settings.seed, segment.id])
        if settings.mode is SampleMode.SURFACE:
            placed = _place_on_surface(patches, states, settings, rng, segment.name)
        else:
            placed = _place_on_vertices(patches, settings, rng, segment.name)
        for patch, chosen, barycentric in placed:
            number, mesh = meshes[patch.key]
            count = len(chosen)
            if barycentric is None:
                binding = bind_to_vertices(chosen + mesh.vertices.start)
                triangle, barycentric = _triangles_at(mesh.topology, chosen)
            else:
                triangle = chosen
                binding = bind_to_triangles(mesh.topology.triangles, triangle, barycentric)
                binding.corners[...] += mesh.vertices.start
            bindings.append(binding)
            runs.append(PointRun(patch.key, slice(total, total + count), triangle, barycentric))
            seg_index.append(np.full(count, index, dtype=np.int64))
            mesh_of_point.append(np.full(count, number, dtype=np.int32))
            total += count
    return PlacedPoints(
        np.concatenate(seg_index),
        tuple(runs),
        tuple(mesh for _, mesh in meshes.values()),
        join_bindings(bindings),
        np.concatenate(mesh_of_point),
    )


def _place_on_surface(
    patches: list[Patch],
    states: Mapping[MeshKey, MeshState],
    settings: SampleSettings,
    rng: np.random.Generator,
    name: str,
) -> list[tuple[Patch, NDArray[np.int64], NDArray[np.float32] | None]]:
    """Spread points over the patches of one segment together: (patch, triangles, barycentric weights)."""
    areas = [
        triangle_areas(
            states[patch.key].world_vertices(), states[patch.key].topology.triangles[patch.triangles]
        )
        for patch in patches
    ]
    joined = np.concatenate(areas)
    samples = sample_surface(
        joined, surface_point_count(float(joined.sum()), settings.points, settings.density), rng, name
    )
    ends = np.cumsum([len(part) for part in areas])
    split = np.searchsorted(samples.triangle, ends)  # the samples are sorted by triangle
    placed = []
    start = 0
    for patch, first_triangle, stop in zip(patches, ends - [len(part) for part in areas], split, strict=True):
        if stop > start:
            local = samples.triangle[start:stop] - first_triangle
            placed.append((patch, patch.triangles[local], samples.barycentric[:, start:stop]))
        start = int(stop)
    return placed


def _place_on_vertices(
    patches: list[Patch], settings: SampleSettings, rng: np.random.Generator, name: str
) -> list[tuple[Patch, NDArray[np.int64], NDArray[np.float32] | None]]:
    """Choose vertices of the patches of one segment together: (patch, vertices, None)."""
    ends = np.cumsum([len(patch.vertices) for patch in patches])
    if ends[-1] == 0:
        raise FlexTrajError(
            f"'{name}' has no vertices on the first frame: choose another object or first frame.",
            ErrorCode.GEOMETRY,
        )
    chosen = sample_vertices(np.arange(ends[-1]), settings.points, rng)
    split = np.searchsorted(chosen, ends)
    placed = []
    start = 0
    for patch, stop, end in zip(patches, split, ends, strict=True):
        if stop > start:
            placed.append((patch, patch.vertices[chosen[start:stop] - (end - len(patch.vertices))], None))
        start = int(stop)
    return placed


def _triangles_at(
    topology: MeshTopology, vertices: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return a triangle with its corner weights at each vertex (for colours), the first that has it."""
    triangle_of = np.zeros(topology.vertex_count, dtype=np.int64)
    flat = topology.triangles.ravel()[::-1]
    triangle_of[flat] = np.arange(len(flat))[::-1] // 3  # backwards, so that the first triangle stays
    triangle = triangle_of[vertices]
    if len(topology.triangles) == 0:
        return triangle, np.zeros((3, len(vertices)), dtype=np.float32)
    weights = (topology.triangles[triangle] == vertices[:, None]).T.astype(np.float32)
    return triangle, weights


def number_points(points: PlacedPoints, subjects: Subjects) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Return (seg_id, traj_id), both (N,) uint16: TrajIDs count from 0 in each segment.

    Raises:
        FlexTrajError: a segment has more points than a TrajID can number.
    """
    counts = np.bincount(points.seg_index, minlength=len(subjects.segments))
    for segment, count in zip(subjects.segments, counts.tolist(), strict=True):
        check_point_count(count, segment.name)
    starts = np.cumsum(counts) - counts
    traj_id = np.arange(points.count) - starts[points.seg_index]
    return points.seg_index.astype(np.uint16), traj_id.astype(np.uint16)


class PointTracker:
    """Follows placed points from frame to frame."""

    def __init__(self, points: PlacedPoints) -> None:
        self._points = points
        vertex_count = max((mesh.vertices.stop for mesh in points.meshes), default=0)
        self._raster = np.zeros((3, vertex_count), dtype=np.float32)
        self._world = np.zeros((3, vertex_count), dtype=np.float32)
        self._states: dict[MeshKey, MeshState] = {}

    def project(
        self,
        states: Mapping[MeshKey, MeshState],
        camera: CameraFrame,
        frame: float,
        out: NDArray[np.float32],
    ) -> NDArray[np.bool_]:
        """Project the points of a frame.

        A mesh that does not exist on this frame (an expired particle, a hidden object) stays where it was
        last seen; its points are not present.

        Args:
            states: every rendered mesh of the frame.
            camera: of the frame.
            frame: scene frame, for messages.
            out: (N, 3) float32, receives x and y in pixels and the planar depth.

        Returns:
            (N,) bool, whether the point's mesh exists.

        Raises:
            FlexTrajError: a mesh changed its topology, or has a vertex that is not a finite number.
        """
        present_meshes = np.ones(len(self._points.meshes), dtype=bool)
        for index, mesh in enumerate(self._points.meshes):
            state = states.get(mesh.key)
            if state is None:
                present_meshes[index] = False
                state = self._states[mesh.key]
            elif state.topology is not mesh.topology:
                raise _topology_error(mesh, state, frame)
            self._states[mesh.key] = state
            matrix = camera.world_to_raster[:3] @ state.matrix_world
            transform_vertices(state.vertices, matrix, self._raster[:, mesh.vertices])
        project_points(self._raster, self._points.binding, camera.projection, out)
        # min and max propagate NaN, and allocate nothing.
        if not (np.isfinite(out.min()) and np.isfinite(out.max())):
            raise self._not_finite(out, frame)
        return present_meshes[self._points.mesh_of_point]

    def world_positions(self) -> NDArray[np.float32]:
        """Return the points of the last projected frame in world space, (N, 3) float32."""
        for mesh in self._points.meshes:
            state = self._states[mesh.key]
            transform_vertices(state.vertices, state.matrix_world, self._world[:, mesh.vertices])
        return np.ascontiguousarray(interpolate(self._world, self._points.binding).T)

    def _not_finite(self, positions: NDArray[np.float32], frame: float) -> FlexTrajError:
        point = int(np.flatnonzero(~np.isfinite(positions).all(axis=1))[0])
        name = self._points.meshes[self._points.mesh_of_point[point]].name
        return FlexTrajError(
            f"'{name}' has a vertex whose position is not a finite number on frame {frame:g}: "
            "repair its modifiers, shape keys or simulation.",
            ErrorCode.GEOMETRY,
        )


def _topology_error(mesh: TrackedMesh, state: MeshState, frame: float) -> FlexTrajError:
    before, after = mesh.topology, state.topology
    change = "its faces are connected differently"
    if before.vertex_count != after.vertex_count:
        change = f"{before.vertex_count} vertices became {after.vertex_count}"
    elif before.face_count != after.face_count:
        change = f"{before.face_count} faces became {after.face_count}"
    return FlexTrajError(
        f"'{mesh.name}' changes its topology on frame {frame:g} ({change}), so its points cannot be "
        "followed: turn off the modifier that builds, decimates or remeshes it, or leave the object out.",
        ErrorCode.TOPOLOGY,
    )
