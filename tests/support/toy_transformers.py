"""Toy transformers with trajectory control, and the inputs of a prediction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from control_files import GOLDEN_DIR, golden_config, golden_control
from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXTransformer3DModel
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from safetensors.torch import load_file
from torch import nn

from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.checkpoint import load_adapter
from flextraj_backend.models.cogvideox_transformer import FlexTrajCogVideoXTransformer
from flextraj_backend.models.condition import ConditionLatents
from flextraj_backend.models.condition_cache import ConditionCache
from flextraj_backend.models.wan_transformer import FlexTrajWanTransformer

STOCK = {Backbone.COGVIDEOX: CogVideoXTransformer3DModel, Backbone.WAN: WanTransformer3DModel}
CONTROLLED = {Backbone.COGVIDEOX: FlexTrajCogVideoXTransformer, Backbone.WAN: FlexTrajWanTransformer}
RANK = 4

# Latent frames, rows and columns of the toys; patches are 2 x 2.
COGVIDEOX_SIZE = (5, 8, 12)
WAN_SIZE = (3, 8, 12)


@dataclass
class Toy:
    """A transformer, a condition, and all that a prediction needs but the timestep."""

    transformer: Any
    latents: ConditionLatents
    inputs: dict[str, Any]
    """Keyword arguments of the forward."""
    encode_inputs: dict[str, Any]
    """Keyword arguments of encode_condition."""
    timestep: Callable[[float], torch.Tensor] = field(repr=False)

    @property
    def blocks(self) -> Any:
        return self.transformer._blocks()

    def predict(self, timestep: float = 500.0, **others: Any) -> torch.Tensor:
        """(B, F, C, h, w) on CogVideoX, (B, C, F, h, w) on Wan."""
        inputs = {**self.inputs, "timestep": self.timestep(timestep), **others}
        return self.transformer(**inputs, return_dict=False)[0]

    def joint(self, timestep: float = 500.0, **others: Any) -> torch.Tensor:
        """The same with both streams in one call, without a cache."""
        return self.predict(timestep, condition=self.latents, **others)

    def encode(self, **others: Any) -> ConditionCache:
        return self.transformer.encode_condition(self.latents, **{**self.encode_inputs, **others})


def toy(backbone: Backbone, *, layers: int = 3, batch: int = 1, seed: int = 0, **config: Any) -> Toy:
    """A transformer with random weights and a random control, none of whose tensors is zero."""
    torch.manual_seed(seed)
    transformer = CONTROLLED[backbone].from_config(
        {**golden_config(backbone), "num_layers": layers, **config}
    )
    randomize(transformer)
    transformer.eval().add_control(RANK)
    for name, parameter in transformer.named_parameters():
        if ".flextraj." in name or name.startswith("fuse_linear."):
            nn.init.normal_(parameter, std=0.2)
    return with_inputs(transformer, batch=batch, seed=seed + 1)


def stock_toy(backbone: Backbone, like: Toy) -> Toy:
    """Diffusers' own transformer with the same base weights, for the same inputs."""
    transformer = STOCK[backbone].from_config(like.transformer.config)
    weights = like.transformer.state_dict()
    own = {
        name.replace(".base_layer.", "."): tensor
        for name, tensor in weights.items()
        if ".lora_" not in name and not name.startswith("fuse_linear.")
    }
    transformer.load_state_dict(own)
    return Toy(transformer.eval(), like.latents, like.inputs, like.encode_inputs, like.timestep)


def with_inputs(transformer: Any, *, batch: int = 1, seed: int = 0, frames: int | None = None) -> Toy:
    """Random inputs for a transformer with control; one condition for the whole batch."""
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    config = transformer.config
    if transformer.backbone is Backbone.COGVIDEOX:
        size_frames, height, width = frames or COGVIDEOX_SIZE[0], *COGVIDEOX_SIZE[1:]
        shape = (size_frames, config.in_channels, height, width)
        tokens = size_frames * height * width // 4
        angles = noise(tokens, config.attention_head_dim // 2).repeat_interleave(2, dim=1)
        rotary = (angles.cos(), angles.sin())
        return Toy(
            transformer,
            ConditionLatents(noise(1, *shape), noise(1, *shape)),
            {
                "hidden_states": noise(batch, *shape),
                "encoder_hidden_states": noise(batch, config.max_text_seq_length, config.text_embed_dim),
                "image_rotary_emb": rotary,
            },
            {"image_rotary_emb": rotary},
            lambda timestep: torch.full((batch,), int(timestep)),
        )
    size_frames, height, width = frames or WAN_SIZE[0], *WAN_SIZE[1:]
    shape = (config.in_channels, size_frames, height, width)
    text = noise(batch, 7, config.text_dim)
    return Toy(
        transformer,
        ConditionLatents(noise(1, *shape), noise(1, *shape)),
        {"hidden_states": noise(batch, *shape), "encoder_hidden_states": text},
        {"encoder_hidden_states": text},
        lambda timestep: wan_timesteps(timestep, batch, (size_frames, height // 2, width // 2)),
    )


def wan_timesteps(timestep: float, batch: int, grid: tuple[int, int, int]) -> torch.Tensor:
    """0 for the tokens of the first latent frame, which is the photo. (B, N)"""
    timesteps = torch.full((batch, grid[0], grid[1] * grid[2]), timestep)
    timesteps[:, 0] = 0
    return timesteps.flatten(1)


def randomize(transformer: nn.Module) -> None:
    """No parameter stays at a value, such as a bias of zero, that would hide a mistake."""
    for parameter in transformer.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)


def golden_arrays(backbone: Backbone) -> dict[str, torch.Tensor]:
    with np.load(GOLDEN_DIR / f"{backbone}_tiny.npz") as arrays:
        return {name: torch.from_numpy(np.asarray(arrays[name])) for name in arrays.files}


def golden_gradients(backbone: Backbone) -> dict[str, torch.Tensor]:
    """By the names in the control file."""
    with np.load(GOLDEN_DIR / f"{backbone}_tiny_grads.npz") as arrays:
        return {name.removeprefix("grad:"): torch.from_numpy(arrays[name]) for name in arrays.files}


def golden_toy(backbone: Backbone) -> Toy:
    """The golden transformer with its control, loaded as a user's files are."""
    arrays = golden_arrays(backbone)
    transformer = STOCK[backbone].from_config(golden_config(backbone))
    transformer.load_state_dict(load_file(GOLDEN_DIR / f"{backbone}_tiny.safetensors"))
    controlled = CONTROLLED[backbone].adopt(transformer.eval())
    load_adapter(controlled, golden_control(backbone))
    latents = ConditionLatents(arrays["id_latents"], arrays["color_latents"])
    if backbone is Backbone.WAN:
        text = {"encoder_hidden_states": arrays["text"]}
        grid = (WAN_SIZE[0], WAN_SIZE[1] // 2, WAN_SIZE[2] // 2)
        inputs = {"hidden_states": arrays["latents_t1"], **text}
        return Toy(controlled, latents, inputs, text, lambda timestep: wan_timesteps(timestep, 1, grid))
    rotary = {"image_rotary_emb": (arrays["rope_cos"], arrays["rope_sin"])}
    inputs = {
        "hidden_states": torch.cat([arrays["noisy_t1"], arrays["image_latents"]], dim=2),
        "encoder_hidden_states": arrays["text"],
        **rotary,
    }
    return Toy(controlled, latents, inputs, rotary, lambda timestep: torch.tensor([int(timestep)]))
