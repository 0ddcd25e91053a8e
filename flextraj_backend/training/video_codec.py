"""Videos to latents for training: encoded once, drawn from as often as a step needs them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.condition_latents import assemble_cogvideox_latents, wan_statistics
from flextraj_backend.models.frame_autoencoder import frame_by_frame, sees_frames_alone
from flextraj_backend.models.pipeline_inputs import Video

STORED = torch.float16
"""Number format of encoded videos, fresh or from the cache, so that both give the same training."""


@dataclass(frozen=True, eq=False)
class EncodedVideo:
    """What the VAE makes of a video and of its first frame alone.

    Attributes:
        mean, deviation: (C, F, h, w) of the posterior.
        first_mean, first_deviation: (C, 1, h, w).

    On Wan the means are normalised by the VAE's statistics and the deviations are zero, for there the mode
    is used; its deviations are empty tensors.
    """

    mean: torch.Tensor
    deviation: torch.Tensor
    first_mean: torch.Tensor
    first_deviation: torch.Tensor

    def tensors(self, prefix: str = "") -> dict[str, torch.Tensor]:
        """By name, for a file."""
        return {prefix + name: getattr(self, name) for name in _FIELDS}

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, torch.Tensor], prefix: str = "") -> EncodedVideo:
        """Of a file's tensors. Raises KeyError."""
        return cls(**{name: tensors[prefix + name] for name in _FIELDS})

    def draw(self, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Latents of the video and of its first frame, float32, not scaled yet."""
        return (
            _draw(self.mean, self.deviation, generator),
            _draw(self.first_mean, self.first_deviation, generator),
        )


_READ_WHOLE = 64 << 20
_FIELDS = ("mean", "deviation", "first_mean", "first_deviation")


class VideoCodec:
    """The VAE of a base model.

    Args:
        vae: an AutoencoderKLCogVideoX or AutoencoderKLWan, frozen, on the device where it runs.
        group: videos that it encodes together. A last group is filled up with its own first video, so that
            a video's latents do not depend on how many others were missing from the cache.
    """

    def __init__(self, vae: Any, backbone: Backbone, group: int) -> None:
        self.backbone = backbone
        self._vae = vae
        self._group = group
        self._frames_alone = sees_frames_alone(vae)
        self._black: dict[tuple[int, ...], EncodedVideo] = {}

    @property
    def scale(self) -> float:
        """What drawn latents are multiplied by; Wan's are normalised when they are encoded."""
        if self.backbone is Backbone.WAN:
            return 1.0
        config = self._vae.config
        return 1 / config.scaling_factor if config.invert_scale_latents else config.scaling_factor

    def encode(self, videos: Sequence[Video]) -> list[EncodedVideo]:
        """Encode (T, H, W, 3) uint8 videos of one shape; black ones are encoded once."""
        shape = videos[0].shape if videos else ()
        blank = [not video.any() for video in videos]
        if any(blank) and shape not in self._black:
            self._black[shape] = self._encode_all([np.zeros(shape, np.uint8)])[0]
        seen = iter(
            self._encode_all([video for video, black in zip(videos, blank, strict=True) if not black])
        )
        return [self._black[shape] if black else next(seen) for black in blank]

    @torch.no_grad()
    def encode_pixels(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of the posterior, float32. (B, 3, T, H, W) from -1 to 1"""
        with frame_by_frame(self._vae) if self._frames_alone else nullcontext():
            posterior = self._vae.encode(pixels.to(self._vae.device, self._vae.dtype)).latent_dist
        if self.backbone is Backbone.COGVIDEOX:
            return posterior.mean.float(), posterior.std.float()
        mean, inverse_deviation = wan_statistics(self._vae, self._vae.device, torch.float32)
        latents = (posterior.mode().float() - mean) * inverse_deviation
        return latents, latents.new_zeros(len(latents), 0)

    def _encode_all(self, videos: list[Video]) -> list[EncodedVideo]:
        encoded = []
        for start in range(0, len(videos), self._group):
            group = videos[start : start + self._group]
            filled = group + [group[0]] * (self._group - len(group))
            pixels = pixels_of(np.stack(filled))
            video = self.encode_pixels(pixels)
            first = self.encode_pixels(pixels[:, :, :1])
            for index in range(len(group)):
                parts = [part[index].to("cpu", STORED) for part in (*video, *first)]
                encoded.append(EncodedVideo(*parts))
        return encoded


def pixels_of(videos: np.ndarray) -> torch.Tensor:
    """(B, T, H, W, 3) uint8 to (B, 3, T, H, W) float32 from -1 to 1."""
    return torch.from_numpy(np.ascontiguousarray(videos)).permute(0, 4, 1, 2, 3).float() / 127.5 - 1


def condition_latents(
    backbone: Backbone, scale: float, videos: torch.Tensor, first_frames: torch.Tensor
) -> torch.Tensor:
    """Drawn latents (B, C, F, h, w), (B, C, 1, h, w) as the transformer's condition takes them."""
    if backbone is Backbone.WAN:
        return videos
    return assemble_cogvideox_latents(videos, first_frames, scale)


def folder_fingerprint(folder: Path) -> str:
    """Of a model's configuration and weights, so that what was made with another one is never used."""
    digest = hashlib.sha256()
    files = [path for path in folder.iterdir() if path.suffix in (".safetensors", ".json")]
    for path in sorted(files):
        digest.update(path.name.encode())
        _digest_file(digest, path)
    return digest.hexdigest()[:16]


def text_fingerprint(folder: Path) -> str:
    """Of a base model's text encoder; of its large files by their sizes, for they are many GB."""
    digest = hashlib.sha256()
    for component in ("text_encoder", "tokenizer"):
        for path in sorted(path for path in (folder / component).iterdir() if path.is_file()):
            size = path.stat().st_size
            digest.update(f"{path.name} {size}".encode())
            if size <= _READ_WHOLE:
                _digest_file(digest, path)
    return digest.hexdigest()[:16]


def _digest_file(digest: Any, path: Path) -> None:
    with path.open("rb") as file:
        while chunk := file.read(1 << 22):
            digest.update(chunk)


def _draw(mean: torch.Tensor, deviation: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    if deviation.numel() == 0:
        return mean.float()
    noise = torch.randn(mean.shape, generator=generator)
    return mean.float() + deviation.float() * noise
