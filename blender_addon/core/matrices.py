"""Small matrices without LAPACK, whose threads take milliseconds to wake beside Blender's."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_NEXT, _AFTER = [1, 2, 0], [2, 0, 1]


def cofactors(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (3, 3) that takes u x v to (L u) x (L v); it exists for singular L, too."""
    second, third = linear[_NEXT], linear[_AFTER]
    return second[:, _NEXT] * third[:, _AFTER] - second[:, _AFTER] * third[:, _NEXT]


def affine_inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Invert a (4, 4) whose last row is (0, 0, 0, 1) and whose axes span a volume."""
    linear = matrix[:3, :3]
    adjugate = cofactors(linear)
    inverse = np.eye(4)
    inverse[:3, :3] = adjugate.T / (linear[0] @ adjugate[0])
    inverse[:3, 3] = -inverse[:3, :3] @ matrix[:3, 3]
    return inverse
