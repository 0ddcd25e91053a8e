"""What the backbones are trained for: noise levels, noisy inputs and losses (conventions 4.1 and 4.2).

Pure functions of tensors; every random number comes from a generator.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from flextraj_backend.models.schedulers import FlowTrainingSchedule

IMAGE_NOISE_MEAN, IMAGE_NOISE_DEVIATION = -3.0, 0.5
"""Of the logarithm of the standard deviation of the noise on CogVideoX's photo."""


@dataclass(frozen=True, eq=False)
class VelocityLevels:
    """Noise levels of CogVideoX samples.

    Attributes:
        timesteps: (B,) int64.
        alpha_bars: (B,) float32, the share of the clean video's variance.
    """

    timesteps: torch.Tensor
    alpha_bars: torch.Tensor


def velocity_levels(alphas_cumprod: torch.Tensor, timesteps: torch.Tensor) -> VelocityLevels:
    """Look the levels of timesteps up in the scheduler's table, (1000,)."""
    return VelocityLevels(timesteps, alphas_cumprod.float()[timesteps.to(alphas_cumprod.device)])


def noisy_video(clean: torch.Tensor, noise: torch.Tensor, levels: VelocityLevels) -> torch.Tensor:
    """sqrt(a) x0 + sqrt(1 - a) noise. (B, ...) each"""
    alpha_bars = _per_sample(levels.alpha_bars, clean)
    return alpha_bars.sqrt() * clean + (1 - alpha_bars).sqrt() * noise


def velocity_loss(
    prediction: torch.Tensor, noisy: torch.Tensor, clean: torch.Tensor, levels: VelocityLevels
) -> torch.Tensor:
    """CogVideoX's loss of each sample, (B,) float32.

    The predicted velocity v gives the estimate x0 = sqrt(a) x_t - sqrt(1 - a) v, whose squared error is
    weighted by 1 / (1 - a) (conventions 4.1): in exact numbers the squared error of v itself.
    """
    alpha_bars = _per_sample(levels.alpha_bars, clean)
    estimate = alpha_bars.sqrt() * noisy - (1 - alpha_bars).sqrt() * prediction.float()
    errors = (estimate - clean).square() / (1 - alpha_bars)
    return errors.flatten(1).mean(dim=1)


@dataclass(frozen=True, eq=False)
class FlowLevels:
    """Noise levels of Wan samples, (B,) float32 each: share of noise, timestep, loss weight."""

    sigmas: torch.Tensor
    timesteps: torch.Tensor
    weights: torch.Tensor


def flow_levels(schedule: FlowTrainingSchedule, indices: torch.Tensor) -> FlowLevels:
    """Look levels up by their index, (B,) int64, 0 = pure noise."""
    return FlowLevels(schedule.sigmas[indices], schedule.timesteps[indices], schedule.weights[indices])


def flow_inputs(
    clean: torch.Tensor, noise: torch.Tensor, levels: FlowLevels, first_frames: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy latents and target of flow matching; the first latent frame is the clean photo.

    As in the authors' training the photo stands for both the clean frame and its noise, so that it stays
    clean whatever the noise level, and its target is exactly zero.

    Args:
        clean, noise: (B, C, F, h, w).
        first_frames: (B, C, 1, h, w), the photo encoded alone.
    """
    sigmas = _per_sample(levels.sigmas, clean)
    noisy = (1 - sigmas) * clean + sigmas * noise
    target = noise - clean
    return (
        torch.cat((first_frames, noisy[:, :, 1:]), dim=2),
        torch.cat((torch.zeros_like(first_frames), target[:, :, 1:]), dim=2),
    )


def flow_loss(prediction: torch.Tensor, target: torch.Tensor, levels: FlowLevels) -> torch.Tensor:
    """Wan's loss of each sample, (B,) float32: mean squared error times the level's weight."""
    errors = (prediction.float() - target).square().flatten(1).mean(dim=1)
    return errors * levels.weights.to(errors.device)


def flow_token_timesteps(timesteps: torch.Tensor, frame_tokens: int, tokens: int) -> torch.Tensor:
    """A timestep for each token of each sample, 0 in the first latent frame. (B,) to (B, tokens)"""
    spread = timesteps[:, None].repeat(1, tokens)
    spread[:, :frame_tokens] = 0
    return spread


def noisy_photos(photos: torch.Tensor, log_deviations: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Photos with noise of std exp(m + s n), n standard normal (conventions 4.1).

    Args:
        photos, noise: (B, 3, 1, H, W), the photos from -1 to 1.
        log_deviations: (B,) draws from the standard normal.
    """
    deviations = (IMAGE_NOISE_MEAN + IMAGE_NOISE_DEVIATION * log_deviations).exp()
    return photos + _per_sample(deviations, photos) * noise


def _per_sample(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """(B,) to (B, 1, 1, ...), on the device of `like`."""
    return values.to(like.device).reshape(-1, *[1] * (like.ndim - 1))
