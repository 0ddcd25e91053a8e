"""Which clip and which choices each sample of each step gets, and what is there of it already.

A sample depends on the seed, the step and its place in the step alone, so that a run can be resumed
exactly, and so that one process and several see the same samples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from flextraj_backend.engines.base import ConditioningVideos
from flextraj_backend.synthesis.clip import SyntheticClip
from flextraj_backend.synthesis.record_json import to_json
from flextraj_backend.synthesis.shards import ClipStore
from flextraj_backend.training.augmentation import apply_choices, draw_choices
from flextraj_backend.training.latent_cache import LatentCache, cache_key
from flextraj_backend.training.tasks import ControlTask, IdAblation, TaskMixture
from flextraj_backend.training.training_sample import SampleChoices
from flextraj_backend.training.video_codec import EncodedVideo


@dataclass(frozen=True)
class PlannedSample:
    """A clip of a step.

    Attributes:
        key: of the clip.
        draw: how often the clip was shown before.
    """

    key: str
    draw: int


@dataclass(frozen=True)
class SamplePlan:
    """The order of the clips: all of them in a new order each epoch.

    Attributes:
        keys: of the clips to train on.
        samples: of one step, all processes and accumulated forwards together.
    """

    keys: tuple[str, ...]
    samples: int
    seed: int

    def sample(self, step: int, position: int) -> PlannedSample:
        """The sample at a position, 0 to samples - 1, of a step."""
        epoch, place = divmod(step * self.samples + position, len(self.keys))
        return PlannedSample(self.keys[_order(len(self.keys), self.seed, epoch)[place]], epoch)


@lru_cache(maxsize=4)
def _order(count: int, seed: int, epoch: int) -> tuple[int, ...]:
    return tuple(np.random.default_rng([seed, epoch]).permutation(count).tolist())


def sample_generator(seed: int, step: int, position: int) -> torch.Generator:
    """Of everything random in one sample of one step but its clip and its choices; on the CPU."""
    state = np.random.SeedSequence([seed, step, position]).generate_state(1, np.uint64)
    return torch.Generator("cpu").manual_seed(int(state[0]))


@dataclass(frozen=True, eq=False)
class FetchedClip:
    """A clip's own part: encoded already, or its frames."""

    prompt: str
    photo: NDArray[np.uint8]
    video: EncodedVideo | None
    frames: NDArray[np.uint8] | None
    cache_key: str


@dataclass(frozen=True, eq=False)
class FetchedSample:
    """A sample whose conditioning videos are encoded already, or drawn.

    Attributes:
        condition: of the ID video and the colour video.
        videos: where `condition` is None.
        cache_key: of the condition; "" where the cache is not used.
    """

    clip: FetchedClip
    choices: SampleChoices
    condition: tuple[EncodedVideo, EncodedVideo] | None
    videos: ConditioningVideos | None
    cache_key: str

    @property
    def task(self) -> ControlTask:
        return self.choices.task


class ClipSource:
    """Reads clips of a dataset, or what the cache has of them.

    Args:
        cache: of this run's VAE.
        ablation: what is left out of the conditioning videos.
        variants: choices drawn for each clip and mixture; 0: new ones every time, which are not cached.
        seed: of the choices.
    """

    def __init__(
        self, store: ClipStore, cache: LatentCache, ablation: IdAblation, variants: int, seed: int
    ) -> None:
        self._store = store
        self._cache = cache
        self._ablation = ablation
        self._variants = variants
        self._seed = seed

    def clip_cache_key(self, key: str) -> str:
        return cache_key("clip", self._store.entry(key).sha256)

    def read(self, key: str) -> SyntheticClip:
        """The whole clip. Raises FlexTrajError."""
        return self._store.read(key)

    def fetch_clip(self, key: str) -> FetchedClip:
        """A clip's own part, encoded if the cache has it."""
        name = self.clip_cache_key(key)
        cached = self._cache.get(name)
        if cached is None:
            clip = self.read(key)
            return FetchedClip(clip.prompt, clip.frames[0], None, clip.frames, name)
        photo = cached.tensors["photo"].numpy()
        return FetchedClip(
            cached.record["prompt"], photo, EncodedVideo.of_tensors(cached.tensors), None, name
        )

    def fetch(self, planned: PlannedSample, mixture: TaskMixture) -> FetchedSample:
        """A sample of a mixture. Raises FlexTrajError."""
        clip = self.fetch_clip(planned.key)
        draw = planned.draw % self._variants if self._variants else planned.draw
        parts = (self._store.entry(planned.key).sha256, to_json(mixture), self._seed, draw)
        name = cache_key("condition", *parts, self._ablation) if self._variants else ""
        if name and (cached := self._cache.get(name)) is not None:
            condition = tuple(EncodedVideo.of_tensors(cached.tensors, prefix) for prefix in PREFIXES)
            choices = SampleChoices.from_json(cached.record["choices"])
            return FetchedSample(clip, choices, condition, None, name)  # pyright: ignore[reportArgumentType]
        whole = self.read(planned.key)
        choices = draw_choices(_choice_rng(parts), mixture, whole)
        sample = apply_choices(whole, choices, self._ablation)
        return FetchedSample(clip, choices, None, sample.conditioning, name)


PREFIXES = ("ids.", "color.")
"""Of the tensors of a cached condition."""


def _choice_rng(parts: Sequence[Any]) -> np.random.Generator:
    """Depends on the clip, the mixture, the seed and the draw, but not on the ablation: its runs compare."""
    digest = hashlib.sha256(cache_key("choices", *parts).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))
