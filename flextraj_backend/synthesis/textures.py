"""Textured surfaces and filtered look-ups in their images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

_MAP_SIDE = 256


@dataclass(frozen=True, eq=False)
class TexturedSurface:
    """A surface of the background.

    Attributes:
        vertices: (V, 3) float64, world space, metres.
        triangles: (M, 3) int32.
        uv: (V, 2) float64; the image repeats with every whole number, v runs upwards from its bottom row.
        image: (h, w, 3) float32 linear RGB, top row first.
        metres: that one repeat of u covers.
        shines: its image is light (a sky), not a colour to be lit.
    """

    vertices: NDArray[np.float64]
    triangles: NDArray[np.int32]
    uv: NDArray[np.float64]
    image: NDArray[np.float32]
    metres: float
    shines: bool = False

    @cached_property
    def pyramid(self) -> tuple[NDArray[np.float32], ...]:
        """The image, and copies of half the size each, down to a few pixels."""
        levels = [self.image]
        while min(levels[-1].shape[:2]) >= 8:
            height, width = levels[-1].shape[:2]
            half = cv2.resize(levels[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA)
            levels.append(np.asarray(half, np.float32))
        return tuple(levels)


def look_up_filtered(
    surface: TexturedSurface, uv: NDArray[np.floating], footprint: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Colours where a surface is seen, bilinear in the level whose texels are as large as the samples.

    Args:
        surface: the surface.
        uv: (P, 2).
        footprint: (P,) metres that one sample covers.

    Returns:
        (P, 3) float32 linear RGB.
    """
    pyramid = surface.pyramid
    texel = surface.metres / surface.image.shape[1]
    level = np.log2(np.maximum(footprint / texel, 1e-6))
    level = np.clip(np.rint(level), 0, len(pyramid) - 1).astype(np.intp)
    colors = np.empty((len(uv), 3), np.float32)
    for number in np.unique(level):
        chosen = np.flatnonzero(level == number)
        places = uv[chosen]
        if surface.shines:  # a sky ends at the horizon and does not repeat upwards
            half_texel = 0.5 / len(pyramid[number])
            places[:, 1] = np.clip(places[:, 1], half_texel, 1.0 - half_texel)
        colors[chosen] = bilinear(pyramid[number], places)
    return colors


def bilinear(image: NDArray[np.float32], uv: NDArray[np.floating]) -> NDArray[np.float32]:
    """Interpolate an image that repeats, at uv (P, 2): (P, 3)."""
    height, width = image.shape[:2]
    count = len(uv)
    padding = -count % _MAP_SIDE  # OpenCV's maps have two dimensions, both of them short
    x = np.pad(uv[:, 0] % 1.0 * width - 0.5, (0, padding)).reshape(-1, _MAP_SIDE)
    y = np.pad((1.0 - uv[:, 1]) % 1.0 * height - 0.5, (0, padding)).reshape(-1, _MAP_SIDE)
    colors = cv2.remap(
        image, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
    )
    return np.asarray(colors, np.float32).reshape(-1, 3)[:count]
