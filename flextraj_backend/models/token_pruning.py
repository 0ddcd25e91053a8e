"""Which condition tokens a trajectory touches, so that sparse control computes only with those.

Leaving out background tokens is an approximation, and not a small one where attention is spread evenly: the
released control was trained with all of them in the softmax. Toy transformers with random weights, whose
attention is as even as it gets, lose about nine tenths of the control's effect with 20 % of the tokens. What
trained weights keep has to be looked at with them, so pruning is off unless it is asked for. The kept tokens
keep their places on the grid, and with them their positional encodings.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from flextraj_backend.models.backbone import TokenGrid

DEFAULT_DILATION = 1
"""Tokens around an occupied one that are kept too: the VAE's convolutions spread an edge that far."""


def occupied_tokens(
    id_video: NDArray[np.uint8], grid: TokenGrid, *, dilation: int = DEFAULT_DILATION
) -> torch.Tensor:
    """Indices of the condition tokens on which the ID video is painted, and of their neighbours.

    A token covers a rectangle of pixels (16 px square on CogVideoX, 32 px on Wan) and one group of frames:
    the VAEs are causal, so the first latent frame holds one frame and each later one the next four.
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


def occupancy(kept: torch.Tensor, grid: TokenGrid) -> float:
    """The share of the grid's tokens that is kept, in (0, 1]."""
    return len(kept) / grid.tokens


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
