"""The colour-cue video: what the painted pixels look like. Black without a cue, never left out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

REAL_RED_THRESHOLD = 0
"""Real video: every painted pixel carries colour."""
SYNTHETIC_RED_THRESHOLD = 20
"""Rendered ID videos are lossy files: dark noise must not count as painted (conventions 1.7)."""


def copy_painted_pixels(
    frames: NDArray[np.uint8], id_video: NDArray[np.uint8], red_threshold: int
) -> NDArray[np.uint8]:
    """Take each frame's own pixels where its ID frame has red above `red_threshold`, black elsewhere.

    Args:
        frames, id_video: (T, H, W, 3) uint8.

    Returns:
        (T, H, W, 3) uint8.
    """
    painted = id_video[..., :1] > red_threshold  # (T, H, W, 1)
    return frames * painted


def without_color(id_video: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The colour video of a clip without a colour cue: all zero, of the ID video's shape."""
    return np.zeros_like(id_video)
