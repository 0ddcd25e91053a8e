"""The base models that carry the control, and the shape of what they compute on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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
