"""What decides how much memory and time a job of a diffusion engine takes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from blender_addon.core.model_options import CachePlace, CacheStorage


class Phase(StrEnum):
    """A part of a job with a memory peak of its own, named as in a sentence."""

    TEXT = "encoding the prompt"
    VIDEOS = "encoding the conditioning videos"
    CONDITION = "computing the condition"
    DENOISING = "denoising"
    DECODING = "decoding the video"


@dataclass(frozen=True)
class JobShape:
    """One clip, or the windows of a long shot.

    Attributes:
        frames, height, width: of one window; sides in pixels.
        steps: denoising steps.
        prompts: 2 with guidance (the prompt and the negative one), 1 without.
        strength: of the control; 0 runs the base model without a condition.
        kept_tokens: share of the condition tokens that are kept, 0 to 1, with those that stand for others.
        cache_storage, cache_place: as the user wants the condition cache.
        windows: of `frames` each, one after the other.
    """

    frames: int
    height: int
    width: int
    steps: int = 50
    prompts: int = 2
    strength: float = 1.0
    kept_tokens: float = 1.0
    cache_storage: CacheStorage = CacheStorage.MODEL
    cache_place: CachePlace = CachePlace.AUTO
    windows: int = 1

    @property
    def condition_share(self) -> float:
        """Share of the condition tokens that are computed with: none at strength 0."""
        return self.kept_tokens if self.strength > 0 else 0.0

    def __str__(self) -> str:
        return f"{self.frames} frames of {self.width}x{self.height}"
