"""The samplers of both backbones, and Wan's noise levels for training (conventions 3 and 4.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers.schedulers.scheduling_dpm_cogvideox import CogVideoXDPMScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

from blender_addon.core.model_options import SchedulerChoice
from flextraj_backend.models.backbone import Backbone

DEFAULT_STEPS = 50
WAN_SHIFT = 5.0
TRAIN_TIMESTEPS = 1000


class WanEulerScheduler(FlowMatchEulerDiscreteScheduler):
    """Flow-matching Euler from pure noise to sigma 0: shift 5, evenly spaced before the shift.

    diffusers' own spacing ends at the smallest training sigma instead, which gives other noise levels.
    """

    def __init__(self) -> None:
        super().__init__(num_train_timesteps=TRAIN_TIMESTEPS, shift=WAN_SHIFT)

    def set_timesteps(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, num_inference_steps: int, device: str | torch.device | None = None
    ) -> None:
        sigmas = np.linspace(1.0, 0.0, num_inference_steps + 1)[:-1]
        super().set_timesteps(device=device, sigmas=sigmas.tolist())  # pyright: ignore[reportArgumentType]


def make_scheduler(backbone: Backbone, choice: SchedulerChoice, folder_scheduler: Any) -> Any:
    """Return a fresh sampler, so that a run that was broken off leaves nothing behind.

    Args:
        folder_scheduler: the scheduler that the base model's folder names.
    """
    if choice is SchedulerChoice.MODEL:
        return type(folder_scheduler).from_config(folder_scheduler.config)
    if backbone is Backbone.COGVIDEOX:
        return CogVideoXDPMScheduler.from_config(folder_scheduler.config, timestep_spacing="trailing")
    return WanEulerScheduler()


def timesteps_for_model(scheduler: Any, dtype: torch.dtype) -> torch.Tensor:
    """The timesteps as the transformer gets them, (steps,) on the scheduler's device.

    The authors' Wan run casts them to the transformer's number format, in training too (996 instead of
    995.935 in bfloat16); the sampler itself goes on with the exact ones.
    """
    timesteps: torch.Tensor = scheduler.timesteps
    return timesteps.to(dtype).float() if isinstance(scheduler, WanEulerScheduler) else timesteps


@dataclass(frozen=True, eq=False)
class FlowTrainingSchedule:
    """Noise levels and loss weights to draw from in training, each (1000,) float32, from noisy to clean."""

    sigmas: torch.Tensor
    timesteps: torch.Tensor
    weights: torch.Tensor


def wan_training_schedule() -> FlowTrainingSchedule:
    """The 1000 shifted noise levels and their bell-shaped loss weights, which sum to 1000."""
    uniform = torch.linspace(1.0, 0.0, TRAIN_TIMESTEPS + 1, dtype=torch.float64)[:-1]
    sigmas = WAN_SHIFT * uniform / (1 + (WAN_SHIFT - 1) * uniform)
    timesteps = TRAIN_TIMESTEPS * sigmas
    bell = torch.exp(-2 * ((timesteps - TRAIN_TIMESTEPS / 2) / TRAIN_TIMESTEPS) ** 2)
    weights = bell - bell.min()
    weights *= TRAIN_TIMESTEPS / weights.sum()
    return FlowTrainingSchedule(sigmas.float(), timesteps.float(), weights.float())
