"""What a run of either pipeline starts from, works with and makes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from flextraj_backend.image_io import cover_and_crop
from flextraj_backend.models.condition import ConditionLatents
from flextraj_backend.models.pipeline_inputs import ClipShape, ConditionCaches, Texts, Video


@dataclass(frozen=True, eq=False)
class PipelineVideo:
    """What a run makes.

    Attributes:
        frames: by `output_type`: 'np' (1, T, H, W, 3) float32 from 0 to 1, 'pt' (1, T, 3, H, W), 'pil' a list
            of lists, 'latent' as the transformer denoises them.
    """

    frames: Any


@dataclass(frozen=True, eq=False)
class Denoising:
    """What a denoising loop works with.

    Attributes:
        shape: of the clip.
        noise: latents to start from, as the sampler changes them.
        photo: latents of the photo.
        texts: prompt embeddings.
        caches: the encoded condition, or None.
        every_step: further arguments of each call of the transformer: the condition if it is not cached.
        strength: of the control.
        sampler: with its timesteps set, on the CPU.
        scales: guidance scale of each step.
        generator: of the noise that the sampler adds.
        after_step: reports a finished step (step, timestep, latents); returns the latents to go on with.
    """

    shape: ClipShape
    noise: torch.Tensor
    photo: torch.Tensor
    texts: Texts
    caches: ConditionCaches | None
    every_step: dict[str, ConditionLatents]
    strength: float
    sampler: Any
    scales: tuple[float, ...]
    generator: torch.Generator
    after_step: Callable[[int, torch.Tensor, torch.Tensor], torch.Tensor]


def seeded_generator(seed: int) -> torch.Generator:
    """A generator for the noise, on the CPU so that every device makes the same video."""
    return torch.Generator("cpu").manual_seed(seed)


def fitted_photo(image: Image.Image | Video, shape: ClipShape) -> Image.Image:
    """The photo at the clip's size: scaled to cover it and cropped, never squeezed."""
    picture = np.asarray(image.convert("RGB")) if isinstance(image, Image.Image) else image
    return Image.fromarray(cover_and_crop(picture, shape.width, shape.height))
