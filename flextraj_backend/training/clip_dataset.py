"""Clips of a synthesised folder as training samples, by index.

A sample is a function of (seed, epoch, clip, mixture) alone: neither the number of workers nor what was read
before changes it, so a resumed run goes on with the very samples that it would have had.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from flextraj_backend.synthesis.clip import SyntheticClip
from flextraj_backend.synthesis.shards import ClipStore
from flextraj_backend.training.augmentation import apply_choices, draw_choices
from flextraj_backend.training.tasks import IdAblation, TaskMixture
from flextraj_backend.training.training_sample import TrainingSample

CACHE_BYTES = 256 << 20
"""Decoded clips that each process keeps; a clip of 9 frames of 72x48 px takes about 0.25 MB."""


def sample_generator(seed: int, epoch: int, key: str) -> np.random.Generator:
    """The generator of one sample: clips of different keys have independent ones in every epoch."""
    clip_number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    return np.random.default_rng([seed, epoch, clip_number])


class ClipDataset(Dataset[SyntheticClip]):
    """Random access to a folder's clips and to their training samples.

    Can be pickled and used by the workers of a DataLoader; each process has its own cache.

    Args:
        folder: made by `flextraj synthesize`.
        keys: of the clips to use, in this order; None = all of them, sorted.
        seed: of all choices.
        cache_bytes: decoded clips that each process keeps, the least recently used go first.

    Raises:
        FlexTrajError: the folder is no dataset, or lacks one of the keys.
    """

    def __init__(
        self,
        folder: Path,
        keys: Sequence[str] | None = None,
        seed: int = 0,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._store = ClipStore(folder)
        self.keys = self._store.keys if keys is None else tuple(keys)
        for key in self.keys:
            self._store.entry(key)
        self.seed = seed
        self._cache = ClipCache(cache_bytes)

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> SyntheticClip:
        """The clip itself. Raises FlexTrajError where it is damaged."""
        key = self.keys[index]
        clip = self._cache.get(key)
        if clip is None:
            clip = self._store.read(key)
            self._cache.put(clip)
        return clip

    def sample(
        self, epoch: int, index: int, mixture: TaskMixture, ablation: IdAblation = IdAblation.NONE
    ) -> TrainingSample:
        """The sample that a clip gives in an epoch. Raises FlexTrajError where the clip is damaged."""
        clip = self[index]
        choices = draw_choices(sample_generator(self.seed, epoch, clip.key), mixture, clip)
        return apply_choices(clip, choices, ablation)

    def samples(
        self, epoch: int, mixture: TaskMixture, ablation: IdAblation = IdAblation.NONE
    ) -> EpochSamples:
        """The samples of an epoch and stage, for a DataLoader; shuffling is its sampler's."""
        return EpochSamples(self, epoch, mixture, ablation)


class EpochSamples(Dataset[TrainingSample]):
    """What a dataset gives in one epoch with one mixture."""

    def __init__(self, dataset: ClipDataset, epoch: int, mixture: TaskMixture, ablation: IdAblation) -> None:
        self._dataset = dataset
        self._epoch = epoch
        self._mixture = mixture
        self._ablation = ablation

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> TrainingSample:
        return self._dataset.sample(self._epoch, index, self._mixture, self._ablation)


def as_list(samples: list[TrainingSample]) -> list[TrainingSample]:
    """Collate function of a DataLoader whose batches stay lists of samples."""
    return samples


class ClipCache:
    """The clips used last, up to a number of bytes. Pickled, it is empty."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._clips: OrderedDict[str, SyntheticClip] = OrderedDict()

    def __len__(self) -> int:
        return len(self._clips)

    def get(self, key: str) -> SyntheticClip | None:
        clip = self._clips.get(key)
        if clip is not None:
            self._clips.move_to_end(key)
        return clip

    def put(self, clip: SyntheticClip) -> None:
        """Keep a clip, unless it alone is larger than the cache."""
        size = clip_bytes(clip)
        if size > self.max_bytes or clip.key in self._clips:
            return
        self._clips[clip.key] = clip
        self.bytes += size
        while self.bytes > self.max_bytes:
            _, oldest = self._clips.popitem(last=False)
            self.bytes -= clip_bytes(oldest)

    def __getstate__(self) -> dict[str, Any]:
        return {"max_bytes": self.max_bytes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["max_bytes"])


def clip_bytes(clip: SyntheticClip) -> int:
    """Main memory that the arrays of a clip take."""
    total = clip.frames.nbytes + clip.segments.nbytes
    for item in (clip.trajectories, *clip.others):
        arrays = (item.positions, item.visible, item.seg_id, item.traj_id, item.color, item.silhouette)
        total += sum(array.nbytes for array in arrays if array is not None)
    return total
