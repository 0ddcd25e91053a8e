"""Where a raster's pixels are in a viewport that looks through the camera."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .camera import CameraSettings


def raster_to_region(
    settings: CameraSettings,
    raster: tuple[int, int],
    window_matrix: NDArray[np.float64],
    region: tuple[int, int],
) -> NDArray[np.float64]:
    """Map pixels of a raster to pixels of a viewport in camera view.

    The raster need not have the proportions of the scene's render size, for which Blender draws the frame:
    both are pictures of what the same lens sees.

    Args:
        settings: of the camera that the viewport looks through.
        raster: width and height of the raster.
        window_matrix: (4, 4), the viewport's projection of camera space (`RegionView3D.window_matrix`), in
            which zoom and offset of the camera view are contained.
        region: width and height of the region.

    Returns:
        (2, 3) affine from raster (origin top left, y down) to region (origin bottom left, y up).
    """
    focal, principal = settings.intrinsics(*raster)
    corners = np.array([(0.0, 0.0), (raster[0], 0.0), (0.0, raster[1])])
    # At a distance of 1; for an orthographic camera the distance does not matter.
    plane = (corners - principal) / focal * (1.0, -1.0)
    homogeneous = np.column_stack([plane, np.full(3, -1.0), np.ones(3)]) @ window_matrix.T  # (3, 4)
    origin, right, down = (homogeneous[:, :2] / homogeneous[:, 3:] + 1.0) / 2.0 * region
    return np.column_stack([(right - origin) / raster[0], (down - origin) / raster[1], origin])


def as_matrix(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Write a (2, 3) affine of the plane as a (4, 4) matrix."""
    matrix = np.eye(4)
    matrix[:2, :2], matrix[:2, 3] = affine[:, :2], affine[:, 2]
    return matrix
