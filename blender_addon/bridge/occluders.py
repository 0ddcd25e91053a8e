"""Everything that renders, as world-space triangles: what may hide a point."""

from __future__ import annotations

from collections.abc import Iterable

from ..core.rasterizer import OccluderMesh
from .evaluated_meshes import MeshState


def occluder_meshes(states: Iterable[MeshState]) -> list[OccluderMesh]:
    """Return the triangles of every rendered mesh, sampled or not, in world space."""
    return [OccluderMesh(state.world_vertices(), state.topology.triangles) for state in states]
