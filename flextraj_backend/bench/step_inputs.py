"""Random inputs of one denoising step, in the shapes that a transformer's pipeline would give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.condition import ConditionLatents
from flextraj_backend.models.real_configs import TransformerShape

_TIMESTEP = 500.0
_PATCH = 2


@dataclass(frozen=True, eq=False)
class StepInputs:
    """What one forward of a transformer takes, batch 1.

    Attributes:
        arguments: keyword arguments of the stock forward.
        condition: latents of the two conditioning videos.
        encoding: keyword arguments with which the condition is encoded.
    """

    arguments: dict[str, Any]
    condition: ConditionLatents
    encoding: dict[str, Any]


def step_inputs(
    shape: TransformerShape, device: torch.device, dtype: torch.dtype, seed: int = 0
) -> StepInputs:
    """Standard-normal latents and text of that shape (uninitialised on the meta device)."""
    generator = None if device.type == "meta" else torch.Generator(device).manual_seed(seed)

    def normal(*size: int) -> torch.Tensor:
        return torch.randn(size, generator=generator, device=device, dtype=dtype)

    grid = shape.grid
    channels = shape.config["in_channels"]
    rows, columns = _PATCH * grid.height, _PATCH * grid.width
    text = normal(1, shape.text_tokens, shape.text_size)
    if shape.backbone is Backbone.COGVIDEOX:
        latents = (1, grid.frames, channels, rows, columns)
        angles = normal(grid.tokens, shape.config["attention_head_dim"]).float()
        rotary = {"image_rotary_emb": (angles.cos(), angles.sin())}
        timestep = torch.full((1,), _TIMESTEP, device=device)
        arguments, encoding = rotary, rotary
    else:
        latents = (1, channels, grid.frames, rows, columns)
        # One timestep for each token: those of the first latent frame, the photo, are clean.
        timestep = torch.full((1, grid.tokens), _TIMESTEP, device=device)
        timestep[:, : grid.height * grid.width] = 0
        arguments, encoding = {}, {"encoder_hidden_states": text}
    return StepInputs(
        arguments={
            "hidden_states": normal(*latents),
            "encoder_hidden_states": text,
            "timestep": timestep,
            "return_dict": False,
            **arguments,
        },
        condition=ConditionLatents(normal(*latents), normal(*latents)),
        encoding=encoding,
    )
