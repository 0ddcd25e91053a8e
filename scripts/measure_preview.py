"""Measure the preview engine: overlap of its subject with the true silhouette of the rig, frame by frame, and
time.

The rig is rendered with Cycles on the first frame and laid over a photo; the engine gets that picture and the
aligned trajectories, finds the mask itself, and moves it. For the overlap it then gets the same mask in two
plain colours, which shows exactly where its subject is. The truth is the rig's silhouette on every frame.

    python scripts/measure_preview.py path/to/dancer.fbx --first 37 --last 133
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from blender_addon.core.request import RenderRequest  # noqa: E402
from blender_addon.core.sample_settings import SampleSettings  # noqa: E402
from blender_addon.core.trajectories import TrajectorySet  # noqa: E402
from flextraj_backend.engines.base import ConditioningVideos, EngineInputs, Progress  # noqa: E402
from flextraj_backend.engines.preview.engine import PreviewEngine  # noqa: E402
from flextraj_backend.fitting.motion_fit import MotionFit, fit_motion  # noqa: E402
from flextraj_backend.fitting.silhouettes import overlap, union  # noqa: E402
from flextraj_backend.image_io import cover_and_crop, read_photo, write_image  # noqa: E402
from flextraj_backend.scene_import import open_scene, quiet_stdout  # noqa: E402
from flextraj_backend.video_io import write_video  # noqa: E402

WIDTH, HEIGHT = 720, 480
MODEL_FRAMES = 49
FIGURE_HEIGHT = 0.86
"""Share of the raster's height that the figure takes."""
LENS_MM = 50.0
REQUEST = RenderRequest("0" * 64, "0" * 64)
SUBJECT_COLOR, BACKGROUND_COLOR = np.array([[255, 0, 255], [0, 255, 0]], np.uint8)


@dataclass(frozen=True)
class Measurement:
    """What was measured: overlap over the frames, the mask's own overlap, and seconds of the engine."""

    scene: str
    frames: int
    iou_mean: float
    iou_worst: float
    worst_frame: int
    mask_iou: float
    wall_seconds: float
    cpu_seconds: float


@dataclass(frozen=True, eq=False)
class Shot:
    """A sampled scene with its first frame rendered, and the truth: (T, H, W) bool."""

    trajectories: TrajectorySet
    render: NDArray[np.uint8]
    truth: NDArray[np.bool_]


def sample_scene(path: Path, first: int, last: int, model_frames: int, folder: Path) -> Shot:
    """Sample the whole scene, render its first frame and draw the silhouettes of all frames.

    The sampled frames must be whole ones: (last - first) a multiple of (model_frames - 1).
    """
    from blender_addon.bridge.shot_sampling import run_to_end, sample_shot

    with quiet_stdout():
        scene, layer = open_scene(path)
        add_camera_and_light(scene, layer, first)
        settings = SampleSettings(
            first_frame=first,
            last_frame=last,
            model_frames=model_frames,
            width=WIDTH,
            height=HEIGHT,
            aligned=True,
        )
        trajectories = run_to_end(sample_shot(scene, layer, settings))
        truth = np.empty((trajectories.frame_count, HEIGHT, WIDTH), bool)
        for index, frame in enumerate(trajectories.meta.source_frames):
            still = SampleSettings(
                first_frame=int(frame),
                last_frame=int(frame) + 1,
                model_frames=None,
                points=1,
                width=WIDTH,
                height=HEIGHT,
            )
            outline = run_to_end(sample_shot(scene, layer, still)).silhouette
            assert outline is not None
            truth[index] = outline.any(axis=0)
        render = render_first_frame(scene, first, folder / "first.png")
    return Shot(trajectories, render, truth)


def add_camera_and_light(scene, layer, frame: int) -> None:
    """Put a camera in front of everything that renders and light it evenly."""
    import bpy
    from mathutils import Vector

    scene.frame_set(frame)
    corners = [
        item.matrix_world @ Vector(corner)
        for item in layer.objects
        if item.type == "MESH" and not item.hide_render
        for corner in item.evaluated_get(layer.depsgraph).bound_box
    ]
    points = np.array(corners)
    low, high = points.min(axis=0), points.max(axis=0)
    centre, height = (low + high) / 2, float(high[2] - low[2])
    distance = height / FIGURE_HEIGHT * (LENS_MM / 36 * WIDTH) / HEIGHT
    lens = bpy.data.cameras.new("Camera")
    lens.lens, lens.clip_end = LENS_MM, 100 * distance
    camera = bpy.data.objects.new("Camera", lens)
    camera.location = (centre[0], centre[1] - distance, centre[2])
    camera.rotation_euler = (np.pi / 2, 0, 0)
    lamp: Any = bpy.data.lights.new("Sun", "SUN")
    lamp.energy = 3.5
    sun = bpy.data.objects.new("Sun", lamp)
    sun.rotation_euler = (0.7, 0.3, 0.2)
    for item in (camera, sun):
        scene.collection.objects.link(item)
    scene.camera = camera
    scene.world = bpy.data.worlds.new("World")
    scene.world.color = (0.5, 0.5, 0.5)


