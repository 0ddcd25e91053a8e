"""The nearest triangle of every sample of a picture, with its barycentric weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from blender_addon.core.camera import CameraFrame
from blender_addon.core.rasterizer import OccluderMesh, project_triangles
from blender_addon.core.silhouettes import covered_pixels

NOTHING = -1


@dataclass(frozen=True, eq=False)
class Fragments:
    """What a camera sees: the samples that something covers, P of them.

    Attributes:
        sample: (P,) row * W + column.
        mesh: (P,) index of the mesh.
        triangle: (P,) triangle of that mesh.
        barycentric: (3, P) float64 weights of its corners, correct in perspective.
        depth: (P,) float64 planar depth (perspective cameras).
    """

    sample: NDArray[np.intp]
    mesh: NDArray[np.intp]
    triangle: NDArray[np.intp]
    barycentric: NDArray[np.float64]
    depth: NDArray[np.float64]

    def of_mesh(self, mesh: int) -> Fragments:
        """Only those of one mesh."""
        chosen = np.flatnonzero(self.mesh == mesh)
        return Fragments(
            self.sample[chosen],
            self.mesh[chosen],
            self.triangle[chosen],
            self.barycentric[:, chosen],
            self.depth[chosen],
        )


def supersampled(camera: CameraFrame, factor: int) -> CameraFrame:
    """The same camera with `factor` x `factor` samples a pixel."""
    return replace(
        camera,
        focal=camera.focal * factor,
        principal=camera.principal * factor,
        width=camera.width * factor,
        height=camera.height * factor,
    )


def nearest_fragments(camera: CameraFrame, meshes: Sequence[OccluderMesh]) -> Fragments:
    """Find what a perspective camera sees at the centre of each of its pixels."""
    triangles = project_triangles(camera, meshes)
    size = camera.width * camera.height
    nearest = np.full(size, -np.inf)
    winner = np.full(size, NOTHING, dtype=np.intp)
    for triangle, pixel, nearness in covered_pixels(camera, triangles):
        np.maximum.at(nearest, pixel, nearness)
        front = np.flatnonzero(nearness == nearest[pixel])
        winner[pixel[front]] = triangle[front]
    sample = np.flatnonzero(winner != NOTHING)
    winner = winner[sample]
    row, column = np.divmod(sample, camera.width)
    functions = triangles.inside[:, :, winner]  # (3 corners, 3 coefficients, P)
    weights = functions[:, 0] * (column + 0.5) + functions[:, 1] * (row + 0.5) + functions[:, 2]
    np.maximum(weights, 0.0, out=weights)
    weights /= weights.sum(axis=0)
    ends = np.cumsum([len(mesh.triangles) for mesh in meshes])
    source = triangles.source[winner]
    mesh = np.searchsorted(ends, source, side="right")
    starts = ends - [len(mesh.triangles) for mesh in meshes]
    return Fragments(sample, mesh, source - starts[mesh], weights, 1.0 / nearest[sample])
