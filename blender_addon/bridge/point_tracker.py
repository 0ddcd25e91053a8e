"""Points on evaluated meshes: placed on the first frame, found again on every other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core.errors import ErrorCode, FlexTrajError
from ..core.sample_settings import SampleMode, SampleSettings
from ..core.sampling import (
    check_point_count,
    sample_surface,
    sample_vertices,
    sample_weighted_surface,
    sample_weighted_vertices,
    surface_point_count,
    triangle_areas,
)
from ..core.tracking import (
    PlacedMesh,
    PointBinding,
    bind_to_triangles,
    bind_to_vertices,
    join_bindings,
)
from .density import EVEN, PointDensity
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
    """A mesh with points on it; `first_vertex` counts the vertices of the meshes before it."""

    key: MeshKey
    name: str
    topology: MeshTopology
    first_vertex: int


@dataclass(frozen=True, eq=False)
class PlacedPoints:
    """Points of a shot.

    Attributes:
        seg_index: (N,) int64, index of each point's segment, ascending.
        runs: the points by mesh.
        meshes: meshes with points on them.
        binding: N points over the vertices of `meshes`.
    """

    seg_index: NDArray[np.int64]
    runs: tuple[PointRun, ...]
    meshes: tuple[TrackedMesh, ...]
    binding: PointBinding

    @property
    def count(self) -> int:
        return len(self.seg_index)


def place_points(
    subjects: Subjects,
    states: Mapping[MeshKey, MeshState],
    settings: SampleSettings,
    density: PointDensity = EVEN,
) -> PlacedPoints:
    """Place points on the subjects as they are on the current frame.

    Each segment draws from a generator of its own, seeded by the job's seed and the SegID, so that other
    segments may come and go.

    Raises:
        FlexTrajError: a segment has no area (surface), no vertex (vertices), or too many for its
            density, or its density's weights are zero.
    """
    meshes: dict[MeshKey, tuple[int, TrackedMesh]] = {}
    end = 0
    for patch in subjects.patches:
        if patch.key not in meshes:
            state = states[patch.key]
            count = state.topology.vertex_count
            mesh = TrackedMesh(patch.key, state.name, state.topology, end)
            meshes[patch.key] = (len(meshes), mesh)
            end += count
    seg_index: list[NDArray[np.int64]] = []
    runs: list[PointRun] = []
    bindings: list[PointBinding] = []
    total = 0
    for index, segment in enumerate(subjects.segments):
        patches = [patch for patch in subjects.patches if patch.segment == index]
        rng = np.random.default_rng([settings.seed, segment.id])
        count = density.points_on(patches, settings.points)
        if settings.mode is SampleMode.SURFACE:
            placed = _place_on_surface(patches, states, count, settings.density, density, rng, segment.name)
        else:
            placed = _place_on_vertices(patches, states, count, density, rng, segment.name)
        for patch, chosen, barycentric in placed:
            number, mesh = meshes[patch.key]
            count = len(chosen)
            if barycentric is None:
                binding = bind_to_vertices(number, chosen, mesh.first_vertex)
                triangle, barycentric = _triangles_at(mesh.topology, chosen)
            else:
                triangle = chosen
                binding = bind_to_triangles(
                    number, mesh.topology.triangles, triangle, barycentric, mesh.first_vertex
                )
            bindings.append(binding)
            runs.append(PointRun(patch.key, slice(total, total + count), triangle, barycentric))
            seg_index.append(np.full(count, index, dtype=np.int64))
            total += count
    return PlacedPoints(
        np.concatenate(seg_index),
        tuple(runs),
        tuple(mesh for _, mesh in meshes.values()),
        join_bindings(bindings),
    )


def _place_on_surface(
    patches: list[Patch],
    states: Mapping[MeshKey, MeshState],
    points: int | None,
    per_area: float | None,
    density: PointDensity,
    rng: np.random.Generator,
    name: str,
) -> list[tuple[Patch, NDArray[np.int64], NDArray[np.float32] | None]]:
    """Spread points over the patches of one segment together: (patch, triangles, barycentric weights).

    Args:
        points: how many; None = `per_area`, points per square unit.
    """
    areas = [_patch_areas(patch, states[patch.key]) for patch in patches]
    joined = np.concatenate(areas)
    count = surface_point_count(float(joined.sum()), points, per_area)
    if points is None:
        check_point_count(count, name)  # before a density of millions is allocated
    if density.has_weights(patches):
        weights = np.concatenate([density.at_corners(patch, states[patch.key]) for patch in patches])
        samples = sample_weighted_surface(joined, weights, count, rng, name)
    else:
        samples = sample_surface(joined, count, rng, name)
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


def _patch_areas(patch: Patch, state: MeshState) -> NDArray[np.float64]:
    """Return the world-space area of each triangle of a patch, (M',) float64."""
    triangles = state.topology.triangles
    if len(patch.triangles) < len(triangles):
        triangles = np.take(triangles, patch.triangles, axis=0)
    return triangle_areas(state.vertices, triangles, state.matrix_world[:3, :3])


def _place_on_vertices(
    patches: list[Patch],
    states: Mapping[MeshKey, MeshState],
    points: int | None,
    density: PointDensity,
    rng: np.random.Generator,
    name: str,
) -> list[tuple[Patch, NDArray[np.int64], NDArray[np.float32] | None]]:
    """Choose vertices of the patches of one segment together: (patch, vertices, None)."""
    ends = np.cumsum([len(patch.vertices) for patch in patches])
    if ends[-1] == 0:
        raise FlexTrajError(
            f"'{name}' has no vertices on the first frame: choose another object or first frame.",
            ErrorCode.GEOMETRY,
        )
    if density.has_weights(patches):
        weights = np.concatenate([density.at_vertices(patch, states[patch.key]) for patch in patches])
        chosen = sample_weighted_vertices(weights, points, rng, name)
    else:
        chosen = sample_vertices(np.arange(ends[-1]), points, rng)
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


@dataclass(frozen=True, eq=False)
class FollowedMeshes:
    """The tracked meshes on one frame.

    Attributes:
        meshes: as `PlacedPoints.meshes`; where one does not exist on this frame (an expired particle, a
            hidden object) it is where it was last seen.
        present: (meshes,) bool, whether it exists.
    """

    meshes: tuple[PlacedMesh, ...]
    present: NDArray[np.bool_]


class MeshFollower:
    """Finds the tracked meshes on frame after frame."""

    def __init__(self, points: PlacedPoints) -> None:
        self._tracked = points.meshes
        self._last: dict[MeshKey, PlacedMesh] = {}

    def follow(self, states: Mapping[MeshKey, MeshState], frame: float) -> FollowedMeshes:
        """Pick the tracked meshes out of a frame's rendered meshes.

        Args:
            states: every rendered mesh; all tracked ones on the first call.
            frame: scene frame, for messages.

        Raises:
            FlexTrajError: a mesh changed its topology.
        """
        present = np.ones(len(self._tracked), dtype=bool)
        for index, mesh in enumerate(self._tracked):
            state = states.get(mesh.key)
            if state is None:
                present[index] = False
                continue
            # Meshes that are shared get the topology that was read for the first of their users.
            if state.topology is not mesh.topology and not state.topology.has_faces_of(mesh.topology):
                raise _topology_error(mesh, state, frame)
            self._last[mesh.key] = PlacedMesh(state.vertices, state.matrix_world)
        return FollowedMeshes(tuple(self._last[mesh.key] for mesh in self._tracked), present)


def check_finite(positions: NDArray[np.float32], points: PlacedPoints, frame: float) -> None:
    """Refuse positions (N, 3) that are not finite numbers. Raises FlexTrajError that names the object."""
    # min and max propagate NaN and infinity, and allocate nothing.
    if np.isfinite(positions.min()) and np.isfinite(positions.max()):
        return
    point = int(np.flatnonzero(~np.isfinite(positions).all(axis=1))[0])
    name = points.meshes[points.binding.mesh[point]].name
    raise FlexTrajError(
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
