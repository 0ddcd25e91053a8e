"""`flextraj sample`: an animated scene becomes a trajectory set."""

from __future__ import annotations

import contextlib
import re
from dataclasses import replace
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.frame_mapping import FrameMap
from blender_addon.core.sample_settings import (
    ColorSource,
    SampleMode,
    SampleProgress,
    SampleSettings,
    SegmentBy,
)
from blender_addon.core.trajectories import TrajectorySet
from blender_addon.core.trajectory_file import write_trajectories

NAME = "sample"
DEFAULT_POINTS = 2500
SIZE_OF_IMPORTS = (720, 480)
"""Files other than .blend know no render size."""
_SMOOTH_FPS = 6.0
"""Below this many frames per second a shot looks like a slide show, which deserves a word."""


def command(
    scene: Path = typer.Argument(..., help="Scene: .blend, .fbx, .glb, .gltf, .usd or .abc."),
    output: Path = typer.Option(..., "-o", "--output", help="Trajectory set to write (.npz)."),
    objects: list[str] = typer.Option(
        [],
        help="Objects to sample (comma-separated or repeated); an armature stands for its meshes. "
        "Default: everything that renders.",
    ),
    background: list[str] = typer.Option([], help="Props or ground among the sampled objects."),
    segments: SegmentBy = typer.Option(SegmentBy.OBJECT, help="What gets a SegID of its own."),
    points: int | None = typer.Option(
        None, help=f"Points per segment. Default: {DEFAULT_POINTS} on surfaces, every vertex for vertices."
    ),
    density: float | None = typer.Option(None, help="Points per square scene unit, instead of --points."),
    mode: SampleMode = typer.Option(SampleMode.SURFACE, help="Surface points or vertices."),
    frames: str | None = typer.Option(
        None, metavar="A:B", help="Scene frames, both included. Default: the range of the animation."
    ),
    model_frames: int = typer.Option(49, help="Frames of the trajectory set; 0 = every frame."),
    model_fps: float | None = typer.Option(
        None, help="Frames per second of the trajectory set. Default: spread over the whole range."
    ),
    size: str | None = typer.Option(
        None, metavar="WxH", help="Raster in pixels. Default: the render size of a .blend, otherwise 720x480."
    ),
    camera: str | None = typer.Option(None, help="Camera object. Default: the scene's, or an automatic one."),
    seed: int = typer.Option(0, help="Same scene and seed, same points."),
    aligned: bool = typer.Option(False, "--aligned", help="The rig is posed over the photo on frame one."),
    color: ColorSource = typer.Option(ColorSource.MATERIAL, help="Appearance cue stored with the points."),
) -> None:
    """Sample an animated scene into a trajectory set."""
    if points is not None and density is not None:
        raise _refuse("Points and density exclude each other: give --points or --density.")
    if output.suffix != ".npz":
        raise _refuse(f"{output.name} is not a trajectory set: give an output that ends in .npz.")
    if not output.parent.is_dir():
        raise FlexTrajError(f"There is no folder {output.parent}: make it first.", ErrorCode.DISK)
    if points is None and density is None and mode is SampleMode.SURFACE:
        points = DEFAULT_POINTS
    first, last = _parse_frames(frames)
    width, height = _parse_size(size, scene)
    settings = SampleSettings(
        objects=_names(objects),
        background=_names(background),
        segment_by=segments,
        points=points,
        density=density,
        mode=mode,
        first_frame=first,
        last_frame=last,
        model_frames=model_frames or None,
        model_fps=model_fps,
        width=width,
        height=height,
        camera=camera,
        seed=seed,
        aligned=aligned,
        color=color,
    )
    trajectories = sample_file(scene, settings, Console(stderr=True))
    write_trajectories(trajectories, output)
    Console().print(_summary(trajectories, output), markup=False, highlight=False, soft_wrap=True)


def sample_file(path: Path, settings: SampleSettings, console: Console) -> TrajectorySet:
    """Sample a scene file; progress and remarks go to `console`.

    A scene without a camera gets a temporary one that sees the whole motion.

    Raises:
        FlexTrajError: see `open_scene` and `sample_shot`.
    """
    from flextraj_backend.scene_import import open_scene

    with console.status(f"Reading {path.name}"):
        scene, view_layer = open_scene(path)
    from blender_addon.bridge.auto_camera import framing_camera
    from blender_addon.bridge.shot_sampling import check_settings, choose_frames, run_to_end, sample_shot

    check_settings(settings)
    frame_map = choose_frames(scene, settings)
    _remark_on_rate(frame_map, console)
    with contextlib.ExitStack() as stack:
        if settings.camera is None and scene.camera is None:
            console.print("The scene has no camera: an automatic one frames the whole motion.")
            made = stack.enter_context(framing_camera(scene, view_layer, settings, frame_map.source_frames))
            settings = replace(settings, camera=made.name)
        progress = stack.enter_context(_progress_bar(console))
        task = progress.add_task("Sampling", total=len(frame_map.source_frames))

        def on_progress(step: SampleProgress) -> None:
            progress.update(task, completed=step.done, total=step.total)

        return run_to_end(sample_shot(scene, view_layer, settings), on_progress)


def _progress_bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("frames"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


def _remark_on_rate(frames: FrameMap, console: Console) -> None:
    if frames.fps < _SMOOTH_FPS:
        first, last = frames.source_frames[0], frames.source_frames[-1]
        console.print(
            f"{len(frames.source_frames)} frames spread over scene frames {first:g} to {last:g} play at "
            f"{frames.fps:.2g} frames per second: choose a part with --frames A:B or a rate with "
            "--model-fps.",
            highlight=False,
            soft_wrap=True,
        )


def _summary(trajectories: TrajectorySet, output: Path) -> str:
    meta = trajectories.meta
    names = ", ".join(segment.name for segment in meta.segments[:6])
    names += ", ..." if len(meta.segments) > 6 else ""
    return (
        f"{output}: {trajectories.frame_count} frames x {trajectories.point_count:,} points in "
        f"{len(meta.segments)} segments ({names}), {meta.width}x{meta.height} at {meta.fps:.3g} frames per "
        f"second, scene frames {meta.source_frames[0]:g} to {meta.source_frames[-1]:g}, "
        f"{trajectories.visible.mean():.0%} visible."
    )


def _names(values: list[str]) -> tuple[str, ...]:
    return tuple(name.strip() for value in values for name in value.split(",") if name.strip())


def _parse_frames(text: str | None) -> tuple[int | None, int | None]:
    if text is None:
        return None, None
    match = re.fullmatch(r"(-?\d+):(-?\d+)", text)
    if match is None:
        raise _refuse(f"'{text}' is not a frame range: give the first and last frame as A:B, such as 1:97.")
    return int(match[1]), int(match[2])


def _parse_size(text: str | None, scene: Path) -> tuple[int | None, int | None]:
    if text is None:
        return (None, None) if scene.suffix.lower() == ".blend" else SIZE_OF_IMPORTS
    match = re.fullmatch(r"(\d+)[xX×](\d+)", text)
    if match is None:
        raise _refuse(f"'{text}' is not a size: give width and height in pixels as WxH, such as 720x480.")
    return int(match[1]), int(match[2])


def _refuse(sentence: str) -> FlexTrajError:
    return FlexTrajError(sentence, ErrorCode.REQUEST)
