"""The camera of a shot as a trajectory set stores it: intrinsics (pixels) and pose of every frame."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


class Projection(StrEnum):
    PERSPECTIVE = "perspective"
    ORTHOGRAPHIC = "orthographic"


@dataclass(frozen=True, eq=False)
class CameraTrack:
    """Camera of every frame.

    Camera space here has x to the right, y down and z forward (z is the planar depth of a trajectory set).

    Attributes:
        projection: the same for the whole shot.
        focal: (T, 2) float64, fx and fy in pixels (perspective) or pixels per scene unit (orthographic).
        principal: (T, 2) float64, cx and cy in pixels, origin at the top left corner of the raster.
        camera_to_world: (T, 4, 4) float64, Blender's camera axes (looks along -Z, +Y up), without scale.
    """

    projection: Projection
    focal: NDArray[np.float64]
    principal: NDArray[np.float64]
    camera_to_world: NDArray[np.float64]

    @property
    def frame_count(self) -> int:
        return len(self.focal)

    def unproject(self, positions: NDArray[np.floating]) -> NDArray[np.float64]:
        """Lift pixels with depth to camera space.

        Args:
            positions: (T, N, 3), x and y in pixels, z = planar depth in scene units.

        Returns:
            (T, N, 3) float64 in camera space (x right, y down, z forward), scene units.
        """
        depth = np.asarray(positions[..., 2], dtype=np.float64)  # (T, N)
        offset = (positions[..., :2] - self.principal[:, None]) / self.focal[:, None]  # (T, N, 2)
        if self.projection is Projection.PERSPECTIVE:
            offset = offset * depth[..., None]
        return np.concatenate([offset, depth[..., None]], axis=-1)

    def project(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Inverse of `unproject`: (T, N, 3) camera space to pixels and depth, (T, N, 3)."""
        scale = self.focal[:, None]
        offset = points[..., :2] * scale  # (T, N, 2)
        if self.projection is Projection.PERSPECTIVE:
            offset = offset / points[..., 2:]
        return np.concatenate([offset + self.principal[:, None], points[..., 2:]], axis=-1)

    def select_frames(self, frames: NDArray[np.integer]) -> CameraTrack:
        """Return the camera of the given frame indices, in their order."""
        return CameraTrack(
            self.projection, self.focal[frames], self.principal[frames], self.camera_to_world[frames]
        )


def same_camera(first: CameraTrack, second: CameraTrack) -> bool:
    """Whether two cameras are equal on every frame, up to rounding."""
    return first.projection is second.projection and all(
        a.shape == b.shape and np.allclose(a, b, rtol=1e-6, atol=1e-6)
        for a, b in (
            (first.focal, second.focal),
            (first.principal, second.principal),
            (first.camera_to_world, second.camera_to_world),
        )
    )
