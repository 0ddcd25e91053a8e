"""Videos in main memory from which the mini model's base is trained: clips and their conditioning videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flextraj_backend.training.clip_dataset import ClipDataset
from flextraj_backend.training.tasks import ControlTask, TaskMixture

CHANNEL_ORDERS = tuple(permutations(range(3)))
_CONDITION_SHARE = 0.4
"""Of the excerpts that show a conditioning video."""
_TASKS = TaskMixture(
    tasks=((ControlTask.DENSE, 0.5), (ControlTask.SPATIAL, 0.25), (ControlTask.UNALIGNED_CHARACTER, 0.25))
)


@dataclass(frozen=True, eq=False)
class VideoPool:
    """All clips of a set.

    Attributes:
        videos: (N, T, H, W, 3) uint8.
        conditions: (M, T, H, W, 3) uint8, ID videos and colour videos.
        prompts: N texts.
    """

    videos: NDArray[np.uint8]
    conditions: NDArray[np.uint8]
    prompts: tuple[str, ...]

    def draw(self, rng: np.random.Generator, count: int, frames: int) -> NDArray[np.uint8]:
        """Random excerpts: (count, frames, H, W, 3) uint8."""
        drawn = np.empty((count, frames, *self.videos.shape[2:]), np.uint8)
        for index in range(count):
            if rng.random() < _CONDITION_SHARE:
                drawn[index] = _excerpt(self.conditions[rng.integers(len(self.conditions))], frames, rng)
            else:
                video = self.videos[rng.integers(len(self.videos))]
                drawn[index] = recolored(_excerpt(video, frames, rng), rng)
        return drawn


def load_pool(folder: Path, keys: Sequence[str], seed: int) -> VideoPool:
    """Read clips and render one ID video and one colour video of each."""
    dataset = ClipDataset(folder, keys, seed)
    videos, conditions, prompts = [], [], []
    for index in range(len(dataset)):
        sample = dataset.sample(0, index, _TASKS)
        videos.append(sample.video)
        prompts.append(sample.prompt)
        conditions.append(sample.conditioning.ids)
        if sample.conditioning.color.any():
            conditions.append(sample.conditioning.color)
    return VideoPool(np.stack(videos), np.stack(conditions), tuple(prompts))


def recolored(video: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Permute the colour channels and mirror at random: other colours and directions of the same motion."""
    order = CHANNEL_ORDERS[rng.integers(len(CHANNEL_ORDERS))]
    turned = video[..., order]
    return turned[:, :, ::-1] if rng.random() < 0.5 else turned


def _excerpt(video: NDArray[np.uint8], frames: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    first = int(rng.integers(len(video) - frames + 1))
    return video[first : first + frames]
