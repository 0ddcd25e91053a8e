"""Blender's matrices as arrays."""

from __future__ import annotations

import numpy as np
from mathutils import Matrix
from numpy.typing import NDArray


def matrix_array(matrix: Matrix) -> NDArray[np.float64]:
    """Copy a 4x4 matrix, (4, 4) float64; four times faster than `np.array(matrix)`."""
    first, second, third, fourth = matrix
    return np.array((*first, *second, *third, *fourth), dtype=np.float64).reshape(4, 4)
