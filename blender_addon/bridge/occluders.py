"""Everything that renders, as world-space triangles: what may hide a point."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..core.rasterizer import OccluderMesh
from .evaluated_meshes import MeshState

# Squares of larger numbers overflow the single precision of renderers.
_LARGEST_COORDINATE = 1e19


def occluder_meshes(states: Iterable[MeshState]) -> list[OccluderMesh]:
    """Return the triangles of every rendered mesh, sampled or not, in world space.

    Triangles keep their places; one with a vertex that is not a finite number, or too large for a renderer,
    renders nothing: it is collapsed to a point, which covers nothing.
    """
    return [_occluder_mesh(state) for state in states]


def _occluder_mesh(state: MeshState) -> OccluderMesh:
    vertices, triangles = state.world_vertices(), state.topology.triangles
    usable = np.abs(vertices) <= _LARGEST_COORDINATE  # (V, 3)
    if not usable.all():
        broken = ~usable.all(axis=1)  # (V,)
        vertices[broken] = 0.0
        triangles = np.where(broken[triangles].any(axis=1)[:, None], np.int32(0), triangles)
    return OccluderMesh(vertices, triangles)
