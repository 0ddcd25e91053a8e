"""`flextraj conditions`: the two conditioning videos of a trajectory set, lossless and for viewing."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from blender_addon.core.conditioning import (
    ColorCue,
    ConditioningSettings,
    Coverage,
    frames_kept,
    stamp_half_width,
)
from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.trajectories import TrajectorySet
from blender_addon.core.trajectory_file import read_trajectories
from blender_addon.core.version import package_version
from flextraj_backend.commands import frame_options
from flextraj_backend.conditioning.render import render_conditioning
from flextraj_backend.engines.base import ConditioningVideos
from flextraj_backend.video_io import write_video

NAME = "conditions"


def command(
    trajectories: Path = typer.Argument(..., metavar="SHOT.npz", help="Trajectory set."),
    output: Path = typer.Option(..., "-o", "--output", metavar="DIR", help="Folder for the results."),
    keep_points: float = typer.Option(1.0, metavar="F", help="Fraction of the points to keep."),
    keep_frames: float = typer.Option(1.0, metavar="F", help="Fraction of the frames to keep."),
    kept_frames: str = frame_options.KEPT_FRAMES,
    surface: bool = typer.Option(
        False, "--surface", help="Every pixel of the surface carries an ID, not only stamps around points."
    ),
    seed: int = typer.Option(0, help="Seed of the choice of points."),
    color_cue: bool = typer.Option(
        True, "--color-cue/--no-color-cue", help="Paint the colour video from the set's colours."
    ),
) -> None:
    """Render the ID video and the colour video of a trajectory set."""
    settings = ConditioningSettings(
        keep_points=keep_points,
        keep_frames=keep_frames,
        frames=frame_options.parse_kept_frames(kept_frames, keep_frames),
        seed=seed,
        coverage=Coverage.SURFACE if surface else Coverage.STAMPS,
        color_cue=ColorCue.TRAJECTORY_COLORS if color_cue else ColorCue.OFF,
    )
    if output.exists() and not output.is_dir():
        raise FlexTrajError(f"{output} is a file, not a folder: give another folder.", ErrorCode.DISK)
    shot = read_trajectories(trajectories)
    written = write_conditions(shot, settings, output.resolve(), Console(stderr=True))
    console = Console()
    for path in written:
        console.print(str(path), markup=False, highlight=False, soft_wrap=True)


def write_conditions(
    trajectories: TrajectorySet, settings: ConditioningSettings, folder: Path, console: Console
) -> list[Path]:
    """Render and write id.npz, color.npz (array `frames`), id.mp4, color.mp4 and summary.json.

    The files appear in `folder` together, when all are complete; other files there are left alone.

    Returns:
        The files written.

    Raises:
        FlexTrajError: the set cannot be rendered or the folder cannot be written.
    """
    meta = trajectories.meta
    frame_count = trajectories.frame_count
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as name,
            Progress(*columns, console=console, transient=True) as progress,
        ):
            unfinished = Path(name)
            kept = frames_kept(frame_count, settings)
            task = progress.add_task("Rendering", total=len(kept))
            videos = render_conditioning(
                trajectories, settings, on_frame=lambda done: progress.update(task, completed=done)
            )
            for stem, video in (("id", videos.ids), ("color", videos.color)):
                task = progress.add_task(f"Writing {stem}", total=frame_count)
                np.savez_compressed(unfinished / f"{stem}.npz", frames=video)
                write_video(
                    unfinished / f"{stem}.mp4",
                    _even_sides(video),
                    meta.fps,
                    on_frame=lambda done, task=task: progress.update(task, completed=done),
                )
                progress.update(task, completed=frame_count)
            summary = json.dumps(_summary(trajectories, settings, videos), indent=2)
            (unfinished / "summary.json").write_text(summary + "\n", encoding="utf-8")
            folder.mkdir(exist_ok=True)
            return [Path(shutil.move(path, folder / path.name)) for path in sorted(unfinished.iterdir())]
    except OSError as error:
        raise FlexTrajError(
            f"The conditioning videos cannot be written to {folder} ({error.strerror or error}): "
            "check that the folder is writable and has free space.",
            ErrorCode.DISK,
        ) from error


def _even_sides(video: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """H.264 wants even sides: an odd raster gets a black column or row in the copy for viewing."""
    height, width = video.shape[1:3]
    if height % 2 == 0 and width % 2 == 0:
        return video
    return np.pad(video, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))


def _summary(
    trajectories: TrajectorySet, settings: ConditioningSettings, videos: ConditioningVideos
) -> dict[str, Any]:
    meta = trajectories.meta
    half_width = stamp_half_width(
        settings.stamp_rule, trajectories.point_count, settings.keep_points, meta.width, meta.height
    )
    painted = videos.ids[..., 0] > 0  # (T, H, W)
    return {
        "producer": f"flextraj {package_version()}",
        "frames": trajectories.frame_count,
        "fps": meta.fps,
        "width": meta.width,
        "height": meta.height,
        "points": trajectories.point_count,
        "segments": [
            {"id": segment.id, "name": segment.name, "background": segment.background}
            for segment in meta.segments
        ],
        "settings": {
            "keep_points": settings.keep_points,
            "keep_frames": settings.keep_frames,
            "seed": settings.seed,
            "coverage": settings.coverage.value,
            "color_cue": settings.color_cue.value,
        },
        "frames_kept": frames_kept(trajectories.frame_count, settings).tolist(),
        "stamp_half_width_px": half_width if settings.coverage is Coverage.STAMPS else None,
        "painted_fraction": [round(float(share), 6) for share in painted.mean(axis=(1, 2))],
        "color_painted": bool(videos.color.any()),
    }
