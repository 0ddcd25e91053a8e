"""Naive surface nets: the zero level of a sampled field as a closed quad mesh (Gibson 1998)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_CORNERS = np.array([(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)])  # (8, 3)
_EDGES = np.array(
    [(a, b) for a in range(8) for b in range(a + 1, 8) if np.abs(_CORNERS[a] - _CORNERS[b]).sum() == 1]
)  # (12, 2)


def extract_surface(
    field: NDArray[np.floating], origin: NDArray[np.floating], spacing: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Mesh the zero level of a field that is negative inside and positive on the whole border of the grid.

    Args:
        field: (X, Y, Z) samples.
        origin: (3,) position of sample (0, 0, 0).
        spacing: distance of neighbouring samples.

    Returns:
        (V, 3) vertices and (F, 4) quads, counter-clockwise seen from outside; every edge has two faces.

    Raises:
        ValueError: the field is negative on the border, so that the surface would have a hole.
    """
    field = _join_diagonals(field)
    inside = field < 0
    if any(np.take(inside, (0, -1), axis).any() for axis in range(3)):
        raise ValueError("The field is negative on the grid's border: use a larger grid.")
    cells = tuple(side - 1 for side in field.shape)
    count = np.zeros(cells, np.int8)
    for i, j, k in _CORNERS:
        count += inside[i : i + cells[0], j : j + cells[1], k : k + cells[2]]
    active = np.argwhere((count > 0) & (count < 8))  # (V, 3)
    corners = np.stack([field[tuple((active + offset).T)] for offset in _CORNERS], 1)  # (V, 8)
    start, end = corners[:, _EDGES[:, 0]], corners[:, _EDGES[:, 1]]  # (V, 12)
    crossed = (start < 0) != (end < 0)
    fraction = np.where(crossed, start / np.where(crossed, start - end, 1.0), 0.0)
    points = _CORNERS[_EDGES[:, 0]] + fraction[..., None] * (_CORNERS[_EDGES[:, 1]] - _CORNERS[_EDGES[:, 0]])
    mean = (points * crossed[..., None]).sum(1) / crossed.sum(1)[:, None]  # (V, 3)
    vertices = np.asarray(origin) + (active + mean) * spacing

    index = np.full(cells, -1, np.int64)
    index[tuple(active.T)] = np.arange(len(active))
    quads = []
    for axis in range(3):
        u, v = (axis + 1) % 3, (axis + 2) % 3
        low = np.take(inside, np.arange(cells[axis]), axis)
        high = np.take(inside, np.arange(1, cells[axis] + 1), axis)
        for changes, flipped in ((low & ~high, False), (~low & high, True)):
            edge = np.argwhere(changes)  # (E, 3), grid edge along `axis`; its four cells carry one quad
            ring = []
            for step_u, step_v in ((-1, -1), (0, -1), (0, 0), (-1, 0)):
                cell = edge.copy()
                cell[:, u] += step_u
                cell[:, v] += step_v
                ring.append(index[tuple(cell.T)])
            quads.append(np.stack(ring[::-1] if flipped else ring, 1))
    return vertices, np.concatenate(quads)


def _join_diagonals(field: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the field with no grid square whose inside corners touch only diagonally.

    There four quads would meet in one edge. One outside corner is put just inside, until none is left.
    """
    field = np.array(field, np.float64)
    tiny = -1e-6 * float(np.abs(field).max())
    changed = True
    while changed:
        changed = False
        for axis in range(3):
            plane = np.moveaxis(field, axis, 2)  # a view: squares lie in the first two axes
            for corner, other in (((0, 0), (0, 1)), ((0, 1), (0, 0))):
                a, b, c, d = (
                    plane[i : plane.shape[0] - 1 + i, j : plane.shape[1] - 1 + j]
                    for i, j in (corner, other, (1 - corner[0], 1 - corner[1]), (1 - other[0], 1 - other[1]))
                )
                touching = (a < 0) & (c < 0) & (b >= 0) & (d >= 0)
                if touching.any():
                    b[touching] = tiny
                    changed = True
    return field


def unique_edges(quads: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the (E, 2) different edges of (F, 4) quads, smaller index first."""
    pairs = np.concatenate([quads[:, [i, (i + 1) % 4]] for i in range(4)]).astype(np.int64)
    return np.unique(np.sort(pairs, axis=1), axis=0)


def smooth_over_edges(
    values: NDArray[np.floating], edges: NDArray[np.integer], iterations: int, strength: float = 0.5
) -> NDArray[np.float64]:
    """Average (V, C) values with those of their neighbours along (E, 2) edges, some iterations."""
    smoothed = np.asarray(values, np.float64).copy()
    degree = np.bincount(edges.ravel(), minlength=len(values)).astype(np.float64)
    for _ in range(iterations):
        total = np.empty_like(smoothed)
        for channel in range(smoothed.shape[1]):
            column = smoothed[:, channel]
            total[:, channel] = np.bincount(edges[:, 0], column[edges[:, 1]], len(values))
            total[:, channel] += np.bincount(edges[:, 1], column[edges[:, 0]], len(values))
        smoothed += strength * (total / np.maximum(degree, 1)[:, None] - smoothed)
    return smoothed
