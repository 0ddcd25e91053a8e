"""Other colours and directions of a clip, so that few clips serve as many."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Self

import numpy as np
from numpy.typing import NDArray

CHANNEL_ORDERS = tuple(permutations(range(3)))


@dataclass(frozen=True)
class Turn:
    """What is done to a clip.

    Attributes:
        mirrored: left becomes right.
        reversed_in_time: it is played backwards.
        channels: which colour channel becomes red, green and blue.
    """

    mirrored: bool
    reversed_in_time: bool
    channels: tuple[int, ...]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Self:
        """Each with probability 1/2, and any order of the channels."""
        mirrored, reversed_in_time = bool(rng.random() < 0.5), bool(rng.random() < 0.5)
        return cls(mirrored, reversed_in_time, CHANNEL_ORDERS[rng.integers(len(CHANNEL_ORDERS))])

    def video(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The turned video. (T, H, W, 3)"""
        return np.ascontiguousarray(self.masks(frames)[..., self.channels])

    def masks(self, masks: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Masks of the turned video. (T, H, W)"""
        step = -1 if self.reversed_in_time else 1
        return masks[::step, :, :: -1 if self.mirrored else 1]
