"""Progress of a long run: a bar for each phase on a terminal, now and then a line in a file."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

_LINE_SECONDS = 60.0
"""Least time between two lines of a phase."""


class PhaseBar:
    """One line for the phase at work; a phase that ends stays above.

    Nothing is shown before the first `advance`: until then the console may belong to another bar. A console
    that is no terminal, such as the log of a run in the background, gets a line at the start and the end of
    each phase and one a minute in between.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._clock = console, clock
        self._progress = Progress(
            TextColumn("{task.description:>16}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[detail]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            get_time=clock,
        )
        self._tasks: dict[str, TaskID] = {}
        self._last_line = (-_LINE_SECONDS, "", -1)

    def __enter__(self) -> PhaseBar:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Leave the bars as they are."""
        self._progress.stop()

    def note(self, sentence: str) -> None:
        """A sentence above the bars."""
        self._console.print(sentence, highlight=False, soft_wrap=True)

    def advance(self, phase: str, step: int, total: int | None = None, detail: str = "") -> None:
        """Show that `step` of `total` steps of the phase are done, and `detail` beside it.

        A phase whose `total` is not known yet is only named.
        """
        self._progress.start()
        if phase not in self._tasks:
            self._tasks[phase] = self._progress.add_task(phase, total=None, detail="")
        self._progress.update(self._tasks[phase], completed=step, total=total, detail=detail)
        if not self._console.is_terminal:
            self._write_line(phase, step, total, detail)

    def _write_line(self, phase: str, step: int, total: int | None, detail: str) -> None:
        now, (then, last_phase, last_step) = self._clock(), self._last_line
        is_end = step == total and step != last_step
        if phase == last_phase and not is_end and now - then < _LINE_SECONDS:
            return
        self._last_line = now, phase, step
        task = next(task for task in self._progress.tasks if task.id == self._tasks[phase])
        left = task.time_remaining
        parts = [phase if total is None else f"{phase} {step}/{total}", detail]
        if left is not None and step != total:
            parts.append(f"{timedelta(seconds=int(left))} left")
        self.note(", ".join(part for part in parts if part))
