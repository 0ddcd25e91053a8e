"""Features of whole videos without weights, for a Fréchet distance that is like FVD in form only.

Two layers of fixed random space-time filters (seed 0) on frames of 48x32 px: the mean and the spread of every
filter's response over the video. Distances of random features rank distributions of textures and motions, but
not as the I3D features of a real FVD do: never compare the figures.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

FEATURE_NAME = "random-conv3d-v1"
SIZE = (48, 32)
MIN_FRAMES = 5
_LAYERS = ((5, 3, 16), (3, 16, 24))
"""Side of the filters in space, channels read and filters written; 3 frames long, every second pixel."""


def video_features(frames: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Features (80,) of (T, H, W, 3) uint8 frames; videos under `MIN_FRAMES` repeat their last frame."""
    small = np.stack([cv2.resize(frame, SIZE, interpolation=cv2.INTER_AREA) for frame in frames])
    missing = max(0, MIN_FRAMES - len(small))
    volume = np.concatenate([small, np.repeat(small[-1:], missing, axis=0)]).astype(np.float32) / 127.5 - 1
    rng = np.random.default_rng(0)
    features: list[NDArray[np.float32]] = []
    for side, read, written in _LAYERS:
        filters = rng.normal(0, 1 / np.sqrt(3 * side * side * read), (read * 3 * side * side, written))
        windows = np.lib.stride_tricks.sliding_window_view(volume, (3, side, side, read))[..., 0, :, :, :, :]
        windows = windows[:, ::2, ::2]  # (T', H', W', 3, side, side, C)
        response = windows.reshape(*windows.shape[:3], -1) @ filters.astype(np.float32)
        volume = np.maximum(response, 0)  # (T', H', W', filters)
        features += [volume.mean(axis=(0, 1, 2)), volume.std(axis=(0, 1, 2))]
    return np.concatenate(features).astype(np.float64)
