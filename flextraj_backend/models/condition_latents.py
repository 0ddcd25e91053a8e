"""From the two conditioning videos to the latents that the transformer patches (conventions 2.2 and 2.6)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers.utils.torch_utils import randn_tensor
from numpy.typing import NDArray

from flextraj_backend.models.condition import ConditionLatents

CONDITION_SEED = 0
"""CogVideoX draws its condition latents from the VAE's posterior. The authors draw from the global generator,
so that no seed repeats a run. Here they come from a generator of their own, apart from the job's seed: the
condition depends on the two videos alone, and one cache serves every seed."""


def condition_generator() -> torch.Generator:
    """A fresh generator for `cogvideox_condition_latents`, on the CPU so that every device draws the same."""
    return torch.Generator("cpu").manual_seed(CONDITION_SEED)


def video_batch(
    id_video: NDArray[np.uint8], color_video: NDArray[np.uint8], device: torch.device, dtype: torch.dtype
) -> torch.Tensor:
    """Stack two (T, H, W, 3) uint8 videos and map 0..255 to -1..1: (2, 3, T, H, W)."""
    stacked = torch.from_numpy(np.stack((id_video, color_video)))
    pixels = stacked.to(device).permute(0, 4, 1, 2, 3)  # moved as bytes, a quarter of the traffic
    return (pixels.float() / 127.5 - 1).to(dtype)


def cogvideox_condition_latents(
    vae: Any,
    id_video: NDArray[np.uint8],
    color_video: NDArray[np.uint8],
    device: torch.device,
    generator: torch.Generator,
) -> ConditionLatents:
    """Encode both videos and their first frames with CogVideoX's VAE.

    Args:
        vae: an AutoencoderKLCogVideoX; its slicing and tiling are honoured.
        id_video, color_video: (T, H, W, 3) uint8; a colour video that is off is black, and is encoded too.
        device: where the VAE runs; under offloading its weights arrive there with the call.
        generator: draws from the posterior, in the order ID, colour, ID's first frame, colour's first frame,
            however the VAE batches.

    Returns:
        (1, F, 32, h, w) each, float32.
    """
    pixels = video_batch(id_video, color_video, device, vae.dtype)
    scale = _cogvideox_scale(vae)
    videos = _posterior_samples(vae, pixels, generator)
    first_frames = _posterior_samples(vae, pixels[:, :, :1], generator)
    ids, color = assemble_cogvideox_latents(videos, first_frames, scale).split(1)
    return ConditionLatents(ids, color)


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
    vae: Any, id_video: NDArray[np.uint8], color_video: NDArray[np.uint8], device: torch.device
) -> ConditionLatents:
    """Encode both videos with Wan's VAE: the posterior's mode, normalised by the VAE's statistics.

    Args:
        vae: an AutoencoderKLWan; its slicing and tiling are honoured.
        id_video, color_video: (T, H, W, 3) uint8; a colour video that is off is black, and is encoded too.
        device: where the VAE runs.

    Returns:
        (1, C, F, h, w) each, float32.
    """
    pixels = video_batch(id_video, color_video, device, vae.dtype)
    latents = vae.encode(pixels).latent_dist.mode().float()
    mean, inverse_deviation = wan_statistics(vae, latents.device, latents.dtype)
    ids, color = ((latents - mean) * inverse_deviation).split(1)
    return ConditionLatents(ids, color)


def wan_statistics(vae: Any, device: torch.device, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean and one over the standard deviation of Wan's latents, each (1, C, 1, 1, 1)."""
    shape = (1, vae.config.z_dim, 1, 1, 1)
    mean = torch.tensor(vae.config.latents_mean).view(shape).to(device, dtype)
    return mean, 1.0 / torch.tensor(vae.config.latents_std).view(shape).to(device, dtype)


def _cogvideox_scale(vae: Any) -> float:
    factor = vae.config.scaling_factor
    return 1 / factor if vae.config.invert_scale_latents else factor


def _posterior_samples(vae: Any, pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Encode in one batch, then draw video by video: the draws do not depend on how the VAE batches."""
    posterior = vae.encode(pixels).latent_dist
    samples = []
    for mean, deviation in zip(posterior.mean.float(), posterior.std.float(), strict=True):
        noise = randn_tensor(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
        samples.append(mean + deviation * noise)
    return torch.stack(samples)  # (B, C, F, h, w)
