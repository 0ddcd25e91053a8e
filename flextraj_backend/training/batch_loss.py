"""A batch through the transformer: noisy latents in, the loss of each sample out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch

from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.condition import ConditionLatents
from flextraj_backend.models.schedulers import TRAIN_TIMESTEPS, wan_training_schedule
from flextraj_backend.training.objectives import (
    flow_inputs,
    flow_levels,
    flow_loss,
    flow_token_timesteps,
    noisy_video,
    velocity_levels,
    velocity_loss,
)


@dataclass(frozen=True, eq=False)
class TrainingBatch:
    """All that a forward needs, drawn already; latents in the transformer's layout and scale.

    Attributes:
        clean: latents of the videos, (B, F, C, h, w) on CogVideoX, (B, C, F, h, w) on Wan.
        photos: of their first frames, with one latent frame; zero where the photo is dropped.
        condition: of the conditioning videos.
        texts: (B, N, C) embedded prompts.
        noise: standard normal, as `clean`.
        levels: (B,) int64, uniform in 0 to 999: CogVideoX's timesteps, Wan's indices of the noise levels.
    """

    clean: torch.Tensor
    photos: torch.Tensor
    condition: ConditionLatents
    texts: torch.Tensor
    noise: torch.Tensor
    levels: torch.Tensor

    def to(self, device: torch.device) -> TrainingBatch:
        """Move all tensors."""
        return TrainingBatch(
            self.clean.to(device),
            self.photos.to(device),
            self.condition.to(device),
            self.texts.to(device),
            self.noise.to(device),
            self.levels.to(device),
        )


LEVELS = TRAIN_TIMESTEPS
"""Noise levels to draw from, on both backbones."""


class BatchLoss(ABC):
    """The objective of a backbone."""

    @abstractmethod
    def __call__(self, transformer: Any, batch: TrainingBatch) -> torch.Tensor:
        """Losses (B,) float32. `transformer` may be wrapped for several processes."""


class CogVideoXLoss(BatchLoss):
    """v-prediction, turned into an estimate of the clean video (conventions 4.1).

    Args:
        pipeline: whose scheduler's noise levels and rotary tables are used.
    """

    def __init__(self, pipeline: Any) -> None:
        self._alphas_cumprod: torch.Tensor = pipeline.scheduler.alphas_cumprod.float().cpu()
        self._rotary_tables = pipeline._rotary_tables

    def __call__(self, transformer: Any, batch: TrainingBatch) -> torch.Tensor:
        levels = velocity_levels(self._alphas_cumprod, batch.levels.cpu())
        noisy = noisy_video(batch.clean, batch.noise, levels)
        # The photo stands in the first latent frame, zeros after it.
        photos = torch.cat((batch.photos, torch.zeros_like(batch.clean[:, 1:])), dim=1)
        prediction = transformer(
            hidden_states=torch.cat((noisy, photos), dim=2),
            encoder_hidden_states=batch.texts,
            timestep=batch.levels,
            image_rotary_emb=self._rotary_tables(batch.clean),
            condition=batch.condition,
            return_dict=False,
        )[0]
        return velocity_loss(prediction, noisy, batch.clean, levels)


class WanLoss(BatchLoss):
    """Flow matching with a clean first latent frame (conventions 4.2).

    Args:
        timestep_format: number format that the timesteps are rounded to, as the authors' (bfloat16).
    """

    def __init__(self, timestep_format: torch.dtype) -> None:
        self._schedule = wan_training_schedule()
        self._format = timestep_format

    def __call__(self, transformer: Any, batch: TrainingBatch) -> torch.Tensor:
        levels = flow_levels(self._schedule, batch.levels.cpu())
        noisy, target = flow_inputs(batch.clean, batch.noise, levels, batch.photos)
        timesteps = levels.timesteps.to(self._format).float().to(noisy.device)
        _, _, frames, height, width = noisy.shape
        frame_tokens = height * width // 4  # patches of 2 x 2
        prediction = transformer(
            hidden_states=noisy,
            timestep=flow_token_timesteps(timesteps, frame_tokens, frames * frame_tokens),
            encoder_hidden_states=batch.texts,
            condition=batch.condition,
            return_dict=False,
        )[0]
        return flow_loss(prediction, target, levels)


def batch_loss(pipeline: Any, timestep_format: torch.dtype) -> BatchLoss:
    """The objective of a pipeline's backbone."""
    if pipeline.backbone is Backbone.COGVIDEOX:
        return CogVideoXLoss(pipeline)
    return WanLoss(timestep_format)
