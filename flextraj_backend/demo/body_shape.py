"""The humanoid's body as one closed surface: lofted parts, smoothly joined, with materials and skin weights.

NumPy only; `humanoid.py` turns the result into Blender objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flextraj_backend.demo.body_parts import body_parts
from flextraj_backend.demo.loft import Loft, Points, smooth_minimum
from flextraj_backend.demo.proportions import Bone, HumanoidProportions, build_skeleton
from flextraj_backend.demo.surface_nets import extract_surface, smooth_over_edges, unique_edges

END_FALLOFF = 2.5
"""Beyond its ends a bone loses its hold faster than beside them: the broad chest must not move the face."""


@dataclass(frozen=True, eq=False)
class BodyMesh:
    """A skinned closed mesh.

    Attributes:
        vertices: (V, 3) metres.
        quads: (F, 4) vertex indices, counter-clockwise from outside.
        materials: (F) material of each face, a `Material` for a humanoid.
        weights: (V, B) skin weights over `bones`, rows sum to 1, at most four bones a vertex.
        bones: the skeleton, parents before children.
    """

    vertices: Points
    quads: NDArray[np.int64]
    materials: NDArray[np.int64]
    weights: Points
    bones: tuple[Bone, ...]


def build_body(body: HumanoidProportions, voxel: float = 0.009) -> BodyMesh:
    """Model a body in its rest pose, arms half raised.

    Args:
        body: its measures.
        voxel: size of the grid cells in metres; about 0.009 shows nose and hands, 0.015 is enough for tracks.
    """
    bones = build_skeleton(body)
    return mesh_parts(body_parts(body, {bone.name: bone for bone in bones}), bones, voxel)


def mesh_parts(parts: Sequence[Loft], bones: tuple[Bone, ...], voxel: float) -> BodyMesh:
    """Join lofts into one closed surface, skinned to a skeleton.

    Args:
        parts: in the order in which they are joined.
        bones: parents before children.
        voxel: size of the grid cells in metres.
    """
    low = np.min([part.bounds()[0] for part in parts], axis=0) - 3 * voxel
    high = np.max([part.bounds()[1] for part in parts], axis=0) + 3 * voxel
    shape = np.ceil((high - low) / voxel).astype(int) + 1
    values = np.full(tuple(shape), 1.0)
    ticks = [low[axis] + voxel * np.arange(shape[axis]) for axis in range(3)]
    for part in parts:
        box_low, box_high = part.bounds()
        margin = part.blend + 2 * voxel
        box = tuple(
            slice(*np.searchsorted(ticks[axis], (box_low[axis] - margin, box_high[axis] + margin)))
            for axis in range(3)
        )
        grid = np.stack(np.meshgrid(*(ticks[axis][box[axis]] for axis in range(3)), indexing="ij"), -1)
        distance = part.distance(grid.reshape(-1, 3)).reshape(grid.shape[:3])
        values[box] = smooth_minimum(values[box], distance, part.blend)
    vertices, quads = extract_surface(values, low, voxel)
    edges = unique_edges(quads)
    vertices = smooth_over_edges(vertices, edges, iterations=2)
    vertices = _snap_material_borders(vertices, quads, parts, voxel)
    materials = _material_of(vertices[quads].mean(1), parts)
    weights = skin_weights(vertices, edges, bones, _rigid_owner(vertices, parts, bones))
    return BodyMesh(vertices, quads, materials, weights, bones)


def _material_distances(points: Points, parts: Sequence[Loft]) -> tuple[NDArray[np.int64], Points]:
    """Distance of (M, 3) points to the nearest part of each material: (K) materials, (M, K)."""
    kinds = sorted({part.material for part in parts})
    nearest = np.full((len(points), len(kinds)), np.inf)
    for part in parts:
        column = kinds.index(part.material)
        nearest[:, column] = np.minimum(nearest[:, column], part.distance(points))
    return np.array(kinds, np.int64), nearest


def _material_of(points: Points, parts: Sequence[Loft]) -> NDArray[np.int64]:
    kinds, distances = _material_distances(points, parts)
    return kinds[distances.argmin(1)]


def _snap_material_borders(
    vertices: Points, quads: NDArray[np.int64], parts: Sequence[Loft], voxel: float
) -> Points:
    """Move the vertices between two materials onto the line where both parts are equally near.

    Without it hairline and collar follow the grid's cells in steps.
    """
    face = _material_of(vertices[quads].mean(1), parts)
    lowest = np.full(len(vertices), 99)
    highest = np.full(len(vertices), -1)
    for corner in range(4):
        np.minimum.at(lowest, quads[:, corner], face)
        np.maximum.at(highest, quads[:, corner], face)
    border = np.flatnonzero(lowest != highest)
    points = vertices[border].copy()
    columns = np.arange(len(border))

    def difference(at: Points) -> Points:
        kinds, distances = _material_distances(at, parts)
        first = np.searchsorted(kinds, lowest[border])
        second = np.searchsorted(kinds, highest[border])
        return distances[columns, first] - distances[columns, second]

    small = 0.1 * voxel
    for _ in range(3):
        value = difference(points)
        gradient = np.stack([(difference(points + step) - value) / small for step in small * np.eye(3)], 1)
        points -= (value / ((gradient**2).sum(1) + 0.05))[:, None] * gradient
        offset = points - vertices[border]
        far = np.linalg.norm(offset, axis=1, keepdims=True)
        points = vertices[border] + offset * np.minimum(1.0, 0.8 * voxel / np.maximum(far, 1e-9))
    moved = vertices.copy()
    moved[border] = points
    return moved


def _rigid_owner(vertices: Points, parts: Sequence[Loft], bones: Sequence[Bone]) -> NDArray[np.int64]:
    """Index of the bone that alone moves each vertex, -1 where several may: (V,)."""
    number = {bone.name: index for index, bone in enumerate(bones)}
    owners = np.array([-1 if part.bone is None else number[part.bone] for part in parts])
    return owners[np.stack([part.distance(vertices) for part in parts], 1).argmin(1)]


def skin_weights(
    vertices: Points,
    edges: NDArray[np.int64],
    bones: Sequence[Bone],
    owner: NDArray[np.int64],
    sharpness: float = 7.0,
) -> Points:
    """Return (V, B) weights from the distances of the vertices to the bones, relative to each bone's reach.

    Inverse powers of the distance, smoothed over the surface, then cut to four bones a vertex.

    Args:
        vertices: (V, 3).
        edges: (E, 2).
        bones: the skeleton.
        owner: (V,) bone that alone moves a vertex, -1 where distance decides.
        sharpness: exponent of the distance.
    """
    nearness = np.empty((len(vertices), len(bones)))
    for column, bone in enumerate(bones):
        length = float(np.linalg.norm(bone.tail - bone.head))
        axis = (bone.tail - bone.head) / length
        along = (vertices - bone.head) @ axis  # (V)
        radial = np.linalg.norm(vertices - bone.head - along[:, None] * axis, axis=1)
        beyond = np.maximum(np.maximum(-along, along - length), 0.0)
        distance = np.hypot(radial, END_FALLOFF * beyond)
        nearness[:, column] = np.maximum(distance / bone.reach, 0.05) ** -sharpness
    weights = nearness / nearness.sum(1, keepdims=True)
    rigid = owner >= 0
    weights[rigid] = np.eye(len(bones))[owner[rigid]]
    weights = smooth_over_edges(weights, edges, iterations=8)
    fourth = np.sort(weights, axis=1)[:, -4][:, None]
    weights = np.where((weights >= fourth) & (weights > 0.004), weights, 0.0)
    return weights / weights.sum(1, keepdims=True)
