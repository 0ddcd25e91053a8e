"""The main job on an embedded default: the procedural humanoid drives the demo's photo."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from blender_addon.client.messages import JobStatus, ResultKind
from blender_addon.core.request import RenderRequest
from blender_addon.core.sample_settings import SampleProgress, SampleSettings
from blender_addon.core.trajectories import TrajectorySet
from blender_addon.core.trajectory_file import write_trajectories
from flextraj_backend.demo.contact_sheet import Picture, SheetRow, build_sheet, draw_tracks
from flextraj_backend.demo.local_render import collect_results, follow_job, local_server
from flextraj_backend.demo.motions import FPS, FRAMES, GROOVE
from flextraj_backend.demo.output_folder import staged_output
from flextraj_backend.demo.scene import HEIGHT, WIDTH, DemoScene, build_scene, render_stills, save_blend
from flextraj_backend.engines.base import EngineError
from flextraj_backend.engines.registry import engine
from flextraj_backend.image_io import cover_and_crop, read_photo, write_image
from flextraj_backend.scene_import import quiet_stdout, require_bpy
from flextraj_backend.video_io import read_video

FOLDER = Path(__file__).resolve().parent
PHOTO, PHOTO_MASK = FOLDER / "photo.jpg", FOLDER / "photo_mask.png"
TRAJECTORIES, CONTACT_SHEET, BLEND = "trajectories.npz", "contact_sheet.png", "scene.blend"
VIDEO, ID_VIDEO, COLOR_VIDEO, SIDECAR = (
    kind.file_name
    for kind in (ResultKind.VIDEO, ResultKind.ID_VIDEO, ResultKind.COLOR_VIDEO, ResultKind.SIDECAR)
)
SAMPLED_POINTS = 16_000
"""Over the whole body; the camera sees an eighth of it, and only seen points are kept."""
PROMPT = "A portrait of an astronaut in an orange suit who sways to music, turns the head and smiles."
SHOWN_FRAMES = tuple(pose.frame for pose in GROOVE.poses[1:7])
"""Scene frames on the contact sheet: the motion's extremes."""

FILES = {
    VIDEO: "the photo, moved by the rig",
    ID_VIDEO: "conditioning: where each point of the rig goes, as ID colours",
    COLOR_VIDEO: "conditioning: the same points in the rig's own colours",
    TRAJECTORIES: "the point trajectories sampled from the rig (trajectory set, schema 1)",
    CONTACT_SHEET: "photo, rig, tracks and result on one page: look at this first",
    SIDECAR: "how the video was made: request, fit, versions, times",
    BLEND: "the scene, to open in Blender",
}
"""What the demo makes and what it is."""


@dataclass(frozen=True)
class DemoOptions:
    """What a user can choose."""

    output: Path
    engine: str
    seed: int
    with_blend: bool


@dataclass(frozen=True)
class DemoProgress:
    """A step of the demo, with its share done where that is known."""

    step: str
    done: int = 0
    total: int | None = None


@dataclass(frozen=True)
class DemoResult:
    """What was made: the files in order, and how the result calls itself."""

    files: tuple[Path, ...]
    label: str
    warnings: tuple[str, ...]


Report = Callable[[DemoProgress], None]


def run_demo(options: DemoOptions, report: Report) -> DemoResult:
    """Make everything and put it into the output folder.

    Raises:
        FlexTrajError: Blender's module is missing, the server or the engine refuses, or the disk is full.
    """
    report(DemoProgress("Building the scene"))
    _check_engine(options.engine)
    require_bpy()
    with staged_output(options.output) as (staging, final):
        with quiet_stdout():
            demo = build_scene()
        trajectories = _sample(demo, options.seed, report)
        write_trajectories(trajectories, staging / TRAJECTORIES)
        if options.with_blend:
            with quiet_stdout():
                save_blend(staging / BLEND)
        report(DemoProgress("Rendering the rig's stills"))
        with quiet_stdout():
            rig = render_stills(demo, (1, *SHOWN_FRAMES))
        status = _render(options, staging, report)
        report(DemoProgress("Drawing the contact sheet"))
        write_image(staging / CONTACT_SHEET, _contact_sheet(staging, trajectories, list(rig), status.label))
    made = tuple(final / name for name in FILES if (final / name).is_file())
    return DemoResult(made, status.label, status.warnings)


