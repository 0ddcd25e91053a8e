"""`flextraj mini`: makes the small demonstration model from nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from flextraj_backend.installation import require_packages
from flextraj_backend.phase_bar import PhaseBar

if TYPE_CHECKING:
    from flextraj_backend.mini.build import MiniProgress

NAME = "mini"
_NO_FIGURES = ("step", "seconds")


def command(
    size: str = typer.Argument(
        "cpu", help="A size of the configuration file: cpu (less than two hours on two cores) or gpu."
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
    require_packages("train", "eval")

    from flextraj_backend.mini.build import build_mini
    from flextraj_backend.mini.settings import BUNDLED, read_settings
    from flextraj_backend.synthesis.run_reports import BarReporter
    from flextraj_backend.training.denormals import flushed_denormals

    settings = read_settings(size, config or BUNDLED)
    console = Console(stderr=True)
    with PhaseBar(console) as bar, flushed_denormals():

        def advance(progress: MiniProgress) -> None:
            figures = progress.figures.items()
            detail = " ".join(f"{name} {value:.4f}" for name, value in figures if name not in _NO_FIGURES)
            bar.advance(progress.phase, progress.step, progress.steps, detail)

        folder = build_mini(settings, output, workers or os.cpu_count() or 1, BarReporter(console), advance)
    typer.echo(f"{folder}: set FLEXTRAJ_MINI_DIR to it, and the mini engine uses it.")
