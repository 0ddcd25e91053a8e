"""From fetched samples to the tensors of a forward: encodes what is missing, draws what is random."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.condition import ConditionLatents
from flextraj_backend.models.prompts import Alignment
from flextraj_backend.training.batch_loss import LEVELS, TrainingBatch
from flextraj_backend.training.clip_source import PREFIXES, FetchedClip, FetchedSample
from flextraj_backend.training.latent_cache import LatentCache
from flextraj_backend.training.objectives import noisy_photos
from flextraj_backend.training.texts import EmbeddedTexts
from flextraj_backend.training.video_codec import EncodedVideo, VideoCodec, condition_latents, pixels_of


@dataclass(frozen=True)
class PhotoRule:
    """What happens to CogVideoX's photo (conventions 4.1); Wan's is always clean.

    Attributes:
        noise: whether it gets noise of a random strength.
        shown: False: this step sees no photo.
    """

    noise: bool
    shown: bool


class BatchBuilder:
    """Turns fetched samples into batches.

    Args:
        codec: the base model's VAE.
        cache: keeps what had to be encoded.
        texts: embedded prompts of all clips.
    """

    def __init__(self, codec: VideoCodec, cache: LatentCache, texts: EmbeddedTexts) -> None:
        self._codec = codec
        self._cache = cache
        self._texts = texts

    def build(
        self,
        samples: Sequence[FetchedSample],
        generators: Sequence[torch.Generator],
        photo_rule: PhotoRule,
        choose_levels: Callable[[torch.Tensor], torch.Tensor] = lambda drawn: drawn,
    ) -> TrainingBatch:
        """Encode, draw and stack.

        Args:
            generators: one of each sample, in a fixed order of draws.
            choose_levels: may replace the drawn noise levels, (B,) int64.

        Raises:
            FlexTrajError: a clip is damaged, or the cache cannot be written.
        """
        videos = self.encoded_clips([sample.clip for sample in samples])
        conditions = self._encoded_conditions(samples)
        drawn = [self._draw(*parts) for parts in zip(videos, conditions, generators, strict=True)]
        clean, photos, ids, color, noise, levels = (torch.stack(part) for part in zip(*drawn, strict=True))
        if self._codec.backbone is Backbone.COGVIDEOX:
            if photo_rule.noise:
                photos = self._noisy_photos([sample.clip.photo for sample in samples], generators)
            if not photo_rule.shown:
                photos = torch.zeros_like(photos)
        texts = [self._texts.of(sample.clip.prompt, _alignment(sample)) for sample in samples]
        return TrainingBatch(
            clean, photos, ConditionLatents(ids, color), torch.stack(texts), noise, choose_levels(levels)
        )

    def encoded_clips(self, clips: Sequence[FetchedClip]) -> list[EncodedVideo]:
        """The clips' own latents; those that were missing are encoded together and kept."""
        missing = [clip for clip in clips if clip.video is None]
        encoded = iter(self._codec.encode([clip.frames for clip in missing if clip.frames is not None]))
        videos = []
        for clip in clips:
            video = clip.video
            if video is None:
                video = next(encoded)
                photo = torch.from_numpy(np.ascontiguousarray(clip.photo))
                self._cache.put(clip.cache_key, {**video.tensors(), "photo": photo}, {"prompt": clip.prompt})
            videos.append(video)
        return videos

    def _encoded_conditions(
        self, samples: Sequence[FetchedSample]
    ) -> list[tuple[EncodedVideo, EncodedVideo]]:
        drawn = [sample.videos for sample in samples if sample.videos is not None]
        encoded = iter(self._codec.encode([video for pair in drawn for video in (pair.ids, pair.color)]))
        conditions = []
        for sample in samples:
            condition = sample.condition
            if condition is None:
                condition = (next(encoded), next(encoded))
                if sample.cache_key:
                    tensors: dict[str, torch.Tensor] = {}
                    for prefix, video in zip(PREFIXES, condition, strict=True):
                        tensors |= video.tensors(prefix)
                    self._cache.put(sample.cache_key, tensors, {"choices": sample.choices.to_json()})
            conditions.append(condition)
        return conditions

    def _draw(
        self, video: EncodedVideo, condition: tuple[EncodedVideo, EncodedVideo], generator: torch.Generator
    ) -> tuple[torch.Tensor, ...]:
        """Clean latents, photo, both conditions, noise and level of a sample, without a batch axis."""
        codec = self._codec
        clean, first = (self._scaled(part) for part in video.draw(generator))
        streams = [
            condition_latents(codec.backbone, codec.scale, *(part[None] for part in stream.draw(generator)))[
                0
            ]
            for stream in condition
        ]
        level = torch.randint(LEVELS, (), generator=generator)
        noise = torch.randn(clean.shape, generator=generator)
        return clean, first, *streams, noise, level

    def _scaled(self, latents: torch.Tensor) -> torch.Tensor:
        """(C, F, h, w) to the transformer's layout and scale."""
        if self._codec.backbone is Backbone.COGVIDEOX:
            return (latents * self._codec.scale).transpose(0, 1)
        return latents

    def _noisy_photos(self, photos: Sequence[Any], generators: Sequence[torch.Generator]) -> torch.Tensor:
        """Latents of photos with noise, drawn from the posterior, (B, 1, C, h, w)."""
        pixels = pixels_of(np.stack(photos)[:, None])  # (B, 3, 1, H, W)
        deviations = torch.stack([torch.randn((), generator=generator) for generator in generators])
        noise = torch.stack([torch.randn(pixels.shape[1:], generator=generator) for generator in generators])
        mean, deviation = (
            part.cpu() for part in self._codec.encode_pixels(noisy_photos(pixels, deviations, noise))
        )
        draws = torch.stack([torch.randn(mean.shape[1:], generator=generator) for generator in generators])
        return ((mean + deviation * draws) * self._codec.scale).transpose(1, 2)


def _alignment(sample: FetchedSample) -> Alignment:
    return Alignment.UNALIGNED if sample.task.is_unaligned else Alignment.ALIGNED
