"""One denoising step of each way to condition a transformer, with random weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXTransformer3DModel
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch import nn

from flextraj_backend.bench.concatenation import ConcatenatedCogVideoX, ConcatenatedWan
from flextraj_backend.bench.denoise_table import OCCUPIED_SHARE, Variant
from flextraj_backend.bench.step_inputs import StepInputs, step_inputs
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.cogvideox_transformer import FlexTrajCogVideoXTransformer
from flextraj_backend.models.condition_cache import ConditionCache
from flextraj_backend.models.controlnet import ControlNetCogVideoXTransformer, ControlNetWanTransformer
from flextraj_backend.models.real_configs import RELEASED, TransformerShape
from flextraj_backend.models.token_pruning import REPRESENTATIVES, KeptTokens
from flextraj_backend.models.wan_transformer import FlexTrajWanTransformer

_STOCK = {Backbone.COGVIDEOX: CogVideoXTransformer3DModel, Backbone.WAN: WanTransformer3DModel}
_CONCATENATED = {Backbone.COGVIDEOX: ConcatenatedCogVideoX, Backbone.WAN: ConcatenatedWan}
_FLEXTRAJ = {Backbone.COGVIDEOX: FlexTrajCogVideoXTransformer, Backbone.WAN: FlexTrajWanTransformer}
_CONTROLNET = {Backbone.COGVIDEOX: ControlNetCogVideoXTransformer, Backbone.WAN: ControlNetWanTransformer}


@dataclass(frozen=True, eq=False)
class DenoisingStep:
    """A transformer with its inputs, ready to run.

    Attributes:
        run: one forward of the transformer, batch 1.
        encode: computes the condition's keys and values and lets `run` read them; None where nothing is
            cached. Call it once before `run`.
    """

    run: Callable[[], torch.Tensor]
    encode: Callable[[], ConditionCache] | None = None


def denoising_step(
    variant: Variant, shape: TransformerShape, device: torch.device, dtype: torch.dtype
) -> DenoisingStep:
    """Build the variant's transformer on the device itself, in that type, and random inputs for it."""
    inputs = step_inputs(shape, device, dtype)
    with _defaults(device, dtype):
        if variant is Variant.BASE:
            transformer = _inference(_STOCK[shape.backbone](**shape.config))
            return DenoisingStep(lambda: transformer(**inputs.arguments)[0])
        if variant is Variant.CONCAT:
            transformer = _STOCK[shape.backbone](**shape.config)
            fuse_linear = nn.Linear(shape.hidden_size, shape.hidden_size)
            peer = _inference(_CONCATENATED[shape.backbone](transformer, fuse_linear))
            return DenoisingStep(lambda: peer(inputs.condition, **inputs.arguments))
        if variant is Variant.CONTROLNET:
            transformer = _CONTROLNET[shape.backbone](**shape.config)
            transformer.add_control_blocks(shape.controlnet_blocks)
            return _joint_step(_inference(transformer), inputs)
        transformer = _FLEXTRAJ[shape.backbone](**shape.config)
        transformer.add_control(shape.rank)
        if variant is Variant.MASKED:
            return _joint_step(_inference(transformer), inputs)
        return _cached_step(_inference(transformer), inputs, _kept_tokens(variant, shape))


def _joint_step(transformer: Any, inputs: StepInputs) -> DenoisingStep:
    return DenoisingStep(lambda: transformer(**inputs.arguments, condition=inputs.condition)[0])


def _cached_step(transformer: Any, inputs: StepInputs, keep: KeptTokens | None) -> DenoisingStep:
    def encode() -> ConditionCache:
        cache = transformer.encode_condition(inputs.condition, keep=keep, **inputs.encoding)
        transformer.use_condition(cache)
        return cache

    return DenoisingStep(lambda: transformer(**inputs.arguments)[0], encode)


def _kept_tokens(variant: Variant, shape: TransformerShape) -> KeptTokens | None:
    share = OCCUPIED_SHARE[variant]
    if share == 1:
        return None
    count = round(share * shape.grid.tokens)
    # Spread evenly: which tokens are kept changes nothing about the cost.
    occupied = torch.arange(count, device="cpu") * shape.grid.tokens // count
    # A scaled-down model has fewer tokens in all; those that stand for others shrink alike.
    scale = shape.grid.tokens / RELEASED[shape.backbone].grid.tokens
    return KeptTokens.choose(occupied, shape.grid, max(1, round(REPRESENTATIVES * scale)))


@contextmanager
def _defaults(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """New parameters are made on this device in this type: no copy in float32 on the way."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            yield
    finally:
        torch.set_default_dtype(before)


def _inference(module: nn.Module) -> Any:
    """Freeze, and keep in float32 what loading with `from_pretrained` keeps in float32."""
    for child in module.modules():
        kept = getattr(child, "_keep_in_fp32_modules", None) or ()
        for name, parameter in child.named_parameters() if kept else ():
            if set(kept) & set(name.split(".")):
                parameter.data = parameter.data.float()
    return module.requires_grad_(False).eval()
