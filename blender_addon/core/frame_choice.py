"""Which frames of a shot keep their points when an animator chooses them: from times to indices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class FrameKeeping:
    """How the frames of a shot are chosen that keep their points.

    Attributes:
        choice: see `FrameChoice`.
        share: of SHARE, above 0 to 1.
        step: of EVERY_NTH, at least 1.
        times: of KEYFRAMES and MARKERS, scene frames.
    """

    choice: FrameChoice = FrameChoice.SHARE
    share: float = 1.0
    step: int = 1
    times: tuple[float, ...] = ()

    @property
    def fraction(self) -> float:
        """What a request says as `keep_frames`."""
        return self.share if self.choice is FrameChoice.SHARE else 1.0

    def indices(self, source_frames: Sequence[float]) -> tuple[int, ...] | None:
        """What a request says as `kept_frames`: None where the fraction tells it.

        Args:
            source_frames: (T) ascending scene frames of the shot.
        """
        if self.choice is FrameChoice.SHARE:
            return None
        if self.choice is FrameChoice.EVERY_NTH:
            return every_nth(len(source_frames), self.step)
        return frames_at(source_frames, self.times)


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
