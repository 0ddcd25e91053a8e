"""The add-on inside Blender (as a Python module) with the real backend process: one button, one video."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from flextraj_backend.video_io import read_video

pytest.importorskip("bpy")
REPOSITORY = Path(__file__).resolve().parents[2]

PRESS_GENERATE = """
import sys
import bpy, blender_addon
from blender_addon import session

photo, = sys.argv[1:]
blender_addon.register()
bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene
bpy.ops.mesh.primitive_monkey_add()
subject = bpy.context.object
subject.keyframe_insert("rotation_euler", frame=1)
subject.rotation_euler.z = 0.4
subject.keyframe_insert("rotation_euler", frame=9)
settings = scene.flextraj
settings.character, settings.photo, settings.frames = subject, photo, 5
settings.size, settings.width, settings.height = "CUSTOM", 96, 64
bpy.ops.flextraj.add_camera()
bpy.ops.flextraj.generate()
bpy.ops.flextraj.load_result(target="CLIP")
assert bpy.data.movieclips[0].frame_duration == 5
print("PID", session.current_session()._backend._process.pid)
print("VIDEO", bpy.context.window_manager.flextraj.jobs[0].video)
blender_addon.unregister()
"""


def test_generate_in_blender_makes_a_video_through_the_real_backend_and_leaves_no_process(
    tmp_path: Path,
) -> None:
    photo = tmp_path / "a photo ü.png"
    pixels = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    Image.fromarray(pixels).save(photo)
    environment = dict(
        os.environ,
        BLENDER_USER_RESOURCES=str(tmp_path / "user"),
        FLEXTRAJ_BACKEND_PYTHON=sys.executable,
        FLEXTRAJ_CONFIG_DIR=str(tmp_path / "config"),
        XDG_DATA_HOME=str(tmp_path / "data"),
        XDG_CACHE_HOME=str(tmp_path / "cache"),
    )
    done = subprocess.run(
        [sys.executable, "-c", PRESS_GENERATE, str(photo)],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = dict(
        line.split(" ", 1) for line in done.stdout.splitlines() if line.startswith(("PID ", "VIDEO "))
    )
    frames, _fps = read_video(Path(said["VIDEO"]))
    assert frames.shape == (5, 64, 96, 3)
    check_that_the_fit_can_be_used_again(Path(said["VIDEO"]).parent, photo, environment)
    deadline = time.monotonic() + 10
    while psutil.pid_exists(int(said["PID"])):
        assert time.monotonic() < deadline, "the backend outlived Blender"
        time.sleep(0.05)


def check_that_the_fit_can_be_used_again(folder: Path, photo: Path, environment: dict[str, str]) -> None:
    """The sidecar in the job's folder holds the fit, and `flextraj render` takes it."""
    fit = json.loads((folder / "job.json").read_text())["fit"]["matrix"]
    again = folder / "again.mp4"
    command = [sys.executable, "-m", "flextraj_backend", "render", str(folder / "trajectories.npz")]
    command += ["--image", str(photo), "--fit", str(folder / "job.json"), "-o", str(again)]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(again.with_suffix(".json").read_text())["fit"]["matrix"] == fit
