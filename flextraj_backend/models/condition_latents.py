"""From the two conditioning videos to the latents that the transformer patches (conventions 2.2 and 2.6)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers.utils.torch_utils import randn_tensor

from flextraj_backend.models.condition import ConditionLatents
from flextraj_backend.models.pipeline_inputs import Video

CONDITION_SEED = 0
"""CogVideoX draws its condition latents from the VAE's posterior. The authors draw from the global generator,
so that no seed repeats a run. Here they come from a generator of their own, apart from the job's seed: the
condition depends on the two videos alone, and one cache serves every seed."""


def condition_generator() -> torch.Generator:
    """A fresh generator for `cogvideox_condition_latents`, on the CPU so that every device draws the same."""
    return torch.Generator("cpu").manual_seed(CONDITION_SEED)


def video_pixels(video: Video, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Map a (T, H, W, 3) uint8 video from 0..255 to -1..1: (1, 3, T, H, W)."""
    pixels = torch.from_numpy(np.ascontiguousarray(video)).to(device)  # as bytes, a quarter of the traffic
    return (pixels.permute(3, 0, 1, 2).unsqueeze(0).float() / 127.5 - 1).to(dtype)


def cogvideox_condition_latents(
    vae: Any, id_video: Video, color_video: Video, device: torch.device, generator: torch.Generator
) -> ConditionLatents:
    """Encode both videos and their first frames with CogVideoX's VAE.

    One after the other, not in one batch: at the sizes that the model makes a batch is not faster but takes
    twice the memory, and so the latents are the same whether the VAE slices batches or not.

    Args:
        vae: an AutoencoderKLCogVideoX.
        id_video, color_video: (T, H, W, 3) uint8; a colour video that is off is black, and is encoded too.
        device: where the VAE runs; under offloading its weights arrive there with the call.
        generator: draws from the posterior, in the order ID, ID's first frame, colour, colour's first frame.

    Returns:
        (1, F, 32, h, w) each, float32.
    """
    scale = 1 / vae.config.scaling_factor if vae.config.invert_scale_latents else vae.config.scaling_factor

    def encode(video: Video) -> torch.Tensor:
        pixels = video_pixels(video, device, vae.dtype)
        latents = _posterior_sample(vae, pixels, generator)
        first_frame = _posterior_sample(vae, pixels[:, :, :1], generator)
        return assemble_cogvideox_latents(latents, first_frame, scale)

    return ConditionLatents(ids=encode(id_video), color=encode(color_video))


def assemble_cogvideox_latents(
    videos: torch.Tensor, first_frames: torch.Tensor, scale: float
) -> torch.Tensor:
    """Make condition latents look like an image-to-video input whose image is the video's own first frame.

    Args:
        videos: (B, C, F, h, w) encoded videos.
        first_frames: (B, C, 1, h, w) their first frames, encoded alone.
        scale: the VAE's scaling factor.

    Returns:
        (B, F, 2C, h, w): the video's channels, then the first frame's, zero after the first latent frame.
    """
    padding = torch.zeros_like(videos[:, :, 1:])
    images = torch.cat((first_frames, padding), dim=2)
    return (scale * torch.cat((videos, images), dim=1)).permute(0, 2, 1, 3, 4)


def wan_condition_latents(
    vae: Any, id_video: Video, color_video: Video, device: torch.device
) -> ConditionLatents:
    """Encode both videos with Wan's VAE: the posterior's mode, normalised by the VAE's statistics.

    Args:
        vae: an AutoencoderKLWan.
        id_video, color_video: (T, H, W, 3) uint8; a colour video that is off is black, and is encoded too.
        device: where the VAE runs; under offloading its weights arrive there with the call.

    Returns:
        (1, C, F, h, w) each, float32.
    """
    mean, inverse_deviation = wan_statistics(vae, device, torch.float32)

    def encode(video: Video) -> torch.Tensor:
        latents = vae.encode(video_pixels(video, device, vae.dtype)).latent_dist.mode().float()
        return (latents - mean) * inverse_deviation

    return ConditionLatents(ids=encode(id_video), color=encode(color_video))


def wan_statistics(vae: Any, device: torch.device, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean and one over the standard deviation of Wan's latents, each (1, C, 1, 1, 1)."""
    shape = (1, vae.config.z_dim, 1, 1, 1)
    mean = torch.tensor(vae.config.latents_mean).view(shape).to(device, dtype)
    return mean, 1.0 / torch.tensor(vae.config.latents_std).view(shape).to(device, dtype)


def _posterior_sample(vae: Any, pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A draw from the VAE's posterior, float32. (1, 3, T, H, W) to (1, C, F, h, w)"""
    posterior = vae.encode(pixels).latent_dist
    mean, deviation = posterior.mean.float(), posterior.std.float()
    noise = randn_tensor(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
    return mean + deviation * noise
