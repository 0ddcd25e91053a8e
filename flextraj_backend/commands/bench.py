"""`flextraj bench ...`: ratios to peers and floors, measured in one run."""

from __future__ import annotations

import importlib
import importlib.util
import os
from enum import StrEnum
from pathlib import Path

import typer

from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.bench.table import BenchRow, print_rows, write_rows
from flextraj_backend.models.backbone import Backbone

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


@app.command("denoise")
def denoise(
    flops_only: bool = typer.Option(False, "--flops-only", help="Count operations; time nothing."),
    json: Path | None = typer.Option(None, "--json", help="Also write the rows to this file."),
    backbone: Backbone | None = typer.Option(None, "--backbone", help="This base model alone."),
) -> None:
    """One denoising step: base model, peers and cached condition; 49 frames, 480x720 and 480x832.

    Operations are those of the released 5B models and need no weights. Seconds and memory are those of the
    released size on a GPU of 40 GB or more; elsewhere those of a scaled-down model on the CPU.
    """
    if importlib.util.find_spec("torch") is None:
        raise FlexTrajError(
            'This benchmark needs torch: install the models with pip install "flextraj[models]".',
            ErrorCode.BACKEND,
        )
    if json is not None and not json.absolute().parent.is_dir():
        raise FlexTrajError(
            f"There is no folder {json.absolute().parent}: make it first, or write the rows elsewhere.",
            ErrorCode.REQUEST,
        )
    # Imported only now: the other benchmarks need no torch.
    from flextraj_backend.bench import denoise_rows, denoise_table

    make_report = denoise_rows.flops_report if flops_only else denoise_rows.timed_report
    report = make_report(tuple(Backbone) if backbone is None else (backbone,), typer.echo)
    denoise_table.print_report(report)
    if json is not None:
        typer.echo(f"Rows written to {denoise_table.write_report(json, report)}")


@app.command("tracking")
def tracking(
    clips: int = typer.Option(12, "--clips", min=1, max=1000, help="Clips of 9 frames of 72x48."),
    json: Path | None = typer.Option(None, "--json", help="Also write the rows to this file."),
) -> None:
    """Trackers without weights against exact tracks, on small, blurred and noisy clips."""
    from flextraj_backend.bench.tracking_rows import measure, print_tracking, write_tracking

    rows = measure(clips)
    print_tracking(rows, clips)
    if json is not None:
        typer.echo(f"Rows written to {write_tracking(json, rows)}")


@app.command("synthesis")
def synthesis(
    clips: int = typer.Option(24, min=2, help="Clips that each arrangement of workers makes."),
    ray: bool = typer.Option(True, "--ray/--no-ray", help="Measure workers on a local Ray cluster, too."),
    json: Path | None = typer.Option(None, "--json", help="Also write the rows to this file."),
) -> None:
    """Synthetic clips of 9 frames, 72x48: one and two processes, one and two Ray workers."""
    # Imported only now: the other benchmarks make no clips.
    from flextraj_backend.bench.synthesis_rows import SynthesisBench, rows

    measured = rows(SynthesisBench(clips=clips, with_ray=ray), typer.echo)
    print_rows("flextraj bench synthesis", measured)
    if json is not None:
        typer.echo(f"Rows written to {write_rows(json, measured)}")


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