def _check_engine(name: str) -> None:
    """Refuse an engine that cannot run before anything is made. Raises EngineError."""
    availability = engine(name).availability()
    if not availability.available:
        raise EngineError(availability.reason)


def _sample(demo: DemoScene, seed: int, report: Report) -> TrajectorySet:
    from blender_addon.bridge.shot_sampling import run_to_end, sample_shot

    settings = SampleSettings(
        objects=(demo.subject,),
        points=SAMPLED_POINTS,
        first_frame=1,
        last_frame=FRAMES,
        model_frames=FRAMES,
        model_fps=FPS,
        width=WIDTH,
        height=HEIGHT,
        seed=seed,
        aligned=False,
    )

    def on_progress(progress: SampleProgress) -> None:
        report(DemoProgress("Sampling the rig", progress.done, progress.total))

    sampled = run_to_end(sample_shot(demo.scene, demo.scene.view_layers[0], settings), on_progress)
    # Legs and back are never seen, so that nothing in the photo follows them.
    return sampled.select_points(sampled.visible.any(axis=0))


def _render(options: DemoOptions, staging: Path, report: Report) -> JobStatus:
    report(DemoProgress("Starting the local server"))
    with local_server() as client:
        report(DemoProgress("Uploading"))
        request = RenderRequest(
            trajectories=client.upload(staging / TRAJECTORIES),
            image=client.upload(PHOTO),
            mask=client.upload(PHOTO_MASK),
            engine=options.engine,
            prompt=PROMPT,
            seed=options.seed,
            color_cue=True,
            title="FlexTraj demo",
        )

        def on_status(status: JobStatus) -> None:
            step = f"Server: {status.phase or status.state.value}"
            report(DemoProgress(step, status.step, max(status.steps, 1)))

        status = follow_job(client, request, on_status)
        report(DemoProgress("Downloading"))
        collect_results(client, status, staging)
    return status


def _contact_sheet(folder: Path, trajectories: TrajectorySet, rig: list[Picture], label: str) -> Picture:
    photo = cover_and_crop(read_photo(PHOTO), WIDTH, HEIGHT)
    video, _ = read_video(folder / VIDEO)
    ids, _ = read_video(folder / ID_VIDEO)
    fit = np.array(json.loads((folder / SIDECAR).read_text(encoding="utf-8"))["fit"]["matrix"])  # (2, 3)
    fitted = trajectories.positions[..., :2] @ fit[:, :2].T + fit[:, 2]  # (T, N, 2)
    shown = [frame - 1 for frame in SHOWN_FRAMES]
    times = [f"frame {index}, {index / FPS:.2f} s" for index in shown]

    def tracks(frame: int) -> Picture:
        return draw_tracks(photo, fitted, trajectories.visible, frame)

    name = label or "video"
    rows = (
        SheetRow(
            "A rig and a photo that do not line up",
            (photo, rig[0], tracks(0)),
            ("the photo", "the rig's first frame", "the rig's tracks, fitted to the photo"),
        ),
        SheetRow("The rig's motion, as its own camera sees it", rig[1:]),
        SheetRow(f"Result: the photo, moved by the rig ({name})", [video[index] for index in shown], times),
        SheetRow("The rig's tracks, fitted to the photo", [tracks(index) for index in shown]),
        SheetRow("ID video: the tracks as an engine's condition", [ids[index] for index in shown]),
    )
    subtitle = f"{name}: {len(video)} frames, {video.shape[2]} x {video.shape[1]}, {FPS} frames per second"
    return build_sheet("FlexTraj demo: a procedural rig drives a photo", subtitle, rows)
