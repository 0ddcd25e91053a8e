"""Consistency of consecutive frames, and how much moves: the first rewards stillness, so both are given."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

SIZE = (96, 64)
CELL = 8
ORIENTATIONS = 8
EMBEDDING_NAME = "gradients-and-colours-v1"


@dataclass(frozen=True)
class Consistency:
    """How alike consecutive frames are.

    Attributes:
        cosine: mean cosine of the embeddings of frames t and t + 1; 1 for a still. No CLIP: not the paper's.
        motion_magnitude: mean length of the optical flow between them in shares of the picture's sides.
    """

    cosine: float
    motion_magnitude: float


def consistency(frames: NDArray[np.uint8]) -> Consistency:
    """Compare consecutive frames of (T, H, W, 3) uint8; a single frame is consistent and still."""
    if len(frames) < 2:
        return Consistency(1.0, 0.0)
    embeddings = np.stack([frame_embedding(frame) for frame in frames])
    cosines = (embeddings[1:] * embeddings[:-1]).sum(axis=1)
    return Consistency(float(cosines.mean()), motion_magnitude(frames))


def frame_embedding(frame: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Unit vector of a frame: gradient histograms and mean colours of cells of 8 px at 96x64 px."""
    small = cv2.resize(frame, SIZE, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    grey = small.mean(axis=2)
    down, right = np.gradient(grey)
    strength = np.hypot(right, down)
    angle = np.mod(np.arctan2(down, right), 2 * np.pi)
    orientation = np.minimum((angle / (2 * np.pi) * ORIENTATIONS).astype(np.intp), ORIENTATIONS - 1)
    maps = strength[..., None] * (orientation[..., None] == np.arange(ORIENTATIONS))  # (H, W, 8)
    gradients, colors = (
        values.reshape(SIZE[1] // CELL, CELL, SIZE[0] // CELL, CELL, -1).mean(axis=(1, 3)).ravel()
        for values in (maps, small)
    )
    parts = [part / max(float(np.linalg.norm(part)), 1e-9) for part in (gradients, colors)]
    vector = np.concatenate(parts).astype(np.float64)
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def motion_magnitude(frames: NDArray[np.uint8]) -> float:
    """Mean length of DIS flow between consecutive frames, x and y in shares of width and height."""
    height, width = frames.shape[1:3]
    lengths = [
        float(np.linalg.norm(field / (width, height), axis=2).mean())
        for field in (dense_flow(a, b) for a, b in pairwise(frames))
    ]
    return float(np.mean(lengths)) if lengths else 0.0


def dense_flow(source: NDArray[np.uint8], target: NDArray[np.uint8]) -> NDArray[np.float32]:
    """DIS flow (H, W, 2) in pixels between (H, W, 3) frames; small frames are enlarged to a width of 240."""
    height, width = source.shape[:2]
    scale = max(1.0, 240 / width)
    size = (round(width * scale), round(height * scale))
    first, second = (
        cv2.cvtColor(cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC), cv2.COLOR_RGB2GRAY)
        for frame in (source, target)
    )
    method = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # pyright: ignore[reportAttributeAccessIssue]
    field = method.calc(first, second, None)
    return (cv2.resize(field, (width, height), interpolation=cv2.INTER_AREA) / scale).astype(np.float32)
