"""Everything that a run needs before its first step: clips, encoded videos and texts, the base model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from blender_addon.core.errors import ErrorCode, RequestError
from flextraj_backend.models.prompts import NEGATIVE_PROMPTS
from flextraj_backend.synthesis.shards import ClipStore
from flextraj_backend.training.base_loading import TrainingBase, check_clip_shape
from flextraj_backend.training.batches import BatchBuilder
from flextraj_backend.training.clip_source import ClipSource, FetchedClip
from flextraj_backend.training.latent_cache import LatentCache
from flextraj_backend.training.texts import EmbeddedTexts
from flextraj_backend.training.train_settings import TrainSettings
from flextraj_backend.training.video_codec import VideoCodec, folder_fingerprint, text_fingerprint

_LARGEST_HELD_OUT = 0.25
"""Share of the clips that may be held out for validation."""
_GB = 10**9

OnPrepared = Callable[[int, int], None]
"""Called with the number of clips prepared and their total."""


@dataclass(frozen=True)
class ClipSplit:
    """Clips to train on, and clips held out; no pair group is on both sides."""

    training: tuple[str, ...]
    validation: tuple[str, ...]

    def digest(self, store: ClipStore) -> str:
        """Another one where clips came or went, changed, or changed sides."""
        sides = [
            [(key, store.entry(key).sha256) for key in side] for side in (self.training, self.validation)
        ]
        return hashlib.sha256(json.dumps(sides).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class TrainingData:
    """The dataset as the steps see it."""

    store: ClipStore
    split: ClipSplit
    cache: LatentCache
    texts: EmbeddedTexts
    builder: BatchBuilder


def split_clips(store: ClipStore, held_out: int) -> ClipSplit:
    """Hold the last pair groups out, as many as are needed, but at most a quarter of the clips.

    Raises:
        RequestError: the dataset has no clips.
    """
    keys = store.keys
    if not keys:
        raise RequestError(f"{store.folder} has no clips: make some with 'flextraj synthesize'.")
    groups: dict[str, list[str]] = {}
    for key in keys:
        groups.setdefault(store.entry(key).pair_group or key, []).append(key)
    limit = min(held_out, int(len(keys) * _LARGEST_HELD_OUT))
    validation: list[str] = []
    for members in reversed(groups.values()):
        if not held_out or len(validation) + len(members) > max(limit, 0):
            break
        validation += members
    kept = set(validation)
    return ClipSplit(tuple(key for key in keys if key not in kept), tuple(sorted(validation)))


def open_data(settings: TrainSettings, base: TrainingBase) -> TrainingData:
    """Open the dataset and the cache; nothing is encoded yet. Raises FlexTrajError."""
    if not settings.data.is_dir():
        raise RequestError(
            f"There is no dataset folder {settings.data}: make one with 'flextraj synthesize -o DIR'.",
            ErrorCode.VIDEO,
        )
    store = ClipStore(settings.data)
    split = split_clips(store, settings.validation_clips)
    folder, limit = settings.cache_folder, int(settings.cache_limit_gb * _GB)
    # What was encoded in another number format is something else, too.
    formats = [
        str(part.dtype).removeprefix("torch.") for part in (base.pipeline.vae, base.pipeline.text_encoder)
    ]
    videos = f"videos-{folder_fingerprint(base.folder / 'vae')}-{formats[0]}"
    cache = LatentCache(folder, videos, limit)
    # Without the texts there is no training: they are kept whatever the limit.
    text_cache = LatentCache(folder, f"texts-{text_fingerprint(base.folder)}-{formats[1]}", 1 << 62)
    texts = EmbeddedTexts(text_cache, base.pipeline.max_text_tokens)
    codec = VideoCodec(base.pipeline.vae, base.backbone, settings.encode_batch)
    return TrainingData(store, split, cache, texts, BatchBuilder(codec, cache, texts))


def clip_source(data: TrainingData, settings: TrainSettings, variants: int) -> ClipSource:
    """A reader of the dataset's clips with this run's choices."""
    return ClipSource(data.store, data.cache, settings.ablation, variants, settings.seed)


def prepare_data(
    data: TrainingData,
    settings: TrainSettings,
    base: TrainingBase,
    device: torch.device,
    share: tuple[int, int],
    on_prepared: OnPrepared | None,
) -> None:
    """Encode what the cache lacks of the clips and their prompts, in groups.

    Args:
        share: index and number of the processes that share this work.

    Raises:
        FlexTrajError: a clip is damaged or of a size that the base model cannot make.
    """
    source, pipeline = clip_source(data, settings, variants=0), base.pipeline
    index, processes = share
    if index == 0:
        data.texts.add_text(pipeline, NEGATIVE_PROMPTS[base.backbone], device)
    keys = (data.split.training + data.split.validation)[index::processes]
    shape: Sequence[int] | None = None
    waiting: list[FetchedClip] = []
    for done, key in enumerate(keys, start=1):
        clip = source.fetch_clip(key)
        frames = clip.frames
        if frames is None and shape is None:
            frames = source.read(key).frames
        if frames is not None:
            shape = _checked_shape(pipeline, key, frames.shape[:3], shape)
        data.texts.add(pipeline, [clip.prompt], device)
        waiting += [clip] if clip.video is None else []
        if len(waiting) == settings.encode_batch or (done == len(keys) and waiting):
            data.builder.encoded_clips(waiting)
            waiting = []
        if on_prepared is not None:
            on_prepared(done, len(keys))


def _checked_shape(
    pipeline: Any, key: str, found: Sequence[int], known: Sequence[int] | None
) -> Sequence[int]:
    if known is None:
        check_clip_shape(pipeline, found)
    elif tuple(found) != tuple(known):
        raise RequestError(
            f"Clip '{key}' is {_text(found)}, others are {_text(known)}: train on clips of one size.",
            ErrorCode.SIZE,
        )
    return found


def _text(shape: Sequence[int]) -> str:
    return f"{shape[0]} frames of {shape[2]}x{shape[1]} px"
