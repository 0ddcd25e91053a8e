"""A shot of any size at the one raster that a small model makes, and back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from blender_addon.core.placement import Affine, apply, compose, inverse
from blender_addon.core.trajectories import TrajectorySet

_HALF = 127


@dataclass(frozen=True)
class ModelRaster:
    """The shot lies whole in the middle of the model's raster; what is left over continues its edges.

    Attributes:
        width, height: of the model, in pixels.
        shot_width, shot_height: of the shot.
    """

    width: int
    height: int
    shot_width: int
    shot_height: int

    @property
    def content(self) -> tuple[int, int, int, int]:
        """Left, top, width and height of the shot in the model's raster, whole pixels."""
        scale = min(self.width / self.shot_width, self.height / self.shot_height)
        width = min(max(round(self.shot_width * scale), 1), self.width)
        height = min(max(round(self.shot_height * scale), 1), self.height)
        return (self.width - width) // 2, (self.height - height) // 2, width, height

    @property
    def matrix(self) -> Affine:
        """(2, 3) from the shot's pixels to the model's."""
        left, top, width, height = self.content
        return np.array([[width / self.shot_width, 0.0, left], [0.0, height / self.shot_height, top]])

    def fit(self, matrix: Affine) -> Affine:
        """The same placement of a rig on a photo, between pixels of the model."""
        return compose(self.matrix, compose(matrix, inverse(self.matrix)))

    def photo(self, photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 of the shot to the model's raster: area-filtered, edges continued."""
        return self._padded(self._resized(photo), cv2.BORDER_REPLICATE)

    def mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(H, W) bool of the shot to the model's raster; nothing is marked beyond the shot."""
        covered = self._resized(np.where(mask, np.uint8(255), np.uint8(0)))
        return self._padded(covered, cv2.BORDER_CONSTANT) > _HALF

    def trajectories(self, trajectories: TrajectorySet) -> TrajectorySet:
        """The same motion in the model's pixels; depth and visibility stay."""
        matrix, meta = self.matrix, trajectories.meta
        positions = trajectories.positions.copy()
        positions[..., :2] = apply(matrix, positions[..., :2])
        silhouette = trajectories.silhouette
        if silhouette is not None:
            silhouette = np.stack([self.mask(segment) for segment in silhouette])
        camera = meta.camera
        if camera is not None:
            scale = np.array([matrix[0, 0], matrix[1, 1]])
            camera = replace(
                camera, focal=camera.focal * scale, principal=camera.principal * scale + matrix[:, 2]
            )
        return replace(
            trajectories,
            positions=positions,
            silhouette=silhouette,
            meta=replace(meta, width=self.width, height=self.height, camera=camera),
        )

    def enlarged(self, frames: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
        """Frames of the model, (T, h, w, 3) uint8, cut to the shot and enlarged to it: (H, W, 3) each."""
        left, top, width, height = self.content
        size = self.shot_width, self.shot_height
        for frame in frames[:, top : top + height, left : left + width]:
            yield _as_bytes(cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC))

    def _resized(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        _, _, width, height = self.content
        shrinks = width <= picture.shape[1] and height <= picture.shape[0]
        method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
        return _as_bytes(cv2.resize(picture, (width, height), interpolation=method))

    def _padded(self, picture: NDArray[np.uint8], border: int) -> NDArray[np.uint8]:
        left, top, width, height = self.content
        right, bottom = self.width - left - width, self.height - top - height
        return _as_bytes(cv2.copyMakeBorder(picture, top, bottom, left, right, border))


def _as_bytes(picture: cv2.typing.MatLike) -> NDArray[np.uint8]:
    return np.asarray(picture, np.uint8)
