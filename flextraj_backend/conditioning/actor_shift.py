"""Putting one actor's clip in the place of another's: bounding boxes centred (conventions 1.10)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Pixel = TypeVar("_Pixel", np.bool_, np.uint8)


@dataclass(frozen=True)
class PixelShift:
    """Whole pixels to the right and down."""

    dx: int
    dy: int


def centering_shift(target: NDArray[np.bool_], moving: NDArray[np.bool_]) -> PixelShift | None:
    """Shift that puts the bounding box of `moving` (H, W) on the middle of that of `target` (H, W).

    The middles are rounded down to whole pixels. None where a mask is empty.
    """
    target_box, moving_box = bounding_box(target), bounding_box(moving)
    if target_box is None or moving_box is None:
        return None
    (target_y, target_x), (moving_y, moving_x) = (
        [(part.start + part.stop - 1) // 2 for part in box] for box in (target_box, moving_box)
    )
    return PixelShift(target_x - moving_x, target_y - moving_y)


def bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, slice] | None:
    """Rows and columns that hold the mask (H, W); None where it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def move_picture(picture: NDArray[_Pixel], shift: PixelShift) -> NDArray[_Pixel]:
    """Move a picture (H, W) or (H, W, C); what leaves the raster is lost, what comes in is 0."""
    height, width = picture.shape[:2]
    moved = np.zeros_like(picture)
    y0, y1 = max(0, shift.dy), min(height, height + shift.dy)
    x0, x1 = max(0, shift.dx), min(width, width + shift.dx)
    if y0 < y1 and x0 < x1:
        moved[y0:y1, x0:x1] = picture[y0 - shift.dy : y1 - shift.dy, x0 - shift.dx : x1 - shift.dx]
    return moved


def move_actor(
    video: NDArray[np.uint8], masks: NDArray[np.bool_], shift: PixelShift
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Move an actor's video (T, H, W, 3) and masks (T, H, W) by one shift for all frames.

    Of each frame only the bounding box of the mask is carried, the rest becomes black.
    """
    moved_video, moved_masks = np.zeros_like(video), np.zeros_like(masks)
    for index, mask in enumerate(masks):
        box = bounding_box(mask)
        if box is None:
            continue
        carried = np.zeros_like(video[index])
        carried[box] = video[index][box]
        moved_video[index] = move_picture(carried, shift)
        moved_masks[index] = move_picture(mask, shift)
    return moved_video, moved_masks