def render_first_frame(scene, frame: int, path: Path) -> NDArray[np.uint8]:
    """Render with Cycles at four samples: (H, W, 4) uint8 RGBA."""
    import bpy

    scene.render.engine = "CYCLES"
    scene.cycles.samples, scene.cycles.use_denoising = 4, False
    scene.render.film_transparent = True
    scene.render.resolution_x, scene.render.resolution_y = WIDTH, HEIGHT
    scene.render.resolution_percentage = 100
    scene.view_settings.view_transform = "Standard"
    scene.render.image_settings.file_format, scene.render.image_settings.color_mode = "PNG", "RGBA"
    scene.render.filepath = str(path)
    scene.frame_set(frame)
    bpy.ops.render.render(write_still=True)
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return cv2.cvtColor(picture, cv2.COLOR_BGRA2RGBA).astype(np.uint8, copy=False)


def lay_over(render: NDArray[np.uint8], photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay RGBA over RGB."""
    alpha = render[..., 3:].astype(np.float32) / 255
    return (photo * (1 - alpha) + render[..., :3] * alpha + 0.5).astype(np.uint8)


def draft(trajectories: TrajectorySet, photo: NDArray[np.uint8], fit: MotionFit) -> NDArray[np.uint8]:
    """Render the preview: (T, H, W, 3) uint8."""
    nothing = np.zeros((1, 2, 2, 3), np.uint8)
    inputs = EngineInputs(
        REQUEST,
        trajectories,
        photo,
        fit.matrix,
        ConditioningVideos(nothing, nothing),
        None,
        fit.subject_mask,
    )

    def ignore(_: Progress) -> None:
        return None

    return PreviewEngine().render(inputs, ignore, lambda: False).frames


def drafted_silhouettes(trajectories: TrajectorySet, fit: MotionFit) -> NDArray[np.bool_]:
    """Where the draft shows its subject, (T, H, W) bool."""
    plain = np.where(fit.subject_mask[..., None], SUBJECT_COLOR, BACKGROUND_COLOR).astype(np.uint8)
    frames = draft(trajectories, plain, fit)
    return frames[..., 0] > frames[..., 1]


def measure(shot: Shot, photo: NDArray[np.uint8], name: str, folder: Path | None) -> Measurement:
    """Run the engine and compare."""
    reference = lay_over(shot.render, photo)
    wall, cpu = time.perf_counter(), time.process_time()
    fit = fit_motion(shot.trajectories, reference, None, REQUEST)
    frames = draft(shot.trajectories, reference, fit)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    drafted = drafted_silhouettes(shot.trajectories, fit)
    overlaps = [overlap(mine, true) for mine, true in zip(drafted, shot.truth, strict=True)]
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        chosen = np.linspace(0, len(frames) - 1, 8).astype(int)
        truth = np.where(shot.truth[chosen][..., None], SUBJECT_COLOR, photo)
        rows = [np.concatenate(list(row), axis=1) for row in (frames[chosen], truth)]
        write_image(folder / "sheet.png", np.concatenate(rows)[::2, ::2])
        write_video(folder / "video.mp4", frames, shot.trajectories.meta.fps)
    silhouette = shot.trajectories.silhouette
    assert silhouette is not None
    outline = union(dict(enumerate(silhouette)), HEIGHT, WIDTH)
    return Measurement(
        scene=name,
        frames=len(frames),
        iou_mean=round(float(np.mean(overlaps)), 4),
        iou_worst=round(float(np.min(overlaps)), 4),
        worst_frame=int(np.argmin(overlaps)),
        mask_iou=round(overlap(fit.subject_mask, outline), 4),
        wall_seconds=round(wall, 2),
        cpu_seconds=round(cpu, 2),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("scene", type=Path, help="animated scene: .fbx, .glb, .blend")
    parser.add_argument("--first", type=int, default=37, help="first scene frame")
    parser.add_argument(
        "--last", type=int, default=133, help="last scene frame; 97 frames give whole-numbered ones"
    )
    parser.add_argument("--photo", type=Path, default=ROOT / "flextraj_backend" / "demo" / "photo.jpg")
    parser.add_argument("--out", type=Path, help="folder for the video and a sheet")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    if (options.last - options.first) % (MODEL_FRAMES - 1):
        parser.error(f"the range must be a multiple of {MODEL_FRAMES - 1} frames long, plus one")
    photo = cover_and_crop(read_photo(options.photo), WIDTH, HEIGHT)
    with tempfile.TemporaryDirectory() as folder:
        shot = sample_scene(options.scene, options.first, options.last, MODEL_FRAMES, Path(folder))
    result = measure(shot, photo, options.scene.name, options.out)
    for name, value in asdict(result).items():
        print(f"{name:14} {value}")
    if options.json is not None:
        options.json.write_text(json.dumps(asdict(result), indent=2) + "\n")
    sys.stdout.flush()
    # Blender's module may hang at the interpreter's end while scene data is alive.
    os._exit(0)


if __name__ == "__main__":
    main()
