"""The smallest shot that every part of the way can use: a red box on grey moves ten pixels to the right."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from blender_addon.core.trajectories import Segment, TrajectoryMeta, TrajectorySet
from blender_addon.core.trajectory_file import trajectories_to_bytes

WIDTH, HEIGHT, FRAMES, POINTS = 128, 96, 5, 60
BOX = slice(25, 75), slice(50, 80)


def trajectories() -> TrajectorySet:
    rng = np.random.default_rng(0)
    start = np.concatenate(
        [rng.uniform([50, 25], [80, 75], (POINTS, 2)), np.full((POINTS, 1), 5.0)], axis=1
    )  # (N, 3)
    motion = np.linspace([0, 0, 0], [10, 0, 0], FRAMES)  # (T, 3)
    silhouette = np.zeros((1, HEIGHT, WIDTH), bool)
    silhouette[(0, *BOX)] = True
    return TrajectorySet(
        positions=(start[None] + motion[:, None]).astype(np.float32),
        visible=np.ones((FRAMES, POINTS), bool),
        seg_id=np.zeros(POINTS, np.uint16),
        traj_id=np.arange(POINTS, dtype=np.uint16),
        silhouette=silhouette,
        meta=TrajectoryMeta(
            WIDTH, HEIGHT, 16.0, tuple(map(float, range(FRAMES))), (Segment(0, "Box"),), aligned=True
        ),
    )


def trajectory_bytes() -> bytes:
    return trajectories_to_bytes(trajectories())


def photo() -> np.ndarray:
    picture = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    picture[BOX] = (200, 50, 50)
    return picture


def mask() -> np.ndarray:
    picture = np.zeros((HEIGHT, WIDTH), np.uint8)
    picture[BOX] = 255
    return picture


def png(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()
