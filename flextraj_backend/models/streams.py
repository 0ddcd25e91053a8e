"""The two token streams, and which LoRA acts on which.

The main stream carries text and noise and runs on the base weights; style or few-step LoRAs of the user act
on it. The condition stream carries the trajectories and runs on the base weights and the control's LoRA
alone (conventions 2.1). The control is no active adapter in peft's sense: the user's `set_adapters`,
`disable_lora` and LoRA scales reach the other LoRAs only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from blender_addon.core.errors import ErrorCode, FlexTrajError

CONDITION_ADAPTER = "flextraj"
"""peft's name of the control's LoRA."""


class Stream(StrEnum):
    """Whose tokens are being computed."""

    MAIN = "main"
    CONDITION = "condition"


def stream_linear(layer: Any, x: torch.Tensor, stream: Stream) -> torch.Tensor:
    """A linear layer as one stream sees it. (B, N, C) to (B, N, C')

    Only `base_layer` and the LoRA's own layers are called, so that quantised and offloaded weights work.
    """
    if stream is Stream.MAIN:
        return _main_linear(layer, x)
    base = base_linear(layer, x)
    if not has_control(layer):
        return base
    down, up = layer.lora_A[CONDITION_ADAPTER], layer.lora_B[CONDITION_ADAPTER]
    # Not layer.scaling: that is where a user's adapter weights go.
    scale = layer.lora_alpha[CONDITION_ADAPTER] / layer.r[CONDITION_ADAPTER]
    return base + (up(down(x.to(down.weight.dtype))) * scale).to(base.dtype)


def _main_linear(layer: Any, x: torch.Tensor) -> torch.Tensor:
    if has_control(layer) and CONDITION_ADAPTER in layer.active_adapters and not layer.disable_adapters:
        raise FlexTrajError(
            "The trajectory control's LoRA was activated for the video itself: activate only the others, "
            "with the transformer's set_adapters.",
            ErrorCode.ENGINE,
        )
    return layer(x)


def base_linear(layer: Any, x: torch.Tensor) -> torch.Tensor:
    """A linear layer without any LoRA. (B, N, C) to (B, N, C')"""
    return layer.get_base_layer()(x) if isinstance(layer, BaseTunerLayer) else layer(x)


def has_control(layer: nn.Module) -> bool:
    """Whether a layer has the control's LoRA."""
    return isinstance(layer, LoraLayer) and CONDITION_ADAPTER in layer.lora_A


@contextmanager
def muted_adapters(module: nn.Module) -> Iterator[None]:
    """Within, no layer of `module` applies an active LoRA when it is called."""
    layers = [layer for layer in module.modules() if isinstance(layer, BaseTunerLayer)]
    before = [layer.disable_adapters for layer in layers]
    try:
        for layer in layers:
            layer._disable_adapters = True
        yield
    finally:
        for layer, disabled in zip(layers, before, strict=True):
            layer._disable_adapters = disabled
