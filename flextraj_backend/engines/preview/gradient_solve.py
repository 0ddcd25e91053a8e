"""Gradient-domain transfer: keep the picture's edge vectors, turned by the local rotations.

Solved by conjugate gradients in plain NumPy sums, so that the result does not depend on the number of
threads.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flextraj_backend.engines.preview.binding import Shell

MAX_ITERATIONS = 200
TOLERANCE = 1e-6


def grid_edges(lookup: NDArray[np.int64]) -> NDArray[np.int64]:
    """Edges between neighbouring grid vertices, diagonals too: (E, 2) vertex numbers."""
    rows, columns = lookup.shape
    edges = []
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        first = lookup[: rows - dy, max(0, -dx) : columns - max(0, dx)]
        second = lookup[dy:, max(0, dx) : columns + min(0, dx)]
        both = (first >= 0) & (second >= 0)
        edges.append(np.stack([first[both], second[both]], axis=1))
    return np.concatenate(edges)


def smooth_vertex_motion(
    shell: Shell, positions: NDArray[np.float32], turns: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Minimise sum |(p_i - p_j) - G_ij (rest_i - rest_j)|^2 + anchor * sum |p - positions|^2 per frame.

    Args:
        positions: (T, V, 3) blended positions, the anchor and the start of the iteration.
        turns: (T, V, 3, 3) blended rotations; G_ij is the mean of an edge's ends.

    Returns:
        (T, V, 3) float32.
    """
    anchor = shell.style.smoothing
    frames, count = positions.shape[:2]
    first, second = grid_edges(shell.grid.lookup).T
    degree = np.bincount(first, minlength=count) + np.bincount(second, minlength=count)
    width = _padded_neighbours(first, second, degree)
    rest_edges = (shell.vertex_rest[first] - shell.vertex_rest[second]).astype(np.float64)
    start = positions.transpose(1, 0, 2).astype(np.float64)  # (V, T, 3)
    right = anchor * start
    for frame in range(frames):
        mean_turn = 0.5 * (turns[frame, first] + turns[frame, second])
        wanted = np.einsum("eab,eb->ea", mean_turn, rest_edges)
        for axis in range(3):
            right[:, frame, axis] += np.bincount(first, wanted[:, axis], count)
            right[:, frame, axis] -= np.bincount(second, wanted[:, axis], count)
    right = right.reshape(count, -1)
    solution = _conjugate_gradients(width, degree + anchor, right, start.reshape(count, -1))
    return solution.reshape(count, frames, 3).transpose(1, 0, 2).astype(np.float32)


def _padded_neighbours(
    first: NDArray[np.int64], second: NDArray[np.int64], degree: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Neighbours of each vertex, (V, 8), padded with V (a row of zeros is appended to what they index)."""
    count = len(degree)
    table = np.full((count, max(1, int(degree.max(initial=0)))), count, np.int64)
    fill = np.zeros(count, np.int64)
    source = np.concatenate([first, second])
    target = np.concatenate([second, first])
    order = np.argsort(source, kind="stable")
    source, target = source[order], target[order]
    starts = np.concatenate([[0], np.cumsum(degree)[:-1]])
    fill = np.arange(len(source)) - starts[source]
    table[source, fill] = target
    return table


def _conjugate_gradients(
    neighbours: NDArray[np.int64],
    diagonal: NDArray[np.float64],
    right: NDArray[np.float64],
    start: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Solve (diagonal - adjacency) x = right for all columns at once, with Jacobi preconditioning."""

    def apply(x: NDArray[np.float64]) -> NDArray[np.float64]:
        padded = np.concatenate([x, np.zeros((1, x.shape[1]))])
        result = diagonal[:, None] * x
        for column in range(neighbours.shape[1]):
            result -= padded[neighbours[:, column]]
        return result

    solution = start.copy()
    residual = right - apply(solution)
    scaled = residual / diagonal[:, None]
    direction = scaled.copy()
    energy = np.einsum("vc,vc->c", residual, scaled)
    target = np.maximum(np.einsum("vc,vc->c", right, right / diagonal[:, None]) * TOLERANCE**2, 1e-300)
    for _ in range(MAX_ITERATIONS):
        if (energy <= target).all():
            break
        image = apply(direction)
        length = energy / np.maximum(np.einsum("vc,vc->c", direction, image), 1e-300)
        solution += length * direction
        residual -= length * image
        scaled = residual / diagonal[:, None]
        new_energy = np.einsum("vc,vc->c", residual, scaled)
        direction = scaled + (new_energy / np.maximum(energy, 1e-300)) * direction
        energy = new_energy
    return solution
