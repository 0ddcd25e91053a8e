"""One subject cut out of the photo: mask, clean colours and soft edge, continued beyond the frame.

A subject that the frame cuts (a half-body portrait) would leave a hole at the border as soon as it moves
inwards, so mask and colours go on outside: the mask repeats its border row, the colours are mirrored.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

PUSH_SIGMAS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
MIN_CUT = 6
"""A side cuts the subject where at least this many of its border pixels are subject."""


@dataclass(frozen=True)
class Padding:
    """Pixels added beyond each side of the frame."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0


@dataclass(frozen=True, eq=False)
class CutOut:
    """A subject on a canvas that is larger than the frame by `padding`.

    Attributes:
        group: the subject's group number.
        mask: (h, w) bool.
        colors: (h, w, 3) uint8, the photo with the background's colours removed from the subject's rim.
        alpha: (h, w) float32, soft edge.
        padding: position of the frame on the canvas.
    """

    group: int
    mask: NDArray[np.bool_]
    colors: NDArray[np.uint8]
    alpha: NDArray[np.float32]
    padding: Padding


def disc(radius: int) -> NDArray[np.uint8]:
    """Elliptic structuring element of a radius in pixels."""
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)).astype(np.uint8)


def blur(picture: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Gaussian blur of (H, W) or (H, W, C) float32."""
    return cv2.GaussianBlur(picture, (0, 0), sigma).astype(np.float32, copy=False)


def cut_sides(mask: NDArray[np.bool_]) -> Padding:
    """Which sides of the frame cut the mask: 1 or 0 per side."""
    return Padding(
        left=int(mask[:, 0].sum() >= MIN_CUT),
        top=int(mask[0].sum() >= MIN_CUT),
        right=int(mask[:, -1].sum() >= MIN_CUT),
        bottom=int(mask[-1].sum() >= MIN_CUT),
    )


def _pad(picture: NDArray[np.uint8], padding: Padding, border: int) -> NDArray[np.uint8]:
    return cv2.copyMakeBorder(
        picture, padding.top, padding.bottom, padding.left, padding.right, border
    ).astype(np.uint8, copy=False)


def _push_colors(photo: NDArray[np.uint8], known: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Replace colours outside `known` by those of the nearest known pixels, smoother with distance."""
    weight = known.astype(np.float32)
    colors = photo.astype(np.float32) * weight[..., None]
    for sigma in PUSH_SIGMAS:
        near = blur(weight, sigma)
        pushed = blur(colors, sigma) / np.maximum(near[..., None], 1e-5)
        new = (weight < 0.5) & (near > 0.02)
        colors = np.where(new[..., None], pushed, colors)
        weight = np.where(new, np.float32(1), weight)
    colors = np.where((weight < 0.5)[..., None], photo, colors)
    return np.clip(colors + 0.5, 0, 255).astype(np.uint8)


def soft_edge(mask: NDArray[np.bool_], sigma: float = 0.9) -> NDArray[np.float32]:
    """Alpha of a mask with an edge about two pixels wide."""
    return np.clip((blur(mask.astype(np.float32), sigma) - 0.15) / 0.7, 0, 1)


def cut_out(photo: NDArray[np.uint8], mask: NDArray[np.bool_], group: int, reach: int, rim: int) -> CutOut:
    """Cut a subject out of the photo.

    Args:
        photo: (H, W, 3) uint8.
        mask: (H, W) bool, the subject.
        reach: pixels to continue beyond every side that cuts the subject.
        rim: width in pixels of the rim whose colours are mixed with the background and get replaced.
    """
    height, width = mask.shape
    sides = cut_sides(mask)
    padding = Padding(
        sides.left * min(reach, width - 1),
        sides.top * min(reach, height - 1),
        sides.right * min(reach, width - 1),
        sides.bottom * min(reach, height - 1),
    )
    outer_mask = _pad(mask.astype(np.uint8), padding, cv2.BORDER_REPLICATE)
    mirrored_mask = _pad(mask.astype(np.uint8), padding, cv2.BORDER_REFLECT_101)
    core = (cv2.erode(outer_mask, disc(rim)) > 0) & (cv2.erode(mirrored_mask, disc(rim)) > 0)
    colors = _push_colors(_pad(photo, padding, cv2.BORDER_REFLECT_101), core)
    return CutOut(group, outer_mask > 0, colors, soft_edge(outer_mask > 0), padding)
