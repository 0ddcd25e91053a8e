"""A clip of turning ellipsoids over a backdrop with tracked points, made without Blender."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from blender_addon.core.trajectories import Segment, TrajectoryMeta, TrajectorySet
from flextraj_backend.synthesis.clip import ClipRecord, PerformerRecord, SyntheticClip

Radii = tuple[float, float, float]
SHAPES: tuple[Radii, ...] = ((0.32, 0.75, 0.3), (0.55, 0.5, 0.4), (0.22, 0.95, 0.25))


def masked_clip(
    key: str = "clip000000",
    frames: int = 9,
    size: tuple[int, int] = (72, 48),
    points: int = 250,
    background_points: int = 60,
    subjects: int = 1,
    others: int = 2,
    shape: int = 0,
    pair_group: str = "group0",
    character_seeds: Sequence[int] = (1,),
) -> SyntheticClip:
    """The same seedless motion for every shape; `others` perform it in the next shapes."""
    trajectories, segments = _perform(frames, size, points, background_points, subjects, shape)
    performers = tuple(PerformerRecord("humanoid", seed, "a figure", "walk", 5) for seed in character_seeds)
    return SyntheticClip(
        key=key,
        frames=_photographs(trajectories, segments),
        trajectories=trajectories,
        segments=segments,
        others=tuple(
            replace(
                _perform(frames, size, points, background_points, subjects, shape + 1 + k)[0], silhouette=None
            )
            for k in range(others)
        ),
        prompt="a figure walks",
        record=ClipRecord(0, pair_group, performers, (), "static", "wall", "day", "raster", "test"),
    )


def _perform(
    frames: int, size: tuple[int, int], points: int, background_points: int, subjects: int, shape: int
) -> tuple[TrajectorySet, NDArray[np.uint8]]:
    width, height = size
    focal = 1.2 * height
    index = np.arange(points) + 0.5
    rise, turn = 1 - 2 * index / points, np.pi * (1 + 5**0.5) * index
    around = np.sqrt(1 - rise**2)
    sphere = np.stack([around * np.cos(turn), rise, around * np.sin(turn)], axis=1)  # (N, 3)
    total = subjects * points + background_points
    positions = np.zeros((frames, total, 3), np.float32)
    visible = np.zeros((frames, total), bool)
    segments = np.zeros((frames, height, width), np.uint8)
    grid = np.random.default_rng(3).uniform((2, 2), (width - 2, height - 2), (background_points, 2))
    for frame in range(frames):
        phase = frame / max(frames - 1, 1)
        # The farthest subject first: a nearer one hides it.
        for subject in reversed(range(subjects)):
            radii = np.array(SHAPES[(shape + subject) % len(SHAPES)])
            angle = 1.5 * phase + subject
            c, s = np.cos(angle), np.sin(angle)
            rotation = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
            place = np.array(
                [-0.5 + 0.9 * phase + 0.7 * subject, 0.1 * np.sin(6 * phase), 2.2 + 0.8 * subject]
            )
            space = (sphere * radii) @ rotation.T + place
            pixels = space[:, :2] / space[:, 2:] * focal + (width / 2, height / 2)
            part = slice(subject * points, (subject + 1) * points)
            positions[frame, part] = np.concatenate([pixels, space[:, 2:]], axis=1)
            mask = np.zeros((height, width), np.uint8)
            hull = cv2.convexHull(np.floor(pixels).astype(np.int32))
            cv2.fillConvexPoly(mask, hull, (1.0,))
            segments[frame][mask > 0] = subject + 1
            facing = ((sphere / radii) @ rotation.T * space).sum(axis=1) < 0
            inside = ((pixels >= 0) & (pixels < (width, height))).all(axis=1)
            visible[frame, part] = facing & inside
        rest = slice(subjects * points, total)
        positions[frame, rest] = np.column_stack(
            [grid[:, 0] + 3 * phase, grid[:, 1], np.full(background_points, 9.0)]
        )
        column, row = np.floor(positions[frame, :, :2]).astype(int).T
        on_raster = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        seen = segments[frame, row.clip(0, height - 1), column.clip(0, width - 1)]
        owner = np.concatenate([np.repeat(np.arange(1, subjects + 1), points), np.zeros(background_points)])
        visible[frame, rest] = True
        visible[frame] &= on_raster & (seen == owner)
    names = [Segment(i, f"Figure {i}", group=i) for i in range(subjects)]
    if background_points:
        names.append(Segment(subjects, "Wall", group=subjects, background=True))
    seg_id = np.concatenate([np.repeat(np.arange(subjects), points), np.full(background_points, subjects)])
    traj_id = np.concatenate([np.tile(np.arange(points), subjects), np.arange(background_points)])
    hue = (seg_id[:, None] * (60, 90, 40) + (traj_id[:, None] % 7) * (9, 13, 17) + 40) % 256
    silhouette = np.stack([segments[0] == i + 1 for i in range(len(names))])
    trajectories = TrajectorySet(
        positions=positions,
        visible=visible,
        seg_id=seg_id.astype(np.uint16),
        traj_id=traj_id.astype(np.uint16),
        color=hue.astype(np.uint8),
        silhouette=silhouette,
        meta=TrajectoryMeta(
            width, height, 8.0, tuple(map(float, range(frames))), tuple(names), aligned=True, producer="test"
        ),
    )
    return trajectories, segments


def _photographs(trajectories: TrajectorySet, segments: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = segments.shape[1:]
    y, x = np.mgrid[:height, :width]
    wall = np.stack([150 + x, 160 + y, 200 - x], axis=-1)
    colors = np.array([[0, 0, 0], [200, 60, 40], [40, 70, 190], [40, 160, 60]])
    frames = np.where(segments[..., None] > 0, colors[segments], wall[None])
    return np.clip(frames, 0, 255).astype(np.uint8)
