"""Trains the mini model's autoencoder on the clips and on their conditioning videos."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import AutoencoderKLCogVideoX
from numpy.typing import NDArray
from torch.nn.functional import max_pool2d

from flextraj_backend.mini.autoencoder import fix_posterior, match_scale
from flextraj_backend.mini.autoencoder_settings import AutoencoderTraining
from flextraj_backend.mini.pictures import VideoPool
from flextraj_backend.models.frame_autoencoder import frame_by_frame
from flextraj_backend.training.optimization import learning_rate_factor, set_learning_rate
from flextraj_backend.training.train_settings import LearningRateSchedule
from flextraj_backend.training.video_codec import pixels_of

_LATENT_NOISE = 0.05
"""Of the latents while training: the decoder must bear what the denoiser leaves."""
_EDGE_WEIGHT = 0.5
_SPREAD_WEIGHT = 0.01
_LOCALITY_WEIGHT = 2.0
_LOCALITY_FROM = 0.5
"""Share of the training from which its weight rises: pictures first."""
_WARMUP = 20


@dataclass(frozen=True)
class AutoencoderReport:
    """Where the training stands: mean squared errors of held-out videos in -1..1."""

    step: int
    seconds: float
    loss: float
    video_error: float
    condition_error: float


def train_autoencoder(
    model: AutoencoderKLCogVideoX,
    pool: VideoPool,
    held_out: VideoPool,
    settings: AutoencoderTraining,
    on_report: Callable[[AutoencoderReport], None],
    every: int = 100,
    precision: torch.dtype = torch.bfloat16,
) -> None:
    """Train in place and set the scaling factor: 1 / deviation of the videos' latents."""
    with frame_by_frame(model):
        _train(model, pool, held_out, settings, on_report, every, precision)
    _set_scale(model, held_out, next(model.parameters()).device, precision)


def _train(
    model: AutoencoderKLCogVideoX,
    pool: VideoPool,
    held_out: VideoPool,
    settings: AutoencoderTraining,
    on_report: Callable[[AutoencoderReport], None],
    every: int,
    precision: torch.dtype,
) -> None:
    rng = np.random.default_rng(settings.seed)
    generator = torch.Generator().manual_seed(settings.seed)
    device = next(model.parameters()).device
    first = pool.draw(rng, settings.batch, settings.frames)
    match_scale(model, pixels_of(first.pictures).to(device))
    optimizer = torch.optim.AdamW(
        model.parameters(), settings.learning_rate, betas=(0.9, 0.99), weight_decay=1e-4
    )
    started = time.perf_counter()
    for step in range(1, settings.steps + 1):
        drawn = pool.draw(rng, settings.batch, settings.frames)
        alone = drawn.pictures * drawn.painted[..., None]
        pixels = pixels_of(np.concatenate((drawn.pictures, alone))).to(device)  # (2 B, 3, T, H, W)
        painted = torch.from_numpy(drawn.painted).to(device)
        factor = learning_rate_factor(step - 1, settings.steps, _WARMUP, LearningRateSchedule.COSINE)
        set_learning_rate(optimizer, settings.learning_rate * factor)
        with torch.autocast(device.type, precision):
            latents = encode_mode(model, pixels)
            noise = torch.randn(latents.shape, generator=generator).to(device)
            decoded = decode(model, latents + _LATENT_NOISE * noise)
        loss = _loss(decoded.float(), pixels, latents.float())
        risen = max(0.0, step / settings.steps - _LOCALITY_FROM) / (1 - _LOCALITY_FROM)
        loss = loss + risen * _LOCALITY_WEIGHT * locality_loss(latents.float(), painted)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        fix_posterior(model)
        if step % every == 0 or step == settings.steps:
            on_report(
                AutoencoderReport(
                    step,
                    time.perf_counter() - started,
                    loss.item(),
                    _error(model, held_out.videos, device, precision),
                    _error(model, held_out.conditions, device, precision),
                )
            )


def encode_mode(model: AutoencoderKLCogVideoX, pixels: torch.Tensor) -> torch.Tensor:
    """The posterior's mode, unscaled. (B, 3, T, H, W) to (B, C, T, h, w)"""
    return model.encode(pixels).latent_dist.mode()  # pyright: ignore[reportAttributeAccessIssue]


def decode(model: AutoencoderKLCogVideoX, latents: torch.Tensor) -> torch.Tensor:
    """(B, C, T, h, w), unscaled, to (B, 3, T, H, W)."""
    return model.decode(latents).sample  # pyright: ignore[reportAttributeAccessIssue, reportReturnType]


def _loss(decoded: torch.Tensor, pixels: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
    """Absolute error of pixels and of their differences; latent channels centred with deviation 1."""
    error = decoded - pixels
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    over = (0, 2, 3, 4)
    spread = (latents.mean(over) ** 2 + (latents.std(over) - 1) ** 2).mean()
    return error.abs().mean() + _EDGE_WEIGHT * edges + _SPREAD_WEIGHT * spread


def locality_loss(latents: torch.Tensor, painted: torch.Tensor) -> torch.Tensor:
    """How much a subject's latents change when everything around it turns black, as in a colour video.

    Left to itself an autoencoder's group norms make them change by half of their variance: a denoiser then
    cannot read the colours of one picture beside those of another. Latents that lie wholly within the subject
    count, in units of the variance of all.

    Both sides are drawn to each other: with one of them held as a target, the latents, which have the same
    weights, run away from themselves and grow without bound.

    Args:
        latents: (2 B, C, T, h, w), of pictures and of the same subjects on black.
        painted: (B, T, H, W) bool.
    """
    whole, alone = latents.chunk(2)
    cell = painted.shape[-1] // latents.shape[-1]
    inside = 1 - max_pool2d((~painted).float(), cell)[:, None]  # (B, 1, T, h, w)
    squares = (alone - whole).square().mean(dim=1, keepdim=True) * inside
    return squares.sum() / inside.sum().clamp(min=1) / latents.detach().var()


@torch.no_grad()
def _error(
    model: AutoencoderKLCogVideoX, videos: NDArray[np.uint8], device: torch.device, precision: torch.dtype
) -> float:
    errors = []
    for first in range(0, len(videos), 4):
        pixels = pixels_of(videos[first : first + 4, ::4]).to(device)
        with torch.autocast(device.type, precision):
            decoded = decode(model, encode_mode(model, pixels)).float()
        errors.append((decoded - pixels).square().mean(dim=(1, 2, 3, 4)))
    return torch.cat(errors).mean().item()


@torch.no_grad()
def _set_scale(
    model: AutoencoderKLCogVideoX, held_out: VideoPool, device: torch.device, precision: torch.dtype
) -> None:
    with torch.autocast(device.type, precision):
        latents = encode_mode(model, pixels_of(held_out.videos).to(device)).float()
    model.register_to_config(scaling_factor=float(1 / latents.std()))
