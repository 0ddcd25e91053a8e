"""`flextraj render`: an engine turns a trajectory set and a photo into a video, in this process."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from blender_addon.core.errors import ErrorCode, FlexTrajError, RequestError
from blender_addon.core.model_options import (
    AttentionBackend,
    CachePlace,
    CacheStorage,
    CompileMode,
    ConditionTokens,
    GuidanceSchedule,
    MemoryMode,
    ModelOptions,
    SchedulerChoice,
    StepCache,
)
from blender_addon.core.placement import FitNumbers
from blender_addon.core.request import FitMode, FitPin, RenderRequest
from blender_addon.core.trajectory_file import read_trajectories
from flextraj_backend.commands import frame_options, model_options

if TYPE_CHECKING:
    from flextraj_backend.engines.base import Estimate

NAME = "render"
_HASH_CHUNK = 1 << 20
_MAX_FIT_BYTES = 1 << 20


def command(
    trajectories: Path = typer.Argument(..., help="Trajectory set (.npz) of 'flextraj sample'."),
    image: Path = typer.Option(..., help="Reference photo: the first frame of the video."),
    output: Path = typer.Option(
        ..., "-o", "--output", help="Video to write (.mp4); its sidecar goes beside it."
    ),
    engine: str = typer.Option("preview", help="Engine; 'flextraj engines' lists them."),
    prompt: str = typer.Option("", help="Text for engines that read it."),
    negative_prompt: str = typer.Option("", help="What the video should not show."),
    seed: int = typer.Option(0, help="Same inputs and seed, same video."),
    steps: int | None = typer.Option(None, help="Denoising steps. Default: the engine's."),
    guidance: float | None = typer.Option(None, help="Classifier-free guidance. Default: the engine's."),
    fit: str = typer.Option(
        "auto", metavar="none|auto|FILE", help="Place the motion on the photo; FILE: JSON with a 2x3 matrix."
    ),
    mask: Path | None = typer.Option(None, help="Subject mask of the photo; white = subject."),
    keep_points: float = typer.Option(1.0, help="Fraction of the points kept, above 0 to 1."),
    keep_frames: float = typer.Option(1.0, help="Fraction of the frames kept, above 0 to 1."),
    kept_frames: str = frame_options.KEPT_FRAMES,
    surface: bool = typer.Option(False, "--surface", help="ID video without holes."),
    color_cue: bool = typer.Option(False, "--color-cue", help="Pass the points' colours on."),
    photo_colors: bool = typer.Option(
        False, "--photo-colors", help="With --color-cue: in the colours that the photo shows at the points."
    ),
    strength: float = model_options.STRENGTH,
    guidance_schedule: GuidanceSchedule = model_options.GUIDANCE_SCHEDULE,
    scheduler: SchedulerChoice = model_options.SCHEDULER,
    lora: list[str] = model_options.LORA,
    window_overlap: int = model_options.WINDOW_OVERLAP,
    condition_tokens: ConditionTokens = model_options.CONDITION_TOKENS,
    cache_storage: CacheStorage = model_options.CACHE_STORAGE,
    cache_place: CachePlace = model_options.CACHE_PLACE,
    memory: MemoryMode = model_options.MEMORY,
    step_cache: StepCache = model_options.STEP_CACHE,
    compile: CompileMode = model_options.COMPILE,
    attention: AttentionBackend = model_options.ATTENTION,
) -> None:
    """Render a video of a photo that moves along a trajectory set."""
    # Imported here: the command line's --help does not wait for the engines.
    from flextraj_backend.image_io import read_mask, read_photo
    from flextraj_backend.rendering import OutputPaths, estimate_job, render_job

    paths = OutputPaths.beside(output)
    _check_output(output, paths.sidecar, (paths.ids, paths.color))
    placed = _parse_fit(fit)
    request = RenderRequest(
        trajectories=_sha256(trajectories),
        image=_sha256(image),
        mask=None if mask is None else _sha256(mask),
        engine=engine,
        prompt=prompt,
        negative_prompt=negative_prompt,
        seed=seed,
        steps=steps,
        guidance_scale=guidance,
        fit=placed.mode,
        fit_matrix=placed.matrix,
        pins=placed.pins,
        keep_points=keep_points,
        keep_frames=keep_frames,
        kept_frames=frame_options.parse_kept_frames(kept_frames, keep_frames),
        surface=surface,
        color_cue=color_cue,
        photo_colors=photo_colors,
        model=ModelOptions(
            strength=strength,
            guidance_schedule=guidance_schedule,
            scheduler=scheduler,
            condition_tokens=condition_tokens,
            cache_storage=cache_storage,
            cache_place=cache_place,
            memory=memory,
            step_cache=step_cache,
            compile=compile,
            attention=attention,
            loras=model_options.parse_loras(lora),
            window_overlap=window_overlap,
        ),
        title=output.stem,
    )
    console = Console(stderr=True)
    shot = read_trajectories(trajectories)
    photo = read_photo(image)
    subject_mask = None if mask is None else read_mask(mask)
    _show_estimate(console, estimate_job(request, shot))
    with _progress_bar(console) as progress:
        task = progress.add_task("reading", total=None)
        outcome = render_job(
            request,
            shot,
            photo,
            subject_mask,
            paths,
            lambda now: progress.update(
                task, description=now.phase, completed=now.step, total=max(now.steps, 1)
            ),
            cancelled=lambda: False,
        )
    for warning in outcome.warnings:
        console.print(f"Note: {warning}", markup=False, highlight=False, soft_wrap=True)
    label = f" ({outcome.label})" if outcome.label else ""
    seconds = sum(outcome.seconds.values())
    Console().print(
        f"{output}{label}: {outcome.frame_count} frames in {seconds:.1f} s; "
        f"also {paths.sidecar.name}, {paths.ids.name}, {paths.color.name}.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _show_estimate(console: Console, estimate: Estimate) -> None:
    """Tell what the job will take before it starts."""
    gpu = f" and {_gib(estimate.vram_bytes)} of GPU memory" if estimate.vram_bytes else ""
    sentence = f"Estimate: {_duration(estimate.seconds)}, {_gib(estimate.memory_bytes)} of memory{gpu}."
    console.print(f"{sentence} {estimate.note}".rstrip(), markup=False, highlight=False, soft_wrap=True)


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _progress_bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:>12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )


def _check_output(video: Path, sidecar: Path, side_files: tuple[Path, ...]) -> None:
    """The user chose the video's name; the files beside it may replace an earlier render's and no others."""
    if video.suffix.lower() != ".mp4":
        raise RequestError(f"{video.name} is not an .mp4 file: give an output that ends in .mp4.")
    if video.is_dir():
        raise RequestError(f"{video} is a folder: choose another name for the video.")
    if not video.parent.is_dir():
        raise FlexTrajError(f"There is no folder {video.parent}: make it first.", ErrorCode.DISK)
    if not os.access(video.parent, os.W_OK):
        raise FlexTrajError(f"The folder {video.parent} is not writable: choose another.", ErrorCode.DISK)
    if video.exists():
        try:
            video.replace(video)
        except OSError as error:  # on Windows a file that another program has open stays
            raise FlexTrajError(
                f"{video} cannot be replaced ({error.strerror}): close the program that plays it, or choose "
                "another name.",
                ErrorCode.DISK,
            ) from error
    there = [path for path in (sidecar, *side_files) if path.exists()]
    if there and not _is_sidecar(sidecar):
        raise RequestError(
            f"{there[0]} would be replaced but is no earlier render's: choose another name for the video."
        )


def _is_sidecar(path: Path) -> bool:
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(values, dict) and {"schema_version", "inputs_sha256", "request"} <= values.keys()


@dataclass(frozen=True)
class _GivenFit:
    """What `--fit` says: a mode, or the placement of an earlier render with its pins."""

    mode: FitMode
    matrix: FitNumbers | None = None
    pins: tuple[FitPin, ...] = ()


def _parse_fit(text: str) -> _GivenFit:
    if text in (FitMode.NONE, FitMode.AUTO):
        return _GivenFit(FitMode(text))
    path = Path(text)
    try:
        if path.stat().st_size > _MAX_FIT_BYTES:
            raise ValueError("it is too large")
        values = json.loads(path.read_bytes())
        return _GivenFit(FitMode.GIVEN, _six_numbers(values), _pins(values))
    except OSError as error:
        raise RequestError(
            f"The fit '{text}' cannot be opened ({error.strerror}): give 'none', 'auto' or a JSON file."
        ) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RequestError(
            f"The file {path} holds no fit ({error}): give a 2x3 matrix, or the sidecar of an earlier render."
        ) from error


def _pins(values: Any) -> tuple[FitPin, ...]:
    """The pins of a sidecar's request."""
    request = values.get("request", {}) if isinstance(values, dict) else {}
    return tuple(FitPin.from_dict(pin) for pin in request.get("pins", ()))


def _six_numbers(values: Any) -> FitNumbers:
    """The matrix of a bare 2x3 list, of `{"matrix": ...}` or of a sidecar's `{"fit": {"matrix": ...}}`."""
    for key in ("fit", "matrix"):
        if isinstance(values, dict) and key in values:
            values = values[key]
    rows = values if isinstance(values, list) else []
    flat = [number for row in rows for number in (row if isinstance(row, list) else [row])]
    if len(flat) != 6 or not all(type(number) in (int, float) for number in flat):
        raise ValueError("six numbers are expected")
    a, b, c, d, e, f = map(float, flat)
    return a, b, c, d, e, f


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_HASH_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise RequestError(f"{path} cannot be opened ({error.strerror}): check the path.") from error
    return digest.hexdigest()
