"""`flextraj demo`: a procedural rigged character drives a real photo that it does not line up with."""

from __future__ import annotations

import time
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

NAME = "demo"


def command(
    output: Path = typer.Option(Path("flextraj-demo"), "-o", "--output", help="Folder for the results."),
    engine: str = typer.Option("preview", help="Engine; 'flextraj engines' lists them."),
    seed: int = typer.Option(0, min=0, help="Same seed, same results."),
    blend: bool = typer.Option(False, "--blend", help="Also save the scene as a .blend file."),
) -> None:
    """Let a rigged character drive a photo, through the local server: needs no files of yours."""
    # Imported here: the command line's --help waits for neither Blender nor OpenCV.
    from flextraj_backend.demo.run import FILES, DemoOptions, DemoProgress, run_demo

    started = time.monotonic()
    console = Console(stderr=True)
    with _progress_bar(console) as progress:
        task = progress.add_task("Starting", total=None)

        def report(now: DemoProgress) -> None:
            progress.update(task, description=now.step, completed=now.done, total=now.total)

        result = run_demo(DemoOptions(output, engine, seed, blend), report)
    for warning in result.warnings:
        console.print(f"Note: {warning}", highlight=False, soft_wrap=True, markup=False)
    out = Console()
    label = f" ({result.label})" if result.label else ""
    seconds = time.monotonic() - started
    out.print(f"Made in {seconds:.0f} s{label}:", highlight=False, soft_wrap=True)
    for path in result.files:
        out.print(f"  {path}: {FILES[path.name]}", highlight=False, soft_wrap=True, markup=False)


def _progress_bar(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description:<28}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
