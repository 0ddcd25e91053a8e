"""Pretrains the mini's image-to-video base on clips: from the photo alone, and in context.

There is no control here, no ID and no trajectory. `context_transformer` says what the context is for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXTransformer3DModel
from safetensors.torch import load_file

from flextraj_backend.mini.base_settings import BaseTraining
from flextraj_backend.mini.context_transformer import ContextTransformer, context_latents, in_context
from flextraj_backend.mini.latent_pool import LatentPool
from flextraj_backend.models.tensor_file import write_tensors
from flextraj_backend.training.ema import MovingAverage
from flextraj_backend.training.objectives import noisy_video, velocity_levels, velocity_loss
from flextraj_backend.training.optimization import learning_rate_factor, set_learning_rate
from flextraj_backend.training.train_settings import LearningRateSchedule

LEVELS = 1000
_TEXT_DROP = 0.2
_MAPS = 0.2
_BARE = 0.08
"""Shares of the contexts that are source maps, and that hold nothing but codes."""
_CODED = 0.5
"""Share of the other contexts with codes over them, as an ID video lies over the colour video."""
_OWN = 0.5
"""Share of the other contexts in the video's own colours to the end, as a cue in the photo's colours is."""
_OWN_UNTIL = 0.06
_STRANGE_FROM = 0.4
"""Shares of the training between which the rest changes from the video's own colours to others."""


@dataclass(frozen=True)
class BaseReport:
    """Where the training stands: running means of the losses from the photo alone and with a context."""

    step: int
    seconds: float
    loss: float
    context_loss: float


def train_base(
    transformer: CogVideoXTransformer3DModel,
    latents: LatentPool,
    alphas_cumprod: torch.Tensor,
    settings: BaseTraining,
    state: Path,
    on_report: Callable[[BaseReport], None],
    every: int = 50,
    save_every: int = 250,
) -> None:
    """Train in place; the averaged weights are the result. Goes on from `state` where that file exists.

    Args:
        transformer: without rotary positions.
        alphas_cumprod: (1000,) of the scheduler.
        state: safetensors file with weights, average, optimiser and step.
    """
    device = next(transformer.parameters()).device
    named = dict(transformer.named_parameters())
    average = MovingAverage(named, settings.ema)
    optimizer = torch.optim.AdamW(named.values(), 1.0, betas=(0.9, 0.95), weight_decay=0.01)
    done = _restore(state, named, average, optimizer) if state.exists() else 0
    started, smooth = time.perf_counter(), (_RunningMean(), _RunningMean())
    with in_context(transformer) as model:
        for step in range(done, settings.steps):
            with_context = _has_context(settings, step)
            loss = _loss(model, latents, alphas_cumprod, settings, step, with_context, device)
            rate = settings.learning_rate * learning_rate_factor(
                step, settings.steps, settings.warmup, LearningRateSchedule.COSINE
            )
            set_learning_rate(optimizer, rate)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(named.values(), 1.0)
            optimizer.step()
            average.update()
            smooth[with_context].add(loss.item())
            if (step + 1) % every == 0 or step + 1 == settings.steps:
                means = [mean.value for mean in smooth]
                on_report(BaseReport(step + 1, time.perf_counter() - started, *means))
            if (step + 1) % save_every == 0:
                _save(state, named, average, optimizer, step + 1)
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(average.averages[name])


def largest_strangeness(settings: BaseTraining, step: int) -> float:
    """Largest share of other colours in a context: 0 at first, 1 in the end.

    A context that is of no use yet is learned to be ignored, and never looked at again. One in the video's
    own colours is of use from the start.
    """
    return min(max((step / settings.steps - _OWN_UNTIL) / (_STRANGE_FROM - _OWN_UNTIL), 0.0), 1.0)


class _RunningMean:
    """Of the last about 50 values; NaN before the first."""

    def __init__(self) -> None:
        self.value = float("nan")

    def add(self, value: float) -> None:
        self.value = value if math.isnan(self.value) else 0.98 * self.value + 0.02 * value


def _generator(settings: BaseTraining, step: int) -> torch.Generator:
    return torch.Generator().manual_seed(settings.seed * 1_000_003 + step)


def _has_context(settings: BaseTraining, step: int) -> bool:
    draw = torch.rand((), generator=_generator(settings, -1 - step))
    return bool(draw < settings.context_share)


def _loss(
    transformer: ContextTransformer,
    latents: LatentPool,
    alphas_cumprod: torch.Tensor,
    settings: BaseTraining,
    step: int,
    with_context: bool,
    device: torch.device,
) -> torch.Tensor:
    """The loss of a step, a function of the seed and the step alone."""
    generator = _generator(settings, step)
    chosen = torch.randint(len(latents.texts), (settings.batch,), generator=generator)
    clean = latents.clips.videos[chosen].float()
    noise = torch.randn(clean.shape, generator=generator)
    # One level in each slice of the range: less variance than independent draws.
    strata = torch.rand(settings.batch, generator=generator) + torch.arange(settings.batch)
    timesteps = (strata * LEVELS / settings.batch).long().clamp(max=LEVELS - 1)
    levels = velocity_levels(alphas_cumprod, timesteps)
    noisy = noisy_video(clean, noise, levels)
    photos = latents.clips.padded_photos(chosen)
    texts = latents.texts[chosen].clone()
    texts[torch.rand(settings.batch, generator=generator) < _TEXT_DROP] = latents.no_text
    context = None
    if with_context:
        share = largest_strangeness(settings, step) * torch.rand(
            (settings.batch, 1, 1, 1, 1), generator=generator
        )
        share = share * (torch.rand(share.shape, generator=generator) >= _OWN)
        own, strange = latents.own_contexts.condition(chosen), latents.strange_contexts.condition(chosen)
        kind = torch.rand(share.shape, generator=generator)
        is_bare, is_map = kind < _BARE, kind < _BARE + _MAPS
        shown = torch.where(
            is_map, latents.source_contexts.condition(chosen), torch.lerp(own, strange, share)
        )
        is_coded = torch.rand(share.shape, generator=generator) < _CODED
        codes = latents.code_contexts.condition(chosen) * (is_bare | is_coded)
        context = context_latents((shown * ~is_bare + codes).to(device))
    noisy, photos, clean = noisy.to(device), photos.to(device), clean.to(device)
    with torch.autocast(device.type, torch.bfloat16):
        prediction = transformer(
            hidden_states=torch.cat((noisy, photos), dim=2),
            encoder_hidden_states=texts.to(device),
            timestep=timesteps.to(device),  # pyright: ignore[reportArgumentType] (a tensor is fine)
            condition=context,
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
    write_tensors(path, {name: value.contiguous().clone() for name, value in tensors.items()})


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
            moments = ("exp_avg", "exp_avg_sq")
            optimizer.state[parameter] = {
                "step": tensors[f"optimizer.step.{name}"],  # AdamW keeps it on the CPU
                **{key: tensors[f"optimizer.{key}.{name}"].to(parameter.device) for key in moments},
            }
    return int(tensors["step"])
