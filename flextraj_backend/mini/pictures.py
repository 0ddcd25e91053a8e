"""Videos in main memory from which the mini model's base is trained: clips and their conditioning videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from flextraj_backend.mini.source_maps import SubjectTracks, source_map
from flextraj_backend.mini.turns import CHANNEL_ORDERS, Turn
from flextraj_backend.synthesis.shards import read_clip
from flextraj_backend.training.clip_dataset import ClipDataset
from flextraj_backend.training.tasks import ControlTask, TaskMixture

_BLURRED = 0.3
_SUBJECTS_ALONE = 0.85
_TONED = 0.8
"""Probabilities of a context's kinds."""
_CONDITION_SHARE = 0.4
"""Of the excerpts that show a conditioning video."""
_STRANGE_MASKS = 0.4
"""Share of the other excerpts that are cut out by the subjects of another clip."""
_GREY = 128
_TASKS = TaskMixture(
    tasks=((ControlTask.DENSE, 0.5), (ControlTask.SPATIAL, 0.25), (ControlTask.UNALIGNED_CHARACTER, 0.25))
)


@dataclass(frozen=True, eq=False)
class Excerpts:
    """Parts of videos and of conditioning videos.

    Attributes:
        pictures: (B, T, H, W, 3) uint8; conditioning videos on grey.
        painted: (B, T, H, W) what a conditioning video would show, black elsewhere.
    """

    pictures: NDArray[np.uint8]
    painted: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class VideoPool:
    """All clips of a set.

    Attributes:
        videos: (N, T, H, W, 3) uint8.
        segments: (N, T, H, W) uint8, their masks.
        tracks: how the points of their subjects move, N times.
        conditions: (M, T, H, W, 3) uint8, ID videos and colour videos.
        prompts: N texts.
    """

    videos: NDArray[np.uint8]
    segments: NDArray[np.uint8]
    tracks: tuple[SubjectTracks, ...]
    conditions: NDArray[np.uint8]
    prompts: tuple[str, ...]

    def draw(self, rng: np.random.Generator, count: int, frames: int) -> Excerpts:
        """Draw excerpts of conditioning videos, and of clips with any order of the channels."""
        pictures = np.empty((count, frames, *self.videos.shape[2:]), np.uint8)
        painted = np.empty(pictures.shape[:-1], np.bool_)
        for index in range(count):
            if rng.random() < _CONDITION_SHARE:
                span = _span(self.conditions.shape[1], frames, rng)
                shown = self.conditions[rng.integers(len(self.conditions)), span]
                painted[index] = shown.any(axis=-1)
                pictures[index] = np.where(painted[index, ..., None], shown, _GREY)
            else:
                clip = rng.integers(len(self.videos))
                other = rng.integers(len(self.videos)) if rng.random() < _STRANGE_MASKS else clip
                span = _span(self.videos.shape[1], frames, rng)
                painted[index] = self.segments[other, span] > 0
                pictures[index] = self.videos[clip, span][..., CHANNEL_ORDERS[rng.integers(6)]]
        return Excerpts(pictures, painted)


def load_pool(folder: Path, keys: Sequence[str], seed: int) -> VideoPool:
    """Read clips and render one ID video and one colour video of each."""
    dataset = ClipDataset(folder, keys, seed)
    videos, segments, tracks, conditions, prompts = [], [], [], [], []
    for index, key in enumerate(keys):
        sample = dataset.sample(0, index, _TASKS)
        videos.append(sample.video)
        clip = read_clip(folder, key)
        segments.append(clip.segments)
        tracks.append(SubjectTracks.of(clip))
        prompts.append(sample.prompt)
        conditions.append(sample.conditioning.ids)
        if sample.conditioning.color.any():
            conditions.append(sample.conditioning.color)
    return VideoPool(
        np.stack(videos), np.stack(segments), tuple(tracks), np.stack(conditions), tuple(prompts)
    )


@dataclass(frozen=True, eq=False)
class TurnedClip:
    """A clip in other colours and another direction, and its contexts; (T, H, W, 3) uint8 each.

    Attributes:
        video: what the base learns to make.
        own, strange: the same motion in the video's own colours and in others, mostly of its subjects alone;
            the others are mostly as in another light.
        sources: where in the first frame the subjects' pixels come from, see `source_map`.
        codes: the same, every place in the first frame as a colour drawn at random.
    """

    video: NDArray[np.uint8]
    own: NDArray[np.uint8]
    strange: NDArray[np.uint8]
    sources: NDArray[np.uint8]
    codes: NDArray[np.uint8]


def turned_clip(pool: VideoPool, index: int, turn: Turn, rng: np.random.Generator) -> TurnedClip:
    """Turn a clip of the pool and draw its contexts."""
    video, segments = turn.video(pool.videos[index]), turn.masks(pool.segments[index])
    strange = (_tone if rng.random() < _TONED else _palette)(video, rng)
    if rng.random() < _BLURRED:
        width = float(rng.uniform(0.5, 1.5))
        strange = np.stack([cv2.GaussianBlur(frame, (0, 0), width) for frame in strange])
    own = video
    if rng.random() < _SUBJECTS_ALONE:
        shown = (segments > 0)[..., None].astype(np.uint8)
        own, strange = own * shown, strange * shown
    sources = source_map(pool.tracks[index].turned(turn), segments)
    return TurnedClip(video, own, strange, sources, _codes(sources, rng))


def _tone(video: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Brighter or darker, softer or harder, tinted. (T, H, W, 3) uint8"""
    gain = rng.uniform(0.6, 1.6) * rng.uniform(0.85, 1.15, 3)
    levels = np.arange(256, dtype=np.float32)[:, None] / 255  # (256, 1)
    curves = np.clip(gain * levels ** rng.uniform(0.6, 1.6), 0, 1)  # (256, 3)
    curves = np.round(255 * curves).astype(np.uint8)
    return np.stack([curves[video[..., channel], channel] for channel in range(3)], axis=3)


def _codes(sources: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A source map whose places are coded by chance, on a grid of one cell a pixel. (T, H, W, 3) uint8"""
    height, width = sources.shape[1:3]
    table = rng.integers(256, size=(height, width, 3), dtype=np.uint8)
    table[..., 0] = rng.integers(128, 256)
    columns = np.minimum(sources[..., 0].astype(int) * width // 255, width - 1)
    rows = np.minimum(sources[..., 1].astype(int) * height // 255, height - 1)
    return np.where(sources[..., 2:] > 0, table[rows, columns][..., rng.permutation(3)], 0).astype(np.uint8)


def _palette(video: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Other colours: each channel a wave over a random direction of the old ones. (T, H, W, 3) uint8"""
    directions = rng.standard_normal((3, 3))
    directions /= np.linalg.norm(directions, axis=0)
    phase = video.astype(np.float32) / 255 @ (rng.uniform(0.6, 1.6, 3) * directions) + rng.random(3)
    return np.round(127.5 + 127.5 * np.sin(2 * np.pi * phase)).astype(np.uint8)


def _span(length: int, frames: int, rng: np.random.Generator) -> slice:
    first = int(rng.integers(length - frames + 1))
    return slice(first, first + frames)
