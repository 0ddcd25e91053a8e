"""Video autoencoders of CogVideoX's class that look at each frame alone: the same numbers in less time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import CogVideoXCausalConv3d
from torch import nn
from torch.nn.functional import conv2d


class FrameConvolution(CogVideoXCausalConv3d):
    """The causal convolution where only the present frame has weights: a plain one over each frame."""

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] (annotated wrongly there)
        self, inputs: torch.Tensor, conv_cache: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(B, C, T, H, W) to (B, C', T, H, W); there is no cache to carry on."""
        weight: Any = self.conv.weight[:, :, -1]
        frames = inputs.transpose(1, 2)  # (B, T, C, H, W)
        convolved = conv2d(frames.flatten(0, 1), weight, self.conv.bias, padding=weight.shape[-1] // 2)
        return convolved.unflatten(0, frames.shape[:2]).transpose(1, 2), None


@contextmanager
def frame_by_frame(model: nn.Module) -> Iterator[None]:
    """Within, a model that sees frames alone computes the same with two-dimensional convolutions."""
    layers = _causal_convolutions(model)
    for layer in layers:
        layer.__class__ = FrameConvolution
    try:
        yield
    finally:
        for layer in layers:
            layer.__class__ = CogVideoXCausalConv3d


def sees_frames_alone(model: nn.Module) -> bool:
    """Whether all of a model's causal convolutions, and it has some, weigh the present frame only."""
    layers = _causal_convolutions(model)
    return bool(layers) and not any(layer.conv.weight[:, :, :-1].any() for layer in layers)


def _causal_convolutions(model: nn.Module) -> list[Any]:
    return [module for module in model.modules() if type(module) is CogVideoXCausalConv3d]
