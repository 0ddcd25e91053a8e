"""Masks as pictures to be drawn over the photo: a tint with a clear outline."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Color = tuple[int, int, int]


def tinted_mask(mask: NDArray[np.bool_], color: Color, opacity: float, border: int) -> NDArray[np.uint8]:
    """Paint a mask.

    Args:
        mask: (H, W) bool.
        color: red, green, blue, 0 to 255.
        opacity: of the inside, 0 to 1; the outline is opaque.
        border: width of the outline in pixels, inside of the mask.

    Returns:
        (H, W, 4) uint8.
    """
    core = mask
    for _ in range(border):
        core = _eroded(core)
    picture = np.empty((*mask.shape, 4), np.uint8)
    picture[..., :3] = color
    picture[..., 3] = np.where(core, round(255 * opacity), np.where(mask, 255, 0))
    return picture


def _eroded(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Take one pixel off at every edge; beyond the picture the mask goes on."""
    padded = np.pad(mask, 1, mode="edge")
    sides = padded[1:-1, :-2] & padded[1:-1, 2:] & padded[:-2, 1:-1] & padded[2:, 1:-1]
    return mask & sides
