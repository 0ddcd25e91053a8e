"""The mini model's video autoencoder: CogVideoX's class at a small size, started where it learns fast.

It compresses space and not time, and looks at each frame alone: its temporal convolutions weigh the present
frame only. What a small decoder can draw of a limb that moves through four frames is a smear, and
convolutions over one frame train several times faster on a processor. The stock class runs the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import AutoencoderKLCogVideoX
from torch import nn

from flextraj_backend.mini.autoencoder_settings import AutoencoderSettings

_LOG_VARIANCE = -8.0
"""Of the posterior, fixed: the latents are regularised by their spread, not by noise."""
_CONSTANT = 6.0
_RESIDUAL_GAIN = 0.05


def build_autoencoder(settings: AutoencoderSettings, width: int, height: int) -> AutoencoderKLCogVideoX:
    """Make an untrained autoencoder for frames of `width` x `height` pixels.

    With random weights a group norm before each end removes a picture's brightness and contrast, and a small
    network needs thousands of steps to learn around it. Therefore it starts as a nearly linear network: small
    residuals, orthogonal convolutions, and before each final activation pairs of channels of opposite sign,
    for silu(x) - silu(-x) = x, beside constant ones, which keep the norm's statistics the same for every
    picture. All of it is trained.
    """
    levels = len(settings.channels)
    # diffusers annotates these settings as tuples of one.
    sizes: dict[str, Any] = {
        "block_out_channels": settings.channels,
        "down_block_types": ("CogVideoXDownBlock3D",) * levels,
        "up_block_types": ("CogVideoXUpBlock3D",) * levels,
    }
    model = AutoencoderKLCogVideoX(
        **sizes,
        layers_per_block=settings.layers,
        norm_num_groups=settings.norm_groups,
        latent_channels=settings.latent_channels,
        temporal_compression_ratio=1,
        sample_height=height,
        sample_width=width,
        scaling_factor=1.0,
        invert_scale_latents=False,
    )
    with torch.no_grad():
        _start_linear(model, settings)
    return model


@torch.no_grad()
def match_scale(model: AutoencoderKLCogVideoX, pixels: torch.Tensor) -> None:
    """Scale the untrained ends so that latents have a deviation of 1 and pictures theirs.

    Args:
        pixels: (B, 3, T, H, W) in -1..1.
    """
    channels = model.config["latent_channels"]
    end: Any = model.encoder.conv_out.conv
    latents = _mode(model, pixels)
    end.weight[:channels] /= latents.std()
    decoded: torch.Tensor = model.decode(latents / latents.std()).sample  # pyright: ignore[reportAttributeAccessIssue, reportAssignmentType]
    last: Any = model.decoder.conv_out.conv
    last.weight.mul_(pixels.std() / decoded.std())


def fix_posterior(model: AutoencoderKLCogVideoX) -> None:
    """Set the posterior's deviation to its small constant; call it after each training step."""
    channels = model.config["latent_channels"]
    end: Any = model.encoder.conv_out.conv
    with torch.no_grad():
        end.weight[channels:] = 0
        end.bias[channels:] = _LOG_VARIANCE


def _mode(model: AutoencoderKLCogVideoX, pixels: torch.Tensor) -> torch.Tensor:
    return model.encode(pixels).latent_dist.mode()  # pyright: ignore[reportAttributeAccessIssue]


@dataclass(frozen=True)
class _Layout:
    """Channels before a norm: each `plus` has a `minus` of opposite sign, `constant` ones are fixed."""

    plus: list[int]
    minus: list[int]
    constant: list[int]


def _layout(channels: int, groups: int) -> _Layout:
    size = channels // groups
    pairs = (size - 2) // 2
    layout = _Layout([], [], [])
    for first in range(0, channels, size):
        layout.plus.extend(range(first, first + pairs))
        layout.minus.extend(range(first + pairs, first + 2 * pairs))
        layout.constant.extend(range(first + 2 * pairs, first + size))
    return layout


def _start_linear(model: AutoencoderKLCogVideoX, settings: AutoencoderSettings) -> None:
    for name, layer in _convolutions(model):
        assert layer.bias is not None
        layer.bias.zero_()
        if ".conv_y" in name:
            layer.weight.zero_()
            layer.bias.fill_(1.0)
        elif ".conv_b" in name:
            layer.weight.zero_()
        elif ".conv2" in name:
            layer.weight.mul_(_RESIDUAL_GAIN)
        elif ".conv1" not in name:
            nn.init.orthogonal_(layer.weight)
        if isinstance(layer, nn.Conv3d) and layer.kernel_size[0] > 1:
            # All of the weight to the present frame, at the variance that the three frames had.
            layer.weight[:, :, -1] *= layer.kernel_size[0] ** 0.5
            layer.weight[:, :, :-1] = 0
    encoder: Any = model.encoder
    decoder: Any = model.decoder
    _pair_signs(
        _inner(encoder.down_blocks[-1].resnets[0].conv_shortcut), encoder.norm_out, encoder.conv_out, settings
    )
    _pair_signs(
        _inner(decoder.up_blocks[-1].resnets[0].conv_shortcut),
        decoder.norm_out.norm_layer,
        decoder.conv_out,
        settings,
    )
    fix_posterior(model)


def _pair_signs(before: Any, norm: nn.GroupNorm, after: Any, settings: AutoencoderSettings) -> None:
    """Make `before`, norm, SiLU and `after` together a linear map."""
    channels, groups = norm.num_channels, norm.num_groups
    layout = _layout(channels, groups)
    before.weight[layout.minus] = -before.weight[layout.plus]
    before.weight[layout.constant] = 0
    before.bias[layout.constant] = _CONSTANT
    share = len(layout.constant) / channels
    variance = _CONSTANT**2 * share * (1 - share) + 0.5 * (1 - share)
    norm.weight.fill_(variance**0.5)
    norm.bias.fill_(_CONSTANT * share)
    weight = after.conv.weight
    weight[:, layout.minus] = -weight[:, layout.plus]
    weight[:, layout.constant] = 0


def _convolutions(model: nn.Module) -> Iterator[tuple[str, nn.Conv2d | nn.Conv3d]]:
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            yield f".{name}", module


def _inner(layer: Any) -> Any:
    """The convolution inside CogVideoX's causal wrapper."""
    return layer if isinstance(layer, nn.Conv2d | nn.Conv3d) else layer.conv
