"""Image textures of the user's characters: base-colour images, looked up by UV. NumPy and OpenCV only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from flextraj_backend.synthesis.textures import bilinear

LARGEST_SIDE = 1024
"""Pixels; more no picture of ours shows."""
_SMALLEST_SIDE = 8


@dataclass(frozen=True, eq=False)
class BaseColorImage:
    """A base-colour image.

    Attributes:
        linear: (h, w, 3) float32 linear RGB, top row first.
    """

    linear: NDArray[np.float32]

    @cached_property
    def pyramid(self) -> tuple[NDArray[np.float32], ...]:
        """The image, and copies of half the size each, down to a few pixels."""
        levels = [self.linear]
        while min(levels[-1].shape[:2]) >= 2 * _SMALLEST_SIDE:
            levels.append(halved(levels[-1]))
        return tuple(levels)


@dataclass(frozen=True, eq=False)
class ImageAlbedo:
    """Images over plain material colours; see `raster_renderer.Albedo`.

    Attributes:
        plain: (M, 3) float32 linear RGB, the colour of triangles without an image.
        images: that the mesh has.
        image_of_triangle: (M,) index of each triangle's image, -1 = none.
        uv: (M, 3, 2) float32 of the triangles' corners, v runs upwards.
    """

    plain: NDArray[np.float32]
    images: tuple[BaseColorImage, ...]
    image_of_triangle: NDArray[np.intp]
    uv: NDArray[np.float32]

    def linear(
        self,
        triangle: NDArray[np.integer],
        barycentric: NDArray[np.floating],
        share: NDArray[np.floating],
    ) -> NDArray[np.float32]:
        """See `Albedo`: bilinear in the level whose texels are as large as the samples."""
        colors = self.plain[triangle]
        uv = np.einsum("cp,pcd->pd", barycentric, self.uv[triangle])
        image_of_point = self.image_of_triangle[triangle]
        for number, image in enumerate(self.images):
            of_image = np.flatnonzero(image_of_point == number)
            height, width = image.linear.shape[:2]
            texels = share[of_image] * self._areas[triangle[of_image]] * height * width
            level = np.rint(0.5 * np.log2(np.maximum(texels, 1.0)))
            level = np.clip(level, 0, len(image.pyramid) - 1).astype(np.intp)
            for step in np.unique(level):
                chosen = of_image[level == step]
                colors[chosen] = bilinear(image.pyramid[step], uv[chosen])
        return colors

    @cached_property
    def _areas(self) -> NDArray[np.floating]:
        """Area of each triangle in the image, (M,), 1 = the whole."""
        along, up = self.uv[:, 1] - self.uv[:, 0], self.uv[:, 2] - self.uv[:, 0]
        return 0.5 * np.abs(along[:, 0] * up[:, 1] - along[:, 1] * up[:, 0])


def halved(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """An image of half the size, each pixel the mean of four."""
    height, width = image.shape[:2]
    size = (max(1, width // 2), max(1, height // 2))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float32)
