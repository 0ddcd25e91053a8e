"""Long shots as overlapping windows: which frames each window makes, and how they are joined.

The conditioning videos are made for the whole shot before it is cut, so a point keeps its colour, its SegID
and TrajID, through all windows. The photo of a window is the finished frame at which it starts. What does not
carry over is appearance: each window sees one generated frame of the earlier ones, so colours and details can
drift along the shot.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flextraj_backend.engines.base import EngineError


@dataclass(frozen=True)
class Window:
    """One clip of a shot.

    Attributes:
        start, stop: its frames in the shot, `stop` excluded.
        fade: frames at its start that are cross-faded with the windows before; 0 for the first window.
    """

    start: int
    stop: int
    fade: int

    @property
    def frames(self) -> slice:
        return slice(self.start, self.stop)

    def __len__(self) -> int:
        return self.stop - self.start


def plan_windows(frame_count: int, longest: int, overlap: int, frame_step: int) -> tuple[Window, ...]:
    """Cut a shot into the fewest windows of one length, evenly spread.

    Args:
        frame_count: frames of the shot.
        longest: most frames that the model makes at once.
        overlap: least frames that neighbours share; a shot that needs no windows ignores it.
        frame_step: frames of a latent frame after the first: clips have `frame_step * k + 1` frames.

    Raises:
        EngineError: a frame count that no clip has, or windows that would not advance.
    """
    for count in (frame_count, longest):
        if count < 1 or (count - 1) % frame_step:
            raise EngineError(
                f"A clip of {count} frames cannot be made: use {frame_step}k + 1 frames, such as "
                f"{12 * frame_step + 1}."
            )
    if frame_count <= longest:
        return (Window(0, frame_count, 0),)
    if not 1 <= overlap < longest:
        raise EngineError(
            f"Windows of {longest} frames cannot overlap by {overlap} frames: "
            f"choose an overlap of 1 to {longest - 1}."
        )
    steps = math.ceil((frame_count - longest) / (longest - overlap))
    starts = [round(index * (frame_count - longest) / steps) for index in range(steps + 1)]
    # The fade begins where a window starts, because there it still equals the one before.
    return tuple(Window(start, start + longest, overlap if start else 0) for start in starts)


def blend_weights(windows: tuple[Window, ...]) -> NDArray[np.float64]:
    """What each window contributes to each frame: (windows, T), each column sums to 1."""
    weights = np.zeros((len(windows), windows[-1].stop))
    for index, window in enumerate(windows):
        share = np.ones(len(window))
        share[: window.fade] = fade_in(window.fade)
        weights[:index, window.frames] *= 1 - share
        weights[index, window.frames] = share
    return weights


def fade_in(frames: int) -> NDArray[np.float64]:
    """Share of the newer window over the frames of a fade: (frames), ascending, neither 0 nor 1."""
    return np.arange(1, frames + 1) / (frames + 1)


def join(shot: NDArray[np.uint8], window: Window, clip: NDArray[np.uint8]) -> None:
    """Write a window's clip into the shot, cross-faded with what is there.

    Args:
        shot: (T, H, W, 3) uint8; filled up to the window's fade, changed in place.
        clip: (len(window), H, W, 3) uint8.
    """
    shares = fade_in(window.fade)
    for offset, share in enumerate(shares):
        before = shot[window.start + offset].astype(np.float32)
        mixed = before + np.float32(share) * (clip[offset] - before)
        shot[window.start + offset] = np.rint(mixed).astype(np.uint8)
    shot[window.start + window.fade : window.stop] = clip[window.fade :]


def window_seed(seed: int, index: int) -> int:
    """Seed of a window's noise, from 0 to 2^63 - 1; a shot of one window uses the job's own seed."""
    if index == 0:
        return seed
    words = np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))
