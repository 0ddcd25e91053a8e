"""The shapes of the released base models, and FLOP-matched small ones that a CPU can run.

The configurations are those of the base models' own config.json files (CogVideoX-5B-I2V and
Wan2.2-TI2V-5B in diffusers' layout), written down so that costs can be computed without any weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from flextraj_backend.models.backbone import Backbone, TokenGrid

CONTROLNET_DEPTH_SHARE = 18 / 42
"""Share of the blocks that a ControlNet-style control copies: 18 of 42, as Diffusion as Shader does."""


@dataclass(frozen=True)
class TransformerShape:
    """A transformer and the video it works on.

    Attributes:
        backbone: which class takes `config`.
        config: keyword arguments of diffusers' transformer class.
        grid: tokens of one stream.
        text_tokens: length of the text embeddings.
        rank: rank of the control LoRA.
    """

    backbone: Backbone
    config: Mapping[str, Any]
    grid: TokenGrid
    text_tokens: int
    rank: int

    @property
    def layers(self) -> int:
        return self.config["num_layers"]

    @property
    def hidden_size(self) -> int:
        return self.config["num_attention_heads"] * self.config["attention_head_dim"]

    @property
    def text_size(self) -> int:
        """Width of the text encoder's embeddings."""
        return self.config["text_embed_dim" if self.backbone is Backbone.COGVIDEOX else "text_dim"]

    @property
    def controlnet_blocks(self) -> int:
        """Blocks that the ControlNet-style control copies: 18 of 42 on CogVideoX, 13 of 30 on Wan."""
        return max(1, round(self.layers * CONTROLNET_DEPTH_SHARE))

    def with_layers(self, layers: int) -> TransformerShape:
        """The same transformer with fewer or more blocks."""
        return replace(self, config=MappingProxyType({**self.config, "num_layers": layers}))


def _cogvideox(
    *, heads: int, layers: int, grid: TokenGrid, text_tokens: int, text_size: int, rank: int
) -> TransformerShape:
    config = {
        "num_attention_heads": heads,
        "attention_head_dim": 64,
        "in_channels": 32,
        "out_channels": 16,
        "time_embed_dim": 512,
        "text_embed_dim": text_size,
        "num_layers": layers,
        "sample_width": 2 * grid.width,
        "sample_height": 2 * grid.height,
        "sample_frames": 4 * (grid.frames - 1) + 1,
        "max_text_seq_length": text_tokens,
        "use_rotary_positional_embeddings": True,
        "use_learned_positional_embeddings": True,
    }
    return TransformerShape(Backbone.COGVIDEOX, MappingProxyType(config), grid, text_tokens, rank)


def _wan(
    *,
    heads: int,
    layers: int,
    feed_forward: int,
    grid: TokenGrid,
    text_tokens: int,
    text_size: int,
    rank: int,
) -> TransformerShape:
    config = {
        "patch_size": (1, 2, 2),
        "num_attention_heads": heads,
        "attention_head_dim": 128,
        "in_channels": 48,
        "out_channels": 48,
        "text_dim": text_size,
        "freq_dim": 256,
        "ffn_dim": feed_forward,
        "num_layers": layers,
        "cross_attn_norm": True,
        "qk_norm": "rms_norm_across_heads",
        "eps": 1e-6,
    }
    return TransformerShape(Backbone.WAN, MappingProxyType(config), grid, text_tokens, rank)


RELEASED: Mapping[Backbone, TransformerShape] = MappingProxyType(
    {
        # 49x480x720: latents 13x60x90. The control's rank is the published trainer's default.
        Backbone.COGVIDEOX: _cogvideox(
            heads=48, layers=42, grid=TokenGrid(13, 30, 45), text_tokens=226, text_size=4096, rank=64
        ),
        # 49x480x832: latents 13x30x52.
        Backbone.WAN: _wan(
            heads=24,
            layers=30,
            feed_forward=14336,
            grid=TokenGrid(13, 15, 26),
            text_tokens=512,
            text_size=4096,
            rank=128,
        ),
    }
)
"""The released models at the size and length of the published runs."""

SCALED_DOWN: Mapping[Backbone, TransformerShape] = MappingProxyType(
    {
        # Divided by eight: width 3072 -> 384, tokens 17550 -> 2197, text 226 -> 28, rank 64 -> 8.
        Backbone.COGVIDEOX: _cogvideox(
            heads=6, layers=7, grid=TokenGrid(13, 13, 13), text_tokens=28, text_size=512, rank=8
        ),
        # Divided by six: width 3072 -> 512 and 14336 -> 2392, tokens 5070 -> 845, text 512 -> 85.
        Backbone.WAN: _wan(
            heads=4,
            layers=7,
            feed_forward=2392,
            grid=TokenGrid(13, 5, 13),
            text_tokens=85,
            text_size=680,
            rank=21,
        ),
    }
)
"""Tokens and width shrunk by one factor, so that attention and linear layers keep their shares of the work.

Seven blocks, because three of them are the share that the ControlNet-style control copies."""
