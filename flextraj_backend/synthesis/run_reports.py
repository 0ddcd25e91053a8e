"""What a run tells: a progress bar for people, or JSON lines for programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from rich.console import Console

from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.phase_bar import PhaseBar
from flextraj_backend.synthesis.run import SynthesisProgress

_PHASE = "clips"


class ProgressStyle(StrEnum):
    """What `--progress` chooses."""

    BAR = "bar"
    JSON = "json"


class RunState(StrEnum):
    """Where a run stands, as JSON lines say it."""

    RUNNING = "running"
    DONE = "done"
    ERROR = "error"


class Reporter(Protocol):
    """Tells how a run goes: `advance` again and again, at last `end` or `fail`."""

    def advance(self, progress: SynthesisProgress) -> None: ...

    def end(self, progress: SynthesisProgress, message: str) -> None: ...

    def fail(self, error: FlexTrajError) -> None:
        """Called before an error leaves the command."""
        ...


class JsonReporter:
    """One JSON object a line."""

    def __init__(self, write_line: Callable[[str], None]) -> None:
        self._write_line = write_line
        self._last = SynthesisProgress(0, 0, 0, 0.0, None)

    def advance(self, progress: SynthesisProgress) -> None:
        self._last = progress
        self._write(RunState.RUNNING, "")

    def end(self, progress: SynthesisProgress, message: str) -> None:
        self._last = progress
        # A program must not take a data set with holes for a whole one.
        self._write(RunState.ERROR if progress.failed else RunState.DONE, message)

    def fail(self, error: FlexTrajError) -> None:
        self._write(RunState.ERROR, error.message, error.code)

    def _write(self, state: RunState, message: str, code: ErrorCode | None = None) -> None:
        last = self._last
        values = {
            "state": state.value,
            "done": last.done,
            "failed": last.failed,
            "clips": last.clips,
            "clips_per_minute": round(last.clips_per_minute, 2),
            "eta_seconds": None if last.eta_seconds is None else round(last.eta_seconds),
            "message": message,
        }
        if code is not None:
            values["code"] = code.value
        self._write_line(json.dumps(values))


class BarReporter:
    """A progress bar on a terminal; what the run did, as text below it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = PhaseBar(console)
        self._bar.advance(_PHASE, 0, detail="starting Blender")

    def advance(self, progress: SynthesisProgress) -> None:
        words = "starting Blender" if progress.done != progress.clips else ""
        if progress.clips_per_minute:
            words = f"{progress.clips_per_minute:.1f} a minute"
        if progress.failed:
            words = f"{words}, {progress.failed} failed".removeprefix(", ")
        self._bar.advance(_PHASE, progress.done, progress.clips, words)

    def end(self, progress: SynthesisProgress, message: str) -> None:
        self._bar.stop()
        self._console.print(message, highlight=False, soft_wrap=True, markup=False)

    def fail(self, error: FlexTrajError) -> None:
        # The command line prints the sentence itself.
        self._bar.stop()
