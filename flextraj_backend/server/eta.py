"""Time left of a job: the engine's estimate, until the main phase shows its real pace."""

from __future__ import annotations

import time
from collections.abc import Callable

_MAIN_PHASE = "rendering"
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
        self._phase = ""
        self._phase_started = self._started

    def expect(self, seconds: float) -> None:
        """The engine expects the job to take `seconds` from its start."""
        self._estimate = seconds

    def advance(self, phase: str, step: int, steps: int) -> float | None:
        """Note a step; return the seconds left, None where nothing is known."""
        now = self._clock()
        if phase != self._phase:
            self._phase, self._phase_started = phase, now
        fraction = step / steps if steps > 0 else 0.0
        if phase == _MAIN_PHASE and fraction >= _ENOUGH:
            return (now - self._phase_started) * (1 - fraction) / fraction
        if self._estimate is None:
            return None
        return max(self._estimate - (now - self._started), 0.0)
