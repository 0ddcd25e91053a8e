"""How many points single subjects get, and the painted weights that their density follows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import bpy
import numpy as np
from numpy.typing import NDArray

from ..core.errors import ErrorCode, FlexTrajError
from ..core.sample_settings import SampleSettings
from .evaluated_meshes import LiveMesh, MeshKey, MeshState
from .subjects import Patch, resolve_objects


@dataclass(frozen=True, eq=False)
class PointDensity:
    """What differs from an even spread of the same number of points.

    Attributes:
        points: number of points on a segment, by session_uid of an object that owns a part of it.
        weights: (V,) float32 weight of each vertex, by mesh; meshes without have weight 1.
    """

    points: Mapping[int, int] = field(default_factory=dict)
    weights: Mapping[MeshKey, NDArray[np.float32]] = field(default_factory=dict)

    def points_on(self, patches: Sequence[Patch], otherwise: int | None) -> int | None:
        """Number of points on the segment of these patches."""
        own = [self.points[patch.key.owner] for patch in patches if patch.key.owner in self.points]
        return max(own, default=otherwise)

    def has_weights(self, patches: Sequence[Patch]) -> bool:
        """Whether the density of any of these patches follows weights."""
        return any(patch.key in self.weights for patch in patches)

    def at_corners(self, patch: Patch, state: MeshState) -> NDArray[np.float32]:
        """Weight at the corners of each triangle of a patch, (M', 3)."""
        return self._of(state)[state.topology.triangles[patch.triangles]]

    def at_vertices(self, patch: Patch, state: MeshState) -> NDArray[np.float32]:
        """Weight of each vertex of a patch, (V',)."""
        return self._of(state)[patch.vertices]

    def _of(self, state: MeshState) -> NDArray[np.float32]:
        weights = self.weights.get(state.key)
        return np.ones(state.topology.vertex_count, np.float32) if weights is None else weights


EVEN = PointDensity()


def read_density(
    scene: bpy.types.Scene, settings: SampleSettings, meshes: Iterable[LiveMesh]
) -> PointDensity:
    """Read the densities that were asked for from the meshes of the first frame.

    Args:
        meshes: every rendered mesh; read while they are alive.

    Raises:
        FlexTrajError: a subject is not there, or has no such vertex group.
    """
    points: dict[int, int] = {}
    group_of: dict[int, str] = {}
    unread: dict[str, set[int]] = {}
    for wanted in settings.densities:
        uids = {ob.session_uid for ob in resolve_objects(scene, [wanted.name])[wanted.name]}
        if wanted.points is not None:
            points.update({uid: max(wanted.points, points.get(uid, 0)) for uid in uids})
        if wanted.vertex_group:
            group_of.update(dict.fromkeys(uids, wanted.vertex_group))
            unread[wanted.name] = uids
    weights: dict[MeshKey, NDArray[np.float32]] = {}
    for mesh in meshes if group_of else ():
        name = group_of.get(mesh.key.owner, "")
        group = mesh.source.vertex_groups.get(name) if name else None
        if group is not None:
            weights[mesh.key] = read_weights(mesh.mesh, group.index)
            unread = {subject: uids for subject, uids in unread.items() if mesh.key.owner not in uids}
    for subject, uids in unread.items():
        raise FlexTrajError(
            f"'{subject}' has no vertex group '{group_of[next(iter(uids))]}' for its density: paint one, or "
            "choose another under Subjects.",
            ErrorCode.NO_SUBJECT,
        )
    return PointDensity(points, weights)


def read_weights(mesh: bpy.types.Mesh, group: int) -> NDArray[np.float32]:
    """Return the weight of each vertex in a vertex group, (V,) float32; 0 outside of it."""
    weights = np.zeros(len(mesh.vertices), dtype=np.float32)
    # Blender has no faster way to read them.
    for index, vertex in enumerate(mesh.vertices):
        for element in vertex.groups:
            if element.group == group:
                weights[index] = element.weight
                break
    return weights
