"""Which condition tokens sparse control computes with: those a trajectory touches, and a few for the rest.

Background tokens cannot just be left out. Each says little, but together they take most of the attention that
the control was trained with. So a sample of them stays, and each of it counts for many: its logits get a bias
of log(background tokens / representatives), in the main stream and in the condition's own attention. All kept
tokens keep their places on the grid, and with them their positional encodings.

It stays an approximation, and pruning is off unless it is asked for. Error of a prediction as a share of the
control's whole effect, on toy transformers with random weights and a background that is constant but for some
noise (grids of 1400 and 6336 tokens, 5 to 20 % occupied; even attention / queries five times as large; means
over seeds):

| | CogVideoX | Wan |
|---|---|---|
| background left out | 88-96 / 75-91 % | 95-98 / 71-93 % |
| 64 representatives | 4 / 16-19 % | 3-4 / 8-17 % |
| 128 | 2-3 / 11-14 % | 2 / 6-10 % |
| 256 | 1-2 / 7-10 % | 1 / 4-6 % |

Their number decides, not their share, as for any sample; hence it is fixed. Without the bias in the
condition's own attention, errors grow up to twofold on CogVideoX and fivefold on Wan. Encoding with all
tokens and pruning the cache afterwards gains nothing, averaging values next to nothing, and averaging keys
loses. A background of pure noise, which a black video is not, is represented badly: errors of 25 to 90 %.
What released weights lose has to be looked at with them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from flextraj_backend.models.backbone import TokenGrid

DEFAULT_DILATION = 1
"""Tokens around an occupied one that are kept too: the VAE's convolutions spread an edge that far."""
REPRESENTATIVES = 256
"""Background tokens that stay, at most."""
_LARGEST_SHARE = 1 / 4
"""Of a small background that stays, at most."""
_GOLDEN_SECTION = (5**0.5 - 1) / 2


@dataclass(frozen=True, eq=False)
class KeptTokens:
    """A choice of condition tokens, in host memory.

    Attributes:
        occupied: (K,) int64, ascending places on the grid, which count once each.
        representatives: (R,) int64, ascending places of background tokens, which count for the whole
            background; without any, the background is left out.
    """

    occupied: torch.Tensor
    representatives: torch.Tensor

    @classmethod
    def choose(
        cls, occupied: torch.Tensor, grid: TokenGrid, representatives: int = REPRESENTATIVES
    ) -> KeptTokens:
        """Keep these tokens, (K,) int64, ascending, and at most that many representatives of all others.

        One stands for each run of neighbours in the grid's order; where in the run, follows the golden
        section, so that they do not line up in columns. The same tokens give the same representatives.
        """
        background = np.setdiff1d(np.arange(grid.tokens), occupied.numpy())
        count = min(representatives, math.ceil(len(background) * _LARGEST_SHARE))
        if count == len(background):
            return cls(torch.from_numpy(np.arange(grid.tokens)), torch.from_numpy(background[:0]))
        runs = np.arange(count + 1) * len(background) // count
        within = np.arange(count) * _GOLDEN_SECTION % 1
        chosen = background[runs[:-1] + (within * np.diff(runs)).astype(np.int64)]
        return cls(occupied, torch.from_numpy(chosen))

    @cached_property
    def places(self) -> torch.Tensor:
        """All kept tokens in the order in which they are computed with. (K + R,) int64"""
        return torch.cat([self.occupied, self.representatives])

    @property
    def count(self) -> int:
        """K + R."""
        return len(self.occupied) + len(self.representatives)

    def share(self, grid: TokenGrid) -> float:
        """Of the grid's tokens, in [0, 1]."""
        return self.count / grid.tokens

    def weight(self, grid: TokenGrid) -> float:
        """How many background tokens a representative counts for, at least 1."""
        return (grid.tokens - len(self.occupied)) / max(1, len(self.representatives))

    def check(self, grid: TokenGrid) -> None:
        """Raises ValueError if these are no places of the grid."""
        groups = (self.occupied, self.representatives)
        ascending = all(
            places.dtype == torch.int64 and places.ndim == 1 and bool((places.diff() > 0).all())
            for places in groups
        )
        on_grid = all(bool(((places >= 0) & (places < grid.tokens)).all()) for places in groups)
        if not (ascending and on_grid and len(self.places.unique()) == self.count):
            raise ValueError(
                f"The kept tokens must be ascending places on the grid {grid}, each of them once."
            )


