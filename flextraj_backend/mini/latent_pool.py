"""The clips that the base is pretrained on, encoded once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import AutoencoderKLCogVideoX
from numpy.typing import NDArray
from torch.nn.functional import pad

from flextraj_backend.mini.autoencoder_training import encode_mode
from flextraj_backend.mini.pictures import VideoPool, turned_clip
from flextraj_backend.mini.turns import Turn
from flextraj_backend.models.frame_autoencoder import frame_by_frame
from flextraj_backend.training.video_codec import pixels_of

_ENCODE_BATCH = 8


@dataclass(frozen=True, eq=False)
class EncodedVideos:
    """Videos beside their first frames, as an image-to-video model takes both.

    Attributes:
        videos: (N, F, C, h, w) bfloat16, scaled.
        photos: (N, 1, C, h, w) of their first frames alone.
    """

    videos: torch.Tensor
    photos: torch.Tensor

    def padded_photos(self, chosen: torch.Tensor) -> torch.Tensor:
        """Some first frames before empty ones. (B, F, C, h, w) float32"""
        rest = self.videos.shape[1] - 1
        return pad(self.photos[chosen].float(), (0, 0, 0, 0, 0, 0, 0, rest))

    def condition(self, chosen: torch.Tensor) -> torch.Tensor:
        """Some of them as condition latents. (B, F, 2C, h, w) float32"""
        return torch.cat((self.videos[chosen].float(), self.padded_photos(chosen)), dim=2)


@dataclass(frozen=True, eq=False)
class LatentPool:
    """Encoded clips.

    Attributes:
        clips: what is to be made.
        own_contexts: the same motions in the same colours.
        strange_contexts: the same in other colours.
        source_contexts: maps of where in the first frame everything comes from.
        code_contexts: these maps in codes drawn at random.
        texts: (N, tokens, D) embedded prompts; `no_text` (tokens, D) the empty one.
    """

    clips: EncodedVideos
    own_contexts: EncodedVideos
    strange_contexts: EncodedVideos
    source_contexts: EncodedVideos
    code_contexts: EncodedVideos
    texts: torch.Tensor
    no_text: torch.Tensor


@dataclass
class _Filling:
    """Encoded videos whose place is taken at once: joined lists would need twice the memory."""

    total: int
    encoded: EncodedVideos | None = None
    done: int = 0

    def add(self, videos: torch.Tensor, photos: torch.Tensor) -> None:
        if self.encoded is None:
            self.encoded = EncodedVideos(
                *(part.new_empty((self.total, *part.shape[1:])) for part in (videos, photos))
            )
        place = slice(self.done, self.done + len(videos))
        self.encoded.videos[place], self.encoded.photos[place] = videos, photos
        self.done = place.stop

    @property
    def whole(self) -> EncodedVideos:
        assert self.encoded is not None and self.done == self.total
        return self.encoded


@torch.no_grad()
def encode_pool(
    autoencoder: AutoencoderKLCogVideoX,
    pool: VideoPool,
    variants: int,
    embed: Callable[[str], torch.Tensor],
    seed: int,
    on_clip: Callable[[int, int], None],
) -> LatentPool:
    """Encode each clip in several colours and directions.

    Args:
        pool: N clips.
        variants: turns of each; the result holds N times as many.
        embed: a prompt to (tokens, D).
        on_clip: called with the number of clips encoded and their total.
    """
    rng = np.random.default_rng([seed, 1])
    total = len(pool.videos) * variants
    parts = [_Filling(total) for _ in range(5)]
    for variant in range(variants):
        for first in range(0, len(pool.videos), _ENCODE_BATCH):
            indices = range(first, min(first + _ENCODE_BATCH, len(pool.videos)))
            turns = [Turn.draw(rng) for _ in indices]
            drawn = [turned_clip(pool, index, turn, rng) for index, turn in zip(indices, turns, strict=True)]
            kinds = (
                [clip.video for clip in drawn],
                [clip.own for clip in drawn],
                [clip.strange for clip in drawn],
                [clip.sources for clip in drawn],
                [clip.codes for clip in drawn],
            )
            for part, videos in zip(parts, kinds, strict=True):
                part.add(*_encoded(autoencoder, videos))
            on_clip(variant * len(pool.videos) + first + len(drawn), total)
    texts = torch.stack([embed(prompt) for prompt in pool.prompts]).repeat(variants, 1, 1)
    clips, own, strange, sources, codes = (part.whole for part in parts)
    return LatentPool(clips, own, strange, sources, codes, texts, embed(""))


def _encoded(
    autoencoder: AutoencoderKLCogVideoX, videos: Sequence[NDArray[np.uint8]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scaled latents of B videos (T, H, W, 3) and of their first frames. (B, F, C, h, w), (B, 1, C, h, w)"""
    device = next(autoencoder.parameters()).device
    scale = float(autoencoder.config["scaling_factor"])
    pixels = pixels_of(np.stack(videos)).to(device)
    with torch.autocast(device.type, torch.bfloat16), frame_by_frame(autoencoder):
        whole = encode_mode(autoencoder, pixels)
        alone = encode_mode(autoencoder, pixels[:, :, :1])
    whole, alone = (
        (scale * part.float()).transpose(1, 2).to(torch.bfloat16).cpu() for part in (whole, alone)
    )
    return whole, alone
