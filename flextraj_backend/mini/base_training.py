"""Pretrains the mini's image-to-video base on clips, without any control."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import AutoencoderKLCogVideoX
from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXTransformer3DModel
from safetensors.torch import load_file, save_file

from flextraj_backend.atomic_file import atomic_path
from flextraj_backend.mini.autoencoder_training import as_pixels, encode_mode
from flextraj_backend.mini.base_settings import BaseTraining
from flextraj_backend.mini.pictures import VideoPool, recolored
from flextraj_backend.models.frame_autoencoder import frame_by_frame
from flextraj_backend.training.ema import MovingAverage
from flextraj_backend.training.objectives import noisy_video, velocity_levels, velocity_loss
from flextraj_backend.training.optimization import learning_rate_factor
from flextraj_backend.training.train_settings import LearningRateSchedule

LEVELS = 1000
_TEXT_DROP = 0.2
_ENCODE_BATCH = 8


@dataclass(frozen=True, eq=False)
class LatentPool:
    """Encoded clips.

    Attributes:
        videos: (N, F, C, h, w) bfloat16, scaled.
        photos: (N, 1, C, h, w) of their first frames.
        texts: (N, tokens, D) embedded prompts; `no_text` (tokens, D) the empty one.
    """

    videos: torch.Tensor
    photos: torch.Tensor
    texts: torch.Tensor
    no_text: torch.Tensor


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
        embed: a prompt to (tokens, D).
    """
    rng = np.random.default_rng([seed, 1])
    device = next(autoencoder.parameters()).device
    scale = float(autoencoder.config["scaling_factor"])
    videos, photos = [], []
    total = len(pool.videos) * variants
    for variant in range(variants):
        for first in range(0, len(pool.videos), _ENCODE_BATCH):
            batch = pool.videos[first : first + _ENCODE_BATCH]
            if variant:
                batch = np.stack([recolored(video, rng) for video in batch])
            pixels = as_pixels(batch, device)
            with torch.autocast(device.type, torch.bfloat16), frame_by_frame(autoencoder):
                whole = encode_mode(autoencoder, pixels)
                alone = encode_mode(autoencoder, pixels[:, :, :1])
            videos.append((scale * whole.float()).transpose(1, 2).to(torch.bfloat16).cpu())
            photos.append((scale * alone.float()).transpose(1, 2).to(torch.bfloat16).cpu())
            on_clip(variant * len(pool.videos) + first + len(batch), total)
    texts = torch.stack([embed(prompt) for prompt in pool.prompts]).repeat(variants, 1, 1)
    return LatentPool(torch.cat(videos), torch.cat(photos), texts, embed(""))


@dataclass(frozen=True)
class BaseReport:
    """Where the training stands."""

    step: int
    seconds: float
    loss: float


def train_base(
    transformer: CogVideoXTransformer3DModel,
    latents: LatentPool,
    alphas_cumprod: torch.Tensor,
    rotary: Callable[[torch.Tensor], Any],
    settings: BaseTraining,
    state: Path,
    on_report: Callable[[BaseReport], None],
    every: int = 50,
    save_every: int = 250,
) -> None:
    """Train in place; the averaged weights are the result. Goes on from `state` where that file exists.

    Args:
        rotary: rotary tables of latents (B, F, C, h, w).
        state: safetensors file with weights, average, optimiser and step.
    """
    device = next(transformer.parameters()).device
    named = dict(transformer.named_parameters())
    average = MovingAverage(named, settings.ema)
    optimizer = torch.optim.AdamW(named.values(), 1.0, betas=(0.9, 0.95), weight_decay=0.01)
    done = _restore(state, named, average, optimizer) if state.exists() else 0
    started, smooth = time.perf_counter(), None
    for step in range(done, settings.steps):
        loss = _loss(transformer, latents, alphas_cumprod, rotary, settings, step, device)
        rate = settings.learning_rate * learning_rate_factor(
            step, settings.steps, settings.warmup, LearningRateSchedule.COSINE
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(named.values(), 1.0)
        optimizer.step()
        average.update()
        value = loss.item()
        smooth = value if smooth is None else 0.98 * smooth + 0.02 * value
        if (step + 1) % every == 0 or step + 1 == settings.steps:
            on_report(BaseReport(step + 1, time.perf_counter() - started, smooth))
        if (step + 1) % save_every == 0:
            _save(state, named, average, optimizer, step + 1)
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(average.averages[name])


def _loss(
    transformer: CogVideoXTransformer3DModel,
    latents: LatentPool,
    alphas_cumprod: torch.Tensor,
    rotary: Callable[[torch.Tensor], Any],
    settings: BaseTraining,
    step: int,
    device: torch.device,
) -> torch.Tensor:
    """The loss of a step, a function of the seed and the step alone."""
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + step)
    chosen = torch.randint(len(latents.videos), (settings.batch,), generator=generator)
    clean = latents.videos[chosen].float()
    noise = torch.randn(clean.shape, generator=generator)
    # One level in each slice of the range: less variance than independent draws.
    strata = torch.rand(settings.batch, generator=generator) + torch.arange(settings.batch)
    timesteps = (strata * LEVELS / settings.batch).long().clamp(max=LEVELS - 1)
    levels = velocity_levels(alphas_cumprod, timesteps)
    noisy = noisy_video(clean, noise, levels)
    photos = torch.cat((latents.photos[chosen].float(), torch.zeros_like(clean[:, 1:])), dim=1)
    texts = latents.texts[chosen].clone()
    texts[torch.rand(settings.batch, generator=generator) < _TEXT_DROP] = latents.no_text
    noisy, photos, clean = noisy.to(device), photos.to(device), clean.to(device)
    with torch.autocast(device.type, torch.bfloat16):
        prediction = transformer(
            hidden_states=torch.cat((noisy, photos), dim=2),
            encoder_hidden_states=texts.to(device),
            timestep=timesteps.to(device),  # pyright: ignore[reportArgumentType] (a tensor is fine)
            image_rotary_emb=rotary(noisy),
            return_dict=False,
        )[0]
    return velocity_loss(prediction.float(), noisy, clean, levels).mean()


def _save(
    path: Path,
    named: dict[str, torch.nn.Parameter],
    average: MovingAverage,
    optimizer: torch.optim.Optimizer,
    step: int,
) -> None:
    tensors: dict[str, torch.Tensor] = {"step": torch.tensor(step), "averaged": torch.tensor(average.steps)}
    for name, parameter in named.items():
        tensors[f"weight.{name}"] = parameter.detach()
        tensors[f"average.{name}"] = average.averages[name]
        for key, value in optimizer.state[parameter].items():
            tensors[f"optimizer.{key}.{name}"] = value
    with atomic_path(path) as temporary:
        save_file({name: value.contiguous().clone() for name, value in tensors.items()}, temporary)


def _restore(
    path: Path,
    named: dict[str, torch.nn.Parameter],
    average: MovingAverage,
    optimizer: torch.optim.Optimizer,
) -> int:
    tensors = load_file(path)
    average.steps = int(tensors["averaged"])
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(tensors[f"weight.{name}"])
            average.averages[name].copy_(tensors[f"average.{name}"])
            optimizer.state[parameter] = {
                key: tensors[f"optimizer.{key}.{name}"] for key in ("step", "exp_avg", "exp_avg_sq")
            }
    return int(tensors["step"])
