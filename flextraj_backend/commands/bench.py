"""`flextraj bench ...`: ratios to peers and floors, measured in one run."""

from __future__ import annotations

import importlib
import os
from enum import StrEnum
from pathlib import Path

import typer

from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.bench.table import BenchRow, print_rows, write_rows

app = typer.Typer(help="Benchmarks: ratios to peers and floors, measured in one run.", no_args_is_help=True)

ASSETS_DIR_VARIABLE = "FLEXTRAJ_ASSETS_DIR"
DEFAULT_SCENE = "samba.fbx"


class SamplingBench(StrEnum):
    """Parts of `bench sampling`."""

    SAMPLING = "sampling"
    VISIBILITY = "visibility"
    ID_VIDEO = "id-video"
    DEMO = "demo"


@app.callback()
def bench() -> None:
    """Benchmarks: ratios to peers and floors, measured in one run."""


@app.command("sampling")
def sampling(
    scene: Path | None = typer.Argument(
        None, help=f"Scene file; default: {DEFAULT_SCENE} of {ASSETS_DIR_VARIABLE} or ../shared/assets."
    ),
    json: Path | None = typer.Option(None, "--json", help="Also write the rows to this file."),
    only: SamplingBench | None = typer.Option(None, "--only", help="Measure this part alone."),
) -> None:
    """Sampling, visibility and ID video on an animated rig, and the demo: 49 frames at 720x480."""
    rows: list[BenchRow] = []
    for part in SamplingBench:
        if only in (None, part):
            typer.echo(f"Measuring {part.value} ...")
            rows += _measure(part, scene)
    print_rows("flextraj bench sampling", rows)
    if json is not None:
        typer.echo(f"Rows written to {write_rows(json, rows)}")


def _measure(part: SamplingBench, scene: Path | None) -> list[BenchRow]:
    # Imported only when asked for: the ID video bench needs no bpy.
    name = part.value.replace("-", "_")
    module = importlib.import_module(f"flextraj_backend.bench.{name}_rows")
    if part in (SamplingBench.SAMPLING, SamplingBench.VISIBILITY):
        return module.rows(_scene_path(scene))
    return module.rows()


def _scene_path(scene: Path | None) -> Path:
    if scene is None:
        checkout = Path(__file__).resolve().parents[2]
        folder = os.environ.get(ASSETS_DIR_VARIABLE) or checkout.parent / "shared" / "assets"
        scene = Path(folder) / DEFAULT_SCENE
    if not scene.is_file():
        raise FlexTrajError(
            f"There is no scene file {scene}: give an animated .fbx, .glb or .blend file "
            f"or set {ASSETS_DIR_VARIABLE} to the folder that holds {DEFAULT_SCENE}.",
            ErrorCode.REQUEST,
        )
    return scene
