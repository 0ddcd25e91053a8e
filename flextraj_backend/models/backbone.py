"""The base models that carry the control, and the shape of what they compute on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Backbone(StrEnum):
    """An image-to-video diffusion transformer with published control weights."""

    COGVIDEOX = "cogvideox"
    """CogVideoX-5B-I2V."""
    WAN = "wan"
    """Wan2.2-TI2V-5B."""


@dataclass(frozen=True)
class TokenGrid:
    """The tokens of one stream: latent frames, rows and columns after patching; order (f, h, w)."""

    frames: int
    height: int
    width: int

    @property
    def tokens(self) -> int:
        return self.frames * self.height * self.width

    def __str__(self) -> str:
        return f"{self.frames}x{self.height}x{self.width}"


def has_added_positions(config: Mapping[str, Any]) -> bool:
    """Whether a CogVideoX transformer adds positions to its tokens, so that it works at one size only.

    CogVideoX-5B-I2V adds learned ones, CogVideoX-2B computed ones; 1.5 has rotary positions alone.
    """
    is_rotary = config.get("use_rotary_positional_embeddings", False)
    return bool(config.get("use_learned_positional_embeddings", False) or not is_rotary)