def kept_tokens(id_video: NDArray[np.uint8], grid: TokenGrid) -> KeptTokens:
    """The tokens that an ID video occupies, and representatives of the others; see `occupied_tokens`."""
    return KeptTokens.choose(occupied_tokens(id_video, grid), grid)


def occupied_tokens(
    id_video: NDArray[np.uint8], grid: TokenGrid, *, dilation: int = DEFAULT_DILATION
) -> torch.Tensor:
    """Indices of the condition tokens on which the ID video is painted, and of their neighbours.

    A token covers a rectangle of pixels (16 px square on CogVideoX, 32 px on Wan) and one group of frames:
    the VAEs are causal, so the first latent frame holds one frame and each later one the next ones (four of
    the released models').
    The colour video is painted nowhere else, so that its occupied tokens are among these.

    Args:
        id_video: (T, H, W, 3) uint8, black where no trajectory is.
        grid: the tokens of the stream; T - 1 must be a multiple of its frames - 1, H and W multiples of its
            height and width.
        dilation: tokens added around each occupied one, along rows and columns of its own latent frame.

    Returns:
        (K,) int64, sorted, in the grid's order (f, h, w), 1 <= K <= grid.tokens. A video without a painted
        pixel keeps every token: there is no control to concentrate on, and black videos are what the control
        was trained with.

    Raises:
        ValueError: the video does not fit the grid, or a negative dilation.
    """
    if dilation < 0:
        raise ValueError(f"The dilation must not be negative, got {dilation}.")
    painted = _frames_by_token(id_video, grid).any(axis=(2, 4))  # (T, h, w)
    groups = np.zeros((grid.frames, grid.height, grid.width), bool)
    groups[0] = painted[0]
    if grid.frames > 1:
        per_latent_frame = (len(painted) - 1) // (grid.frames - 1)
        later = painted[1:].reshape(grid.frames - 1, per_latent_frame, grid.height, grid.width)
        groups[1:] = later.any(axis=1)
    if not groups.any():
        return torch.arange(grid.tokens)
    return torch.from_numpy(np.flatnonzero(_dilate(groups, dilation)))


def _frames_by_token(id_video: NDArray[np.uint8], grid: TokenGrid) -> NDArray[np.bool_]:
    """Painted pixels, cut into the grid's rectangles: (T, h, rows of a token, w, columns of a token)."""
    frames, height, width, channels = id_video.shape
    if channels != 3 or height % grid.height or width % grid.width or not _fits_causally(frames, grid.frames):
        raise ValueError(
            f"A video of {frames} frames, {width}x{height}, {channels} channels does not divide into "
            f"{grid} condition tokens: render it at the size and frame count of the generation."
        )
    token_height, token_width = height // grid.height, width // grid.width
    return id_video.any(axis=3).reshape(frames, grid.height, token_height, grid.width, token_width)


def _fits_causally(frames: int, latent_frames: int) -> bool:
    if latent_frames == 1:
        return frames == 1
    return frames > 1 and (frames - 1) % (latent_frames - 1) == 0


def _dilate(occupied: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """Grow by `reach` tokens along rows and columns (a square), each latent frame for itself. (F, h, w)"""
    for axis in (1, 2):
        padding = [(reach, reach) if axis == other else (0, 0) for other in range(3)]
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(occupied, padding), 2 * reach + 1, axis)
        occupied = windows.any(axis=-1)
    return occupied
