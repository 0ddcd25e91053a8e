"""`flextraj synthesize`: makes, goes on with, checks and mends a data set of synthetic clips."""

from __future__ import annotations

import os
import re
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from blender_addon.core.errors import RequestError
from flextraj_backend.synthesis.actions import ActionName
from flextraj_backend.synthesis.backgrounds import Backdrop
from flextraj_backend.synthesis.cameras import CameraMove
from flextraj_backend.synthesis.frame_members import VideoQuality
from flextraj_backend.synthesis.line_channel import claim_stdout
from flextraj_backend.synthesis.plan import SynthesisSettings
from flextraj_backend.synthesis.run_reports import BarReporter, JsonReporter, ProgressStyle
from flextraj_backend.synthesis.scene import Framing, Renderer, SceneOptions

if TYPE_CHECKING:
    from flextraj_backend.synthesis.validation import DatasetCheck

NAME = "synthesize"
_INTERRUPTED = 130
_SHOWN_BAD = 30
_MOST_WORKERS = 8
_SIDES = (16, 4096)
_Choice = TypeVar("_Choice", bound=StrEnum)


def command(
    output: Path | None = typer.Option(
        None, "-o", "--output", metavar="DIR", help="Folder of the dataset; one that was begun goes on."
    ),
    clips: int = typer.Option(200, min=1, help="Clips that the dataset shall have; more can be added later."),
    seed: int = typer.Option(0, help="Same seed and settings, same clips."),
    size: str = typer.Option("720x480", metavar="WxH", help="Size of the clips in pixels."),
    frames: int = typer.Option(49, min=2, max=1000, help="Frames of each clip."),
    fps: float = typer.Option(16.0, min=1, max=240, help="Frames per second."),
    points: int = typer.Option(1000, min=8, max=65_536, help="Trajectories on each subject."),
    renderer: Renderer = typer.Option(
        Renderer.RASTER, help="raster: fast, needs no GPU; cycles: full quality."
    ),
    characters: int = typer.Option(64, min=1, max=1_000_000, help="Different characters of each kind."),
    others: int = typer.Option(2, help="For each clip, trajectories of this many other casts."),
    pair_size: int | None = typer.Option(
        None, help="Clips that show one motion by different characters. Default: 1 + --others."
    ),
    actions: str = typer.Option(
        "", metavar="A,B", help="Actions to draw from, such as walk,wave. Default: all."
    ),
    cameras: str = typer.Option(
        "", metavar="A,B", help="Camera moves to draw from: static,orbit,dolly,shake. Default: all."
    ),
    framing: Framing = typer.Option(Framing.NORMAL, help="close: the subjects fill the picture."),
    backdrop: Backdrop = typer.Option(
        Backdrop.PATTERNED, help="plain: grounds and walls that a small model can draw."
    ),
    library: Path | None = typer.Option(
        None, metavar="DIR", help="Folder of your own characters and motions: FBX, GLB and BVH files."
    ),
    video: VideoQuality = typer.Option(
        VideoQuality.LOSSLESS, help="lossless: bit for bit; high: H.264 without visible loss."
    ),
    clips_per_shard: int = typer.Option(100, min=1, help="Clips in one .tar file."),
    workers: int | None = typer.Option(
        None, min=1, max=1024, help="Blender processes, or Ray actors. Default: one a processor (8 at most)."
    ),
    ray: str | None = typer.Option(
        None, metavar="ADDRESS", help="Make the clips on this Ray cluster ('auto', host:6379, 'local')."
    ),
    progress: ProgressStyle = typer.Option(
        ProgressStyle.BAR, help="json: one object a line, and the run ends when standard input is closed."
    ),
    check: Path | None = typer.Option(
        None, metavar="DIR", help="Make nothing; judge every clip of this dataset. Exit code 1 if any is bad."
    ),
    repair: bool = typer.Option(
        False, "--repair", help="With --check: take bad clips out; the next run makes them again."
    ),
) -> None:
    """Make clips of procedural characters with exact trajectories, in pairs of one motion.

    Each clip has video, masks, prompt, its trajectories and those of others that perform its motion.

    Run the same command again to go on after an interruption, or with more --clips to add some.

    The shards are WebDataset files. The number of workers changes no clip.
    """
    if check is not None:
        _check(check, repair)
        return
    if output is None:
        raise RequestError("Where shall the clips go? Give a folder with -o, or one to check with --check.")
    if repair:
        raise RequestError("--repair belongs to --check: give the folder with --check DIR --repair.")
    width, height = _parse_size(size)
    settings = SynthesisSettings(
        seed=seed,
        scene=SceneOptions(
            width=width,
            height=height,
            frames=frames,
            fps=fps,
            points=points,
            background_points=points // 2,
            renderer=renderer,
            characters=characters,
            character_seed=seed,
            actions=_parse_names(actions, ActionName, "--actions"),
            cameras=_parse_names(cameras, CameraMove, "--cameras") or tuple(CameraMove),
            framing=framing,
            backdrop=backdrop,
        ),
        others=others,
        pair_size=others + 1 if pair_size is None else pair_size,
        video=video,
        library="" if library is None else str(_library_folder(library)),
        clips_per_shard=clips_per_shard,
    )
    _run(output, settings, clips, workers or _default_workers(), ray, progress)


