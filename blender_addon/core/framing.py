"""Where a camera must stand to see a set of points."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def framing_rotation(elevation: float) -> NDArray[np.float64]:
    """Return the camera axes (3, 3), as columns, of a camera in front of a character (it faces -Y).

    Args:
        elevation: angle above the horizon in radians, from which the camera looks down.
    """
    sine, cosine = np.sin(elevation), np.cos(elevation)
    right = [1.0, 0.0, 0.0]
    up = [0.0, sine, cosine]
    back = [0.0, -cosine, sine]
    return np.array([right, up, back]).T


def extreme_points(
    points: NDArray[np.floating], rotation: NDArray[np.float64], half_extent: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the few points (at most 6) that decide where the camera stands, see `framing_location`."""
    x, y, back = (np.asarray(points, dtype=np.float64) @ rotation).T
    tan_x, tan_y = half_extent
    deciding = (x + tan_x * back, -x + tan_x * back, y + tan_y * back, -y + tan_y * back, back, -back)
    return np.asarray(points, dtype=np.float64)[[int(np.argmax(values)) for values in deciding]]


def framing_location(
    points: NDArray[np.floating],
    rotation: NDArray[np.float64],
    half_extent: NDArray[np.float64],
    margin: float = 0.1,
) -> NDArray[np.float64]:
    """Place a perspective camera as near as possible so that every point is in the picture.

    Args:
        points: (N, 3) world space.
        rotation: (3, 3), the camera's right, up and backward axes as columns.
        half_extent: (2,) half width and half height of the picture at unit distance.
        margin: share of the picture left free on each side.

    Returns:
        (3,) world location. Exact: each side plane touches a point, on the tighter axis on both sides.
    """
    x, y, back = (np.asarray(points, dtype=np.float64) @ rotation).T
    tan_x, tan_y = np.asarray(half_extent) * (1 - 2 * margin)
    # A point is inside the right plane where x + tan * back <= camera_x + tan * camera_back, and so on.
    right, left = (x + tan_x * back).max(), (-x + tan_x * back).max()
    top, bottom = (y + tan_y * back).max(), (-y + tan_y * back).max()
    camera_back = max((right + left) / (2 * tan_x), (top + bottom) / (2 * tan_y))
    # A single point, or points in a line towards the camera, would put it into them.
    camera_back = max(camera_back, back.max() + 1e-3)
    return rotation @ np.array([(right - left) / 2, (top - bottom) / 2, camera_back])
