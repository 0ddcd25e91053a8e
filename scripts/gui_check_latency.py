"""How long the window of Blender is kept waiting, and by whom.

The side in Blender only. A timer that wants to be called every millisecond notes the gaps between its
calls. What FlexTraj does within a gap is measured apart, and `frame_set` within that apart again; the rest of
a gap is Blender's drawing, slow without a graphics card, and other processes on the machine.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import bpy
from gui_check_tools import MODULE

MOST_STALL_MS = 100.0
_BEAT = 0.001


@dataclass
class Gap:
    """Time between two beats, in milliseconds."""

    total: float
    frame_set: float
    own: dict[str, float]

    @property
    def stall(self) -> float:
        """What FlexTraj takes of it, apart from `frame_set`."""
        return sum(self.own.values())

    @property
    def cause(self) -> str:
        return max(self.own, key=lambda name: self.own[name]) if self.own else "nothing"


@dataclass
class Heartbeat:
    """Collects gaps while it beats."""

    gaps: list[Gap] = field(default_factory=list)
    _last: float = 0.0
    _frame_set: float = 0.0
    _own: dict[str, float] = field(default_factory=dict)
    _depth: int = 0

    def beat(self) -> float:
        now = time.monotonic()
        if self._last:
            self.gaps.append(Gap(1000 * (now - self._last), self._frame_set, self._own))
        self._last, self._frame_set, self._own = now, 0.0, {}
        return _BEAT

    def summary(self) -> dict[str, Any]:
        """The distribution of the gaps and of what FlexTraj takes of them, in milliseconds."""
        gaps = [gap for gap in self.gaps if gap.total > 2 * 1000 * _BEAT]
        worst = max(gaps, key=lambda gap: gap.stall)
        return {
            "largest_stall_by_flextraj_ms": round(worst.stall, 1),
            "its_cause": worst.cause,
            "stalls_by_flextraj_ms": _distribution([gap.stall for gap in gaps]),
            "frame_set_ms": _distribution([gap.frame_set for gap in gaps]),
            "gaps_of_the_window_ms": _distribution([gap.total for gap in gaps]),
        }

    @contextmanager
    def measuring(self) -> Iterator[Heartbeat]:
        """Beat, with clocks at the places where Blender calls FlexTraj."""
        modules, undo = sys.modules, []

        def clock(owner: Any, name: str, label: str) -> None:
            original = owner.__dict__[name] if isinstance(owner, type) else getattr(owner, name)
            undo.append(functools.partial(setattr, owner, name, original))
            setattr(owner, name, self._clocked(original, label))

        clock(modules[f"{MODULE}.bridge.shot_sampling"], "evaluate_frame", "")
        clock(modules[f"{MODULE}.operators.modal_sampling"].SamplingOperator, "modal", "sampling")
        clock(modules[f"{MODULE}.overlay.viewport"].ViewportOverlay, "_draw", "drawing points")
        clock(modules[f"{MODULE}.session"], "poll_once", "collecting reports")
        for name in dir(bpy.types):
            if name.startswith("FLEXTRAJ_PT_") and "draw" in vars(getattr(bpy.types, name)):
                clock(getattr(bpy.types, name), "draw", "drawing panels")
        beat = self.beat  # Blender knows a timer's function by its identity
        bpy.app.timers.register(beat, persistent=True)
        try:
            yield self
        finally:
            bpy.app.timers.unregister(beat)
            for restore in undo:
                restore()

    def _clocked(self, original: Any, label: str) -> Any:
        """The same function with a clock; an empty label is `frame_set`, which runs inside of others."""

        def clocked(*arguments: Any) -> Any:
            started, frame_set = time.monotonic(), self._frame_set
            self._depth += 1
            try:
                return original(*arguments)
            finally:
                self._depth -= 1
                passed = 1000 * (time.monotonic() - started)
                if not label:
                    self._frame_set += passed
                elif self._depth == 0:
                    inside = self._frame_set - frame_set
                    self._own[label] = self._own.get(label, 0.0) + passed - inside

        # Blender counts the arguments that a method names.
        named = {
            2: lambda panel, context: clocked(panel, context),
            3: lambda operator, context, event: clocked(operator, context, event),
        }
        return named.get(original.__code__.co_argcount, clocked)


def _distribution(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    places = {"median": 0.5, "p95": 0.95, "largest": 1.0}
    shown = {name: ordered[round(place * (len(ordered) - 1))] for name, place in places.items()}
    return {name: round(value, 1) for name, value in shown.items()} | {"count": len(ordered)}
