"""Time left of a job: the engine's estimate, until the main phase shows its real pace."""

from __future__ import annotations

import time
from collections.abc import Callable

_MAIN_PHASES = ("rendering", "denoising")
_ENOUGH = 0.05


class EtaEstimator:
    """Follows one job.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = clock()
        self._estimate: float | None = None
        self._main_started: float | None = None

    def expect(self, seconds: float) -> None:
        """The engine expects the job to take `seconds` from its start."""
        self._estimate = seconds

    def advance(self, phase: str, step: int, steps: int) -> float | None:
        """Note a step; return the seconds left, None where nothing is known."""
        now = self._clock()
        fraction = step / steps if steps > 0 else 0.0
        if phase in _MAIN_PHASES:
            if self._main_started is None:
                self._main_started = now
            # A long shot returns to its main phase for each window and counts on; what lies between counts.
            if fraction >= _ENOUGH:
                return (now - self._main_started) * (1 - fraction) / fraction
        if self._estimate is None:
            return None
        return max(self._estimate - (now - self._started), 0.0)
