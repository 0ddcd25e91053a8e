"""Small clips without Blender: discs that move over a pattern, with exact tracks and masks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from blender_addon.core.trajectories import Segment, TrajectoryMeta, TrajectorySet
from flextraj_backend.synthesis.clip import ClipRecord, PerformerRecord, SyntheticClip

WIDTH, HEIGHT, FRAMES = 72, 48, 9


def toy_clip(
    key: str = "clip000000",
    seed: int = 0,
    *,
    pair_group: str = "group000000",
    others: int = 2,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    frames: int = FRAMES,
) -> SyntheticClip:
    """A clip of two discs that move from left to right; the seed chooses colours, radii and speeds."""
    centers = _paths(np.random.default_rng(seed), size, frames)
    own, masks = _tracks(np.random.default_rng((seed, 0)), centers, size, key)
    performer = PerformerRecord("disc", seed, "a flat disc", "slide", seed)
    return SyntheticClip(
        key=key,
        frames=_pictures(np.random.default_rng((seed, 1)), masks),
        trajectories=own,
        segments=masks,
        others=tuple(
            _tracks(np.random.default_rng((seed, 2, other)), centers, size, f"other{other}")[0]
            for other in range(others)
        ),
        prompt="Two flat discs slide over a checked floor – à la carte.",
        record=ClipRecord(
            seed=seed,
            pair_group=pair_group,
            performers=(performer, performer),
            other_performers=((performer, performer),) * others,
            camera="static",
            background="checks",
            light="none",
            renderer="toy",
            producer="toy_clips 1",
        ),
    )


def _paths(rng: np.random.Generator, size: tuple[int, int], frames: int) -> NDArray[np.float64]:
    width, height = size
    start = rng.uniform((0.25, 0.3), (0.4, 0.7), (2, 2)) * (width, height)
    speed = rng.uniform((0.02, -0.01), (0.04, 0.01), (2, 2)) * (width, height)
    return start + np.arange(frames)[:, None, None] * speed  # (T, 2, 2)


def _tracks(
    rng: np.random.Generator, centers: NDArray[np.float64], size: tuple[int, int], producer: str
) -> tuple[TrajectorySet, NDArray[np.uint8]]:
    """The second disc lies in front of the first: its points hide the first one's."""
    width, height = size
    frames = len(centers)
    radii = rng.uniform(0.15, 0.2, 2) * height
    y, x = np.mgrid[:height, :width] + 0.5
    masks = np.zeros((frames, height, width), np.uint8)
    for disc in range(2):
        away = np.hypot(x - centers[:, disc, :1, None], y - centers[:, disc, 1:, None])  # (T, H, W)
        masks[away < radii[disc]] = disc + 1
    angle, reach = rng.uniform(0, 2 * np.pi, (2, 20)), 0.9 * np.sqrt(rng.uniform(0, 1, (2, 20)))
    offsets = np.stack([np.cos(angle), np.sin(angle)], -1) * (reach * radii[:, None])[..., None]
    subjects = (centers[:, :, None] + offsets).reshape(frames, -1, 2)  # (T, 40, 2)
    ground = np.broadcast_to(rng.uniform(0, 1, (10, 2)) * (width, height), (frames, 10, 2))
    xy = np.concatenate([subjects, ground], axis=1)
    seg_id = np.repeat([0, 1, 2], [20, 20, 10]).astype(np.uint16)
    cells = np.floor(xy).astype(int)
    inside = ((cells >= 0) & (cells < (width, height))).all(-1)
    cells = cells.clip(0, (width - 1, height - 1))
    shown = masks[np.arange(frames)[:, None], cells[..., 1], cells[..., 0]]  # (T, N)
    visible = inside & (shown == np.where(seg_id == 2, 0, seg_id + 1))
    depth = np.broadcast_to((3.0 - seg_id % 2)[None, :, None], (*visible.shape, 1))
    segments = (Segment(0, "back"), Segment(1, "front", group=1), Segment(2, "floor", 2, background=True))
    meta = TrajectoryMeta(
        width, height, 8.0, tuple(map(float, range(frames))), segments, aligned=True, producer=producer
    )
    silhouette = np.stack([masks[0] == 1, masks[0] == 2, masks[0] == 0])
    color = rng.integers(0, 256, (len(seg_id), 3), dtype=np.uint8)
    positions = np.concatenate([xy, depth], -1).astype(np.float32)
    traj_id = np.concatenate([np.arange(20), np.arange(20), np.arange(10)]).astype(np.uint16)
    return TrajectorySet(positions, visible, seg_id, traj_id, meta, color, silhouette), masks


def _pictures(rng: np.random.Generator, masks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    colors = rng.integers(0, 256, (3, 3), dtype=np.uint8)
    grain = rng.integers(0, 12, (*masks.shape[1:], 3), dtype=np.uint8)
    return (colors[masks] // 2 + 60 + grain).astype(np.uint8)