def _run(
    output: Path, settings: SynthesisSettings, clips: int, workers: int, ray: str | None, style: ProgressStyle
) -> None:
    from flextraj_backend.synthesis.pipeline import synthesize
    from flextraj_backend.synthesis.run import StoppedError
    from flextraj_backend.synthesis.stop_signals import stop_with_parent, stopping_on_signals

    with stopping_on_signals() as stop:
        if style is ProgressStyle.JSON:
            stop_with_parent(stop)
            reporter = JsonReporter(claim_stdout())
        else:
            reporter = BarReporter(Console(stderr=True))
        try:
            progress = synthesize(output, settings, clips, workers, ray, reporter, stop)
        except StoppedError as stopped:
            print(f"flextraj: {stopped.message}", file=sys.stderr)
            sys.exit(_INTERRUPTED)
    if progress.failed:
        raise typer.Exit(1)


def _check(folder: Path, repair: bool) -> None:
    from flextraj_backend.synthesis.validation import check_dataset, recover_index, repair_dataset

    console = Console()
    if repair and (lost := recover_index(folder)):
        console.print(f"{lost} damaged lines of the index were dropped; their clips will be made again.")
    with Console(stderr=True).status("Checking") as status:
        found = check_dataset(folder, lambda done, clips: status.update(f"Checking {done} of {clips} clips"))
    _print_check(console, folder, found)
    if repair and found.bad:
        repair_dataset(folder, found)
        console.print(f"{len(found.bad)} clips were taken out: run the command that made them again.")
    if not found.is_sound:
        raise typer.Exit(1)


def _print_check(console: Console, folder: Path, found: DatasetCheck) -> None:
    table = Table(
        title=f"{folder}: {found.clips} clips", title_justify="left", box=SIMPLE_HEAD, pad_edge=False
    )
    table.add_column("figure")
    for name in ("at least", "smallest", "median", "bad clips"):
        table.add_column(name, justify="right", no_wrap=True)
    for figure in found.figures:
        values = (figure.smallest_allowed, figure.smallest, figure.median)
        table.add_row(figure.name, *(f"{value:.4g}" for value in values), str(figure.bad))
    console.print(table)
    for clip in found.bad[:_SHOWN_BAD]:
        console.print(f"{clip.key}: {clip.problem}", markup=False, highlight=False, soft_wrap=True)
    if len(found.bad) > _SHOWN_BAD:
        console.print(f"... and {len(found.bad) - _SHOWN_BAD} more.")
    console.print(
        f"{found.clips - len(found.bad)} clips are sound, {len(found.bad)} are bad, "
        f"{len(found.missing)} are still to be made.",
        highlight=False,
    )


def _library_folder(folder: Path) -> Path:
    """The folder as every worker finds it, wherever it was started."""
    if not folder.is_dir():
        raise RequestError(f"There is no folder {folder}: check the path of the --library.")
    return folder.resolve()


def _default_workers() -> int:
    return min(os.cpu_count() or 1, _MOST_WORKERS)


def _parse_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})[xX×](\d{1,5})", text)
    if match is None or not all(_SIDES[0] <= int(side) <= _SIDES[1] for side in match.groups()):
        raise RequestError(
            f"'{text}' is not a size: give width and height as WxH, {_SIDES[0]} to {_SIDES[1]} px each, "
            "such as 720x480."
        )
    return int(match[1]), int(match[2])


def _parse_names(text: str, kind: type[_Choice], option: str) -> tuple[_Choice, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in list(kind)]
    if unknown:
        raise RequestError(
            f"There is no '{unknown[0]}': {option} takes {', '.join(kind)}, separated by commas."
        )
    return tuple(dict.fromkeys(kind(name) for name in names))
