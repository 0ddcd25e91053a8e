"""Rotations of whole sequences. NumPy only; axes of a body: X its left, -Y its front, Z up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Series = NDArray[np.float64]
"""One number a sample, (T,), or (T, 3), (T, 3, 3)."""

X, Y, Z = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)


def rotation(axis: Sequence[float], degrees: Series | float) -> Series:
    """Right-handed rotations (T, 3, 3), or (3, 3) for one angle, about an axis of any length."""
    x, y, z = np.asarray(axis, np.float64) / np.linalg.norm(axis)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    angle = np.radians(np.asarray(degrees, np.float64))[..., None, None]
    return np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * (cross @ cross)


def transposed(matrices: Series) -> Series:
    """Swap the last two axes, which inverts rotations."""
    return np.swapaxes(matrices, -1, -2)


def apply(matrices: Series, vectors: Series) -> Series:
    """Matrices (..., 3, 3) times vectors (..., 3)."""
    return (matrices @ vectors[..., None])[..., 0]


def quaternions(matrices: Series) -> Series:
    """Rotations (T, 3, 3) as quaternions (T, 4), w first, without sign changes from sample to sample."""
    m = np.asarray(matrices, np.float64)
    # Each row of this symmetric matrix is the quaternion times one of its components; the largest is exact.
    w = 1.0 + m[:, 0, 0] + m[:, 1, 1] + m[:, 2, 2]
    x = 1.0 + m[:, 0, 0] - m[:, 1, 1] - m[:, 2, 2]
    y = 1.0 - m[:, 0, 0] + m[:, 1, 1] - m[:, 2, 2]
    z = 1.0 - m[:, 0, 0] - m[:, 1, 1] + m[:, 2, 2]
    wx, wy, wz = m[:, 2, 1] - m[:, 1, 2], m[:, 0, 2] - m[:, 2, 0], m[:, 1, 0] - m[:, 0, 1]
    xy, xz, yz = m[:, 1, 0] + m[:, 0, 1], m[:, 0, 2] + m[:, 2, 0], m[:, 2, 1] + m[:, 1, 2]
    rows = np.stack(
        [
            np.stack([w, wx, wy, wz], 1),
            np.stack([wx, x, xy, xz], 1),
            np.stack([wy, xy, y, yz], 1),
            np.stack([wz, xz, yz, z], 1),
        ],
        1,
    )  # (T, 4, 4)
    best = np.stack([w, x, y, z], 1).argmax(1)
    chosen = rows[np.arange(len(m)), best]
    chosen /= np.linalg.norm(chosen, axis=1, keepdims=True)
    signs = np.sign((chosen[1:] * chosen[:-1]).sum(1))
    chosen[1:] *= np.cumprod(np.where(signs < 0, -1.0, 1.0))[:, None]
    return chosen
