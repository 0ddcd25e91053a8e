"""`flextraj mini`: makes the small demonstration model from nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from flextraj_backend.mini.build import MiniProgress

NAME = "mini"


def command(
    size: str = typer.Argument(
        "cpu", help="A size of the configuration file: cpu (two hours on two cores) or gpu."
    ),
    output: Path = typer.Option(
        ..., "-o", "--output", metavar="DIR", help="Folder of the run; one that was interrupted goes on."
    ),
    config: Path | None = typer.Option(
        None, "--config", metavar="FILE", help="Your own configuration. Default: the one in the package."
    ),
    workers: int | None = typer.Option(
        None, min=1, max=64, help="Blender processes that make the clips. Default: one a processor."
    ),
) -> None:
    """Make a mini FlexTraj: clips, autoencoder, image-to-video base, and the control by the curriculum.

    The result is the folder DIR/mini, which the mini engine loads (flextraj weights use mini).
    """
    from flextraj_backend.mini.build import build_mini
    from flextraj_backend.mini.settings import BUNDLED, read_settings
    from flextraj_backend.synthesis.run_reports import BarReporter
    from flextraj_backend.training.denormals import flushed_denormals

    settings = read_settings(size, config or BUNDLED)
    console = Console(stderr=True)
    bar = _TrainingBar(console)
    try:
        reporter = BarReporter(console)
        with flushed_denormals():
            folder = build_mini(settings, output, workers or os.cpu_count() or 1, reporter, bar.advance)
    finally:
        bar.stop()
    typer.echo(f"{folder}: set FLEXTRAJ_MINI_DIR to it, and the mini engine uses it.")


class _TrainingBar:
    """One line for the phase at work; a phase that ends stays above."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description:>12}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} {task.fields[figures]}"),
            TimeRemainingColumn(),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}

    def stop(self) -> None:
        self._progress.stop()

    def advance(self, progress: MiniProgress) -> None:
        # Not earlier: while the clips are made, theirs is the bar that is shown.
        self._progress.start()
        if progress.phase not in self._tasks:
            self._tasks[progress.phase] = self._progress.add_task(progress.phase, figures="")
        figures = " ".join(
            f"{name} {value:.4f}"
            for name, value in progress.figures.items()
            if name not in ("step", "seconds")
        )
        self._progress.update(
            self._tasks[progress.phase], completed=progress.step, total=progress.steps, figures=figures
        )
