"""Segment masks: what a point lies on and which segment is the foreground (conventions 1.2, 1.8, 1.9)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from blender_addon.core.id_coding import UNASSIGNED

_BORDER_COLUMNS = 20
_BORDER_WEIGHT, _AREA_WEIGHT = 0.6, 0.4


@dataclass(frozen=True)
class ForegroundScore:
    """How much a mask looks like the foreground.

    Attributes:
        score: 0.6 x (1 - share of the left and right border columns that it fills) + 0.4 x area; -1 = empty
            mask.
        area: fraction of the picture.
    """

    score: float
    area: float


def segment_ids(points: NDArray[np.floating], masks: NDArray[np.bool_]) -> NDArray[np.int64]:
    """SegID of each point: the first mask that contains it, -1 where none does.

    Positions are rounded (half to even) and clamped to the raster.

    Args:
        points: (N, 2 or more) x, y in pixels, on the frame of the masks.
        masks: (S, H, W), may overlap.

    Returns:
        (N,) int64.
    """
    _, height, width = masks.shape
    column = np.clip(np.rint(points[:, 0]), 0, width - 1).astype(np.int64)
    row = np.clip(np.rint(points[:, 1]), 0, height - 1).astype(np.int64)
    hits = masks[:, row, column]  # (S, N)
    return np.where(hits.any(axis=0), hits.argmax(axis=0), UNASSIGNED)


def inside_dilated(points: NDArray[np.floating], mask: NDArray[np.bool_], box: int) -> NDArray[np.bool_]:
    """Whether each point lies in the mask dilated by a box of `box` x `box` pixels.

    Positions are truncated toward zero, so -0.6 counts as 0; points outside the raster are outside the
    mask. A mask pixel p covers p - box // 2 to p + (box - 1) // 2: boxes of even size reach one pixel
    farther to the top left.

    Args:
        points: (N, 2 or more) x, y in pixels.
        mask: (H, W).

    Returns:
        (N,) bool.
    """
    height, width = mask.shape
    anchor = ((box - 1) // 2, (box - 1) // 2)
    dilated = cv2.dilate(mask.astype(np.uint8), np.ones((box, box), np.uint8), anchor=anchor) > 0
    column, row = np.trunc(points[:, 0]), np.trunc(points[:, 1])
    on_raster = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    inside = np.zeros(len(points), bool)
    inside[on_raster] = dilated[row[on_raster].astype(np.int64), column[on_raster].astype(np.int64)]
    return inside


def foreground_score(mask: NDArray[np.bool_]) -> ForegroundScore:
    """Score one mask (H, W). Only the 20 leftmost and the 20 rightmost columns count as border."""
    if not mask.any():
        return ForegroundScore(-1.0, 0.0)
    area = np.count_nonzero(mask) / mask.size
    border = np.concatenate([mask[:, :_BORDER_COLUMNS], mask[:, -_BORDER_COLUMNS:]], axis=1)
    free_border = 1 - np.count_nonzero(border) / border.size
    return ForegroundScore(_BORDER_WEIGHT * free_border + _AREA_WEIGHT * area, area)


def foreground_mask(masks: NDArray[np.bool_]) -> int:
    """Index of the foreground among the masks (S, H, W): the largest score, the first of equals."""
    return int(np.argmax([foreground_score(mask).score for mask in masks]))
