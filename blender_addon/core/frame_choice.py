"""Which frames of a shot keep their points when an animator chooses them: from times to indices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

import numpy as np

_SLACK = 1e-6
"""Scene frames are rounded to this precision when a shot is sampled."""


class FrameChoice(StrEnum):
    """How the frames with points are chosen; the first and the last always belong to them."""

    SHARE = "share"
    """A fraction of all, evenly spread."""
    EVERY_NTH = "every_nth"
    KEYFRAMES = "keyframes"
    """Those nearest to the animator's keyframes."""
    MARKERS = "markers"
    """Those nearest to the timeline's markers."""


def every_nth(frame_count: int, step: int) -> tuple[int, ...]:
    """Indices of the first frame, every `step`-th after it, and the last.

    Args:
        frame_count: at least 1.
        step: at least 1; beyond the shot, first and last stay.
    """
    return tuple(sorted({*range(0, frame_count, step), frame_count - 1}))


def frames_at(source_frames: Sequence[float], times: Iterable[float]) -> tuple[int, ...]:
    """Indices of the frames nearest to the given times, and of the first and the last.

    Times outside of the shot have no frame; of two frames equally near the earlier one is taken.

    Args:
        source_frames: (T) ascending scene frames of the shot.
        times: scene frames, in any order.

    Returns:
        Ascending indices, each once.
    """
    frames = np.asarray(source_frames, dtype=np.float64)  # (T,)
    wanted = np.array([time for time in times if np.isfinite(time)], dtype=np.float64)  # (K,)
    wanted = wanted[(wanted >= frames[0] - _SLACK) & (wanted <= frames[-1] + _SLACK)]
    middles = (frames[1:] + frames[:-1]) / 2
    nearest = np.searchsorted(middles, wanted, side="left")
    return tuple(np.unique([0, *nearest.tolist(), len(frames) - 1]).tolist())
