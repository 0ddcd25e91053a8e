"""Cubes, spheres, cylinders and cones as grids of quads, fine enough to carry a texture. NumPy only."""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


class BlockShape(StrEnum):
    CUBE = "cube"
    SPHERE = "sphere"
    CYLINDER = "cylinder"
    CONE = "cone"


def block_grid(shape: BlockShape, cells: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """A closed shape of size 2 around the origin, upright.

    Args:
        shape: which.
        cells: quads along each edge of the cube that it is made from.

    Returns:
        (V, 3) vertices within -1..1 and (F, 4) quads, counter-clockwise from outside.
    """
    cube, quads = _cube_grid(cells)
    if shape is BlockShape.CUBE:
        return cube, quads
    if shape is BlockShape.SPHERE:
        # Tangents spread the cells evenly over the sphere.
        spread = np.tan(cube * (np.pi / 4))
        return spread / np.linalg.norm(spread, axis=1, keepdims=True), quads
    # Squares around the axis become circles.
    square = cube[:, :2]
    largest = np.abs(square).max(1, keepdims=True)
    length = np.linalg.norm(square, axis=1, keepdims=True)
    circle = square * largest / np.maximum(length, 1e-12)
    if shape is BlockShape.CONE:
        circle = circle * (0.5 - 0.5 * cube[:, 2:] * (1.0 - _TIP))
    return np.concatenate([circle, cube[:, 2:]], 1), quads


_TIP = 0.02
"""Radius of a cone's tip: quads must not shrink to nothing."""


@lru_cache(maxsize=16)
def _cube_grid(cells: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    ticks = np.linspace(-1.0, 1.0, cells + 1)
    first, second = np.meshgrid(ticks, ticks, indexing="ij")
    corner = np.arange((cells + 1) ** 2).reshape(cells + 1, cells + 1)
    ring = np.stack([corner[:-1, :-1], corner[1:, :-1], corner[1:, 1:], corner[:-1, 1:]], -1).reshape(-1, 4)
    vertices, quads = [], []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            side = np.empty((first.size, 3))
            side[:, axis] = sign
            side[:, (axis + 1) % 3], side[:, (axis + 2) % 3] = first.ravel(), second.ravel()
            quads.append((ring if sign > 0 else ring[:, ::-1]) + len(vertices) * first.size)
            vertices.append(side)
    merged, index = np.unique(np.round(np.concatenate(vertices), 9), axis=0, return_inverse=True)
    return np.asarray(merged, np.float64), index.reshape(-1)[np.concatenate(quads)].astype(np.int64)
