"""Local rotation of every track from its neighbourhood.

Source: Mueller, Bender, Chentanez, Macklin 2016, "A robust method to extract the rotational part of
deformations": an iteration on the axis of rotation, warm-started from the previous frame, so no singular
value decomposition and no flips.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flextraj_backend.engines.preview.tracks import AffinityGraph, SubjectTracks

ITERATIONS = 6
MAX_STEP = 1.0
"""Largest turn of one iteration in radians."""


def rotation_matrices(axis_angle: NDArray[np.floating]) -> NDArray[np.float32]:
    """Rodrigues' formula: (N, 3) rotation vectors in radians to (N, 3, 3) matrices."""
    angle = np.sqrt(np.einsum("na,na->n", axis_angle, axis_angle)) + 1e-12
    axis = axis_angle / angle[:, None]
    angle = np.minimum(angle, MAX_STEP)
    cross = np.zeros((len(axis), 3, 3), np.float32)
    cross[:, 0, 1], cross[:, 0, 2] = -axis[:, 2], axis[:, 1]
    cross[:, 1, 0], cross[:, 1, 2] = axis[:, 2], -axis[:, 0]
    cross[:, 2, 0], cross[:, 2, 1] = -axis[:, 1], axis[:, 0]
    squared = np.einsum("nab,nbc->nac", cross, cross)
    return (
        np.eye(3, dtype=np.float32)
        + np.sin(angle)[:, None, None] * cross
        + (1 - np.cos(angle))[:, None, None] * squared
    ).astype(np.float32)


def local_rotations(tracks: SubjectTracks, graph: AffinityGraph) -> NDArray[np.float32]:
    """Rotation of every track's neighbourhood from the first frame to each frame.

    Returns:
        (T, N, 3, 3) float32; the identity on frame 0 and for tracks without neighbours.
    """
    near = graph.neighbours
    result = np.empty((tracks.frame_count, tracks.count, 3, 3), np.float32)
    current = np.tile(np.eye(3, dtype=np.float32), (tracks.count, 1, 1))
    result[0] = current
    rest = (tracks.points[0][near] - tracks.points[0][:, None]) * graph.weights[..., None]  # (N, K, 3)
    # Units are scaled away so that the guard against division by zero means the same in every scene.
    rest /= tracks.extent
    for frame in range(1, tracks.frame_count):
        edges = (tracks.points[frame][near] - tracks.points[frame][:, None]) / tracks.extent
        covariance = np.einsum("nka,nkb->nab", edges, rest)  # now x rest^T
        for _ in range(ITERATIONS):
            turn = np.cross(current.transpose(0, 2, 1), covariance.transpose(0, 2, 1)).sum(axis=1)
            scale = np.abs(np.einsum("nab,nab->n", current, covariance)) + 1e-9
            current = np.einsum("nab,nbc->nac", rotation_matrices(turn / scale[:, None]), current)
        result[frame] = current
    return result


def limit_tilt(rotations: NDArray[np.float32], limit: float) -> NDArray[np.float32]:
    """Soften how far rotations turn the picture plane away from the viewer; turns within the plane stay.

    A photo is a flat card: turned by a right angle it would vanish.

    Args:
        rotations: (..., 3, 3), camera space.
        limit: radians that a tilt approaches but never reaches.
    """
    shape = rotations.shape
    flat = rotations.reshape(-1, 3, 3)
    axis = np.stack([-flat[:, 1, 2], flat[:, 0, 2], np.zeros(len(flat), np.float32)], axis=1)  # z cross R z
    axis /= np.sqrt(np.einsum("na,na->n", axis, axis))[:, None] + 1e-9
    tilt = np.arccos(np.clip(flat[:, 2, 2], -1, 1))
    excess = limit * np.tanh(tilt / limit) - tilt  # not positive
    result = flat
    # One step of the matrix formula turns by at most MAX_STEP.
    for _ in range(int(np.ceil(np.pi / MAX_STEP))):
        step = np.clip(excess, -MAX_STEP, 0)
        result = np.einsum("nab,nbc->nac", rotation_matrices(axis * step[:, None]), result)
        excess = excess - step
    return result.reshape(shape)
