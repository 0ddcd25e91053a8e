"""Floating-point operations of the two VAEs, from their configurations alone.

A walk over the convolutions with the number of places that each of them visits; a multiply-add counts as two.
It reproduces model_facts.md C: 149 and 315 TF for CogVideoX at 49x480x720, 69 and 362 TF for Wan at
49x480x832.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from flextraj_backend.models.backbone import Backbone

_CUBE, _SQUARE, _TIME, _POINT = 27, 9, 3, 1
"""Kernel sizes: 3x3x3, 3x3, 3x1x1, 1x1x1."""


@dataclass(frozen=True)
class _Raster:
    """The places of a feature map."""

    frames: int
    height: int
    width: int

    @property
    def places(self) -> int:
        return self.frames * self.height * self.width

    @property
    def half_size(self) -> _Raster:
        return _Raster(self.frames, self.height // 2, self.width // 2)

    @property
    def half_time(self) -> _Raster:
        return _Raster((self.frames + 1) // 2, self.height, self.width)


def vae_encode_flops(
    backbone: Backbone, config: Mapping[str, Any], frames: int, height: int, width: int
) -> float:
    """Encoding one video.

    Args:
        config: keyword arguments of the backbone's VAE class.
        frames, height, width: of the video.
    """
    video = _Raster(frames, height, width)
    walk = _cogvideox_encoder if backbone is Backbone.COGVIDEOX else _wan_encoder
    return float(sum(walk(config, video)))


def vae_decode_flops(
    backbone: Backbone, config: Mapping[str, Any], frames: int, height: int, width: int
) -> float:
    """Decoding one video; arguments as for `vae_encode_flops`."""
    if backbone is Backbone.COGVIDEOX:
        step = config["temporal_compression_ratio"]
        if step > 1 and (frames - 1) // step % 2:
            frames += step  # pairs of latent frames after a first one: the last is decoded twice, and cut off
    video = _Raster(frames, height, width)
    walk = _cogvideox_decoder if backbone is Backbone.COGVIDEOX else _wan_decoder
    return float(sum(walk(config, video)))


def _conv(inputs: int, outputs: int, kernel: int, raster: _Raster) -> int:
    return 2 * inputs * outputs * kernel * raster.places


def _residual(inputs: int, outputs: int, raster: _Raster) -> int:
    shortcut = _conv(inputs, outputs, _POINT, raster) if inputs != outputs else 0
    return _conv(inputs, outputs, _CUBE, raster) + _conv(outputs, outputs, _CUBE, raster) + shortcut


def _cogvideox_encoder(config: Mapping[str, Any], raster: _Raster) -> Iterator[int]:
    channels = config["block_out_channels"]
    yield _conv(config["in_channels"], channels[0], _CUBE, raster)
    inputs = channels[0]
    for level, outputs in enumerate(channels):
        for _ in range(config["layers_per_block"]):
            yield _residual(inputs, outputs, raster)
            inputs = outputs
        if level < len(channels) - 1:
            raster = raster.half_time if level < _time_levels(config) else raster
            raster = raster.half_size
            yield _conv(outputs, outputs, _SQUARE, raster)
    yield 2 * _residual(inputs, inputs, raster)
    yield _conv(inputs, 2 * config["latent_channels"], _CUBE, raster)


def _cogvideox_decoder(config: Mapping[str, Any], video: _Raster) -> Iterator[int]:
    channels, latent = config["block_out_channels"], config["latent_channels"]
    levels = [video]
    for level in range(len(channels) - 1):
        finer = levels[-1]
        compresses = level >= len(channels) - 1 - _time_levels(config)
        levels.append((finer.half_time if compresses else finer).half_size)
    levels.reverse()

    def modulated(inputs: int, outputs: int, raster: _Raster) -> int:
        """A residual block whose two norms are scaled and shifted by the latents."""
        norms = 2 * (_conv(latent, inputs, _POINT, raster) + _conv(latent, outputs, _POINT, raster))
        return _residual(inputs, outputs, raster) + norms

    inputs = channels[-1]
    yield _conv(latent, inputs, _CUBE, levels[0])
    yield 2 * modulated(inputs, inputs, levels[0])
    for level, outputs in enumerate(reversed(channels)):
        for _ in range(config["layers_per_block"] + 1):
            yield modulated(inputs, outputs, levels[level])
            inputs = outputs
        if level < len(channels) - 1:
            yield _conv(outputs, outputs, _SQUARE, levels[level + 1])
    yield 2 * _conv(latent, inputs, _POINT, video)
    yield _conv(inputs, config["out_channels"], _CUBE, video)


def _time_levels(config: Mapping[str, Any]) -> int:
    """Levels that compress time by two."""
    return int(config["temporal_compression_ratio"]).bit_length() - 1


def _wan_levels(config: Mapping[str, Any], video: _Raster) -> list[_Raster]:
    """Rasters from the patched video down to the latents."""
    patch = config["patch_size"] or 1
    levels = [_Raster(video.frames, video.height // patch, video.width // patch)]
    for compresses_time in config["temperal_downsample"]:
        coarser = levels[-1].half_size
        levels.append(coarser.half_time if compresses_time else coarser)
    return levels


def _wan_encoder(config: Mapping[str, Any], video: _Raster) -> Iterator[int]:
    levels = _wan_levels(config, video)
    base, latent = config["base_dim"], config["z_dim"]
    channels = [base * factor for factor in (1, *config["dim_mult"])]
    yield _conv(config["in_channels"], channels[0], _CUBE, levels[0])
    for level, (inputs, outputs) in enumerate(pairwise(channels)):
        for _ in range(config["num_res_blocks"]):
            yield _residual(inputs, outputs, levels[level])
            inputs = outputs
        if level + 1 < len(levels):
            spatial = levels[level].half_size
            yield _conv(outputs, outputs, _SQUARE, spatial)
            if config["temperal_downsample"][level]:
                yield _conv(outputs, outputs, _TIME, _without_first(levels[level + 1]))
    yield from _wan_middle(channels[-1], levels[-1])
    yield _conv(channels[-1], 2 * latent, _CUBE, levels[-1])
    yield _conv(2 * latent, 2 * latent, _POINT, levels[-1])


def _wan_decoder(config: Mapping[str, Any], video: _Raster) -> Iterator[int]:
    levels = list(reversed(_wan_levels(config, video)))
    base, latent = config["decoder_base_dim"] or config["base_dim"], config["z_dim"]
    factors = config["dim_mult"]
    channels = [base * factor for factor in (factors[-1], *reversed(factors))]
    expands_time = list(reversed(config["temperal_downsample"]))
    yield _conv(latent, latent, _POINT, levels[0])
    yield _conv(latent, channels[0], _CUBE, levels[0])
    yield from _wan_middle(channels[0], levels[0])
    for level, (inputs, outputs) in enumerate(pairwise(channels)):
        for _ in range(config["num_res_blocks"] + 1):
            yield _residual(inputs, outputs, levels[level])
            inputs = outputs
        if level + 1 < len(levels):
            if expands_time[level]:
                yield _conv(outputs, 2 * outputs, _TIME, _without_first(levels[level]))
            yield _conv(outputs, outputs, _SQUARE, levels[level + 1])
    yield _conv(channels[-1], config["out_channels"], _CUBE, levels[-1])


def _wan_middle(channels: int, raster: _Raster) -> Iterator[int]:
    """Two residual blocks around one attention within each frame."""
    yield 2 * _residual(channels, channels, raster)
    yield _conv(channels, 3 * channels, _POINT, raster) + _conv(channels, channels, _POINT, raster)
    yield 4 * channels * raster.places * raster.height * raster.width


def _without_first(raster: _Raster) -> _Raster:
    """The first frame stays a frame of its own: time convolutions leave it out."""
    return _Raster(raster.frames - 1, raster.height, raster.width)
