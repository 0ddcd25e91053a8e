"""Mask-IoU: whether a subject fills the pixels that it should, with masks carried along by optical flow."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from blender_addon.core.errors import RequestError
from flextraj_backend.evaluation.consistency import dense_flow


def propagate_segments(frames: NDArray[np.uint8], first: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Carry the first frame's (H, W) segment numbers through (T, H, W, 3) frames by flow: (T, H, W)."""
    height, width = first.shape
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    segments = [first]
    for before, now in pairwise(frames):
        back = dense_flow(now, before)
        segments.append(
            cv2.remap(
                segments[-1],
                columns + back[..., 0],
                rows + back[..., 1],
                cv2.INTER_NEAREST,
                borderMode=cv2.BORDER_REPLICATE,
            ).astype(np.uint8)
        )
    return np.stack(segments)


def mask_iou(frames: NDArray[np.uint8], exact: NDArray[np.uint8], subjects: tuple[int, ...]) -> float:
    """Mean over subjects and frames after the first of intersection over union.

    Args:
        frames: (T, H, W, 3) uint8 video.
        exact: (T, H, W) segment numbers asked for; the first frame's masks start the propagation.
        subjects: segment numbers that count.

    Returns:
        0 to 1; NaN where no subject is to be seen. Raises RequestError for other shapes.
    """
    if frames.shape[:3] != exact.shape:
        raise RequestError(f"Masks of shape {exact.shape} do not fit frames of shape {frames.shape[:3]}.")
    carried = propagate_segments(frames, exact[0])
    scores: list[float] = []
    for subject in subjects:
        for found, wanted in zip(carried[1:] == subject, exact[1:] == subject, strict=True):
            union = int((found | wanted).sum())
            if union:
                scores.append(float((found & wanted).sum() / union))
    return float(np.mean(scores)) if scores else float("nan")
