"""Blender killed with -9 in the middle of a job: nothing goes on running, and the next one loses nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import tiny_shot
from server_harness import FAKE_ENGINES, REPOSITORY, backend_environment, wait_until

from flextraj_backend.video_io import read_video

pytest.importorskip("bpy")

BLENDER = """
import functools, json, os, sys, time
from dataclasses import replace
from pathlib import Path
import bpy, blender_addon
from blender_addon import session
from blender_addon.bridge.shot_request import plan_shot
from blender_addon.bridge.shot_sampling import run_to_end, sample_shot
from blender_addon.client import managed_backend

folder = Path(sys.argv[1])
managed_backend.BackendProcess = functools.partial(
    managed_backend.BackendProcess, environment=json.loads(os.environ["BACKEND_ENVIRONMENT"])
)
blender_addon.register()
current = session.current_session()

def tell(**values):
    print(json.dumps(values), flush=True)

def rows():
    return [(row.stage, row.message, row.video, row.key) for row in bpy.context.window_manager.flextraj.jobs]
"""

GENERATE_AND_GO_ON = """
bpy.ops.wm.read_factory_settings(use_empty=True)
scene = bpy.context.scene
bpy.ops.mesh.primitive_monkey_add()
subject = bpy.context.object
subject.keyframe_insert("rotation_euler", frame=1)
subject.rotation_euler.z = 0.4
subject.keyframe_insert("rotation_euler", frame=9)
settings = scene.flextraj
settings.character, settings.photo, settings.frames = subject, str(folder / "photo.png"), 5
settings.engine, settings.points = "fake", 32
settings.size, settings.width, settings.height = "CUSTOM", 96, 64
bpy.ops.flextraj.add_camera()
bpy.ops.wm.save_as_mainfile(filepath=str(folder / "shot.blend"))
for prompt in ("wait the first time", ""):
    plan = plan_shot(bpy.context, settings)
    trajectories = run_to_end(sample_shot(scene, bpy.context.view_layer, plan.sample))
    order = plan.order(trajectories, folder / "results")
    request = replace(order.request, prompt=prompt, negative_prompt=str(folder / "marker"))
    current.submit(replace(order, request=request), trajectories)
while not (folder / "marker").exists() or "queued" not in [row[0] for row in rows()]:
    session.poll_once()
    time.sleep(0.05)
tell(backend=current._backend._process.pid, rows=rows())
while True:
    session.poll_once()
    time.sleep(0.05)
"""

OPEN_AGAIN = """
bpy.ops.wm.open_mainfile(filepath=str(folder / "shot.blend"))
bpy.ops.flextraj.find_jobs()
tell(rows=rows())
for row in list(bpy.context.window_manager.flextraj.jobs):
    if row.stage == "interrupted":
        bpy.ops.flextraj.retry_job(key=row.key)
tell(rows=rows(), backend=current._backend._process.pid)
blender_addon.unregister()
"""


@contextmanager
def blender(folder: Path, script: str) -> Iterator[subprocess.Popen[str]]:
    """Blender as a Python module in a process of its own, with the real backend and the fake engine."""
    environment = {
        **os.environ,
        "BLENDER_USER_RESOURCES": str(folder / "user"),
        "FLEXTRAJ_BACKEND_PYTHON": sys.executable,
        "FLEXTRAJ_CONFIG_DIR": str(folder / "config"),
        "XDG_DATA_HOME": str(folder / "data"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "BACKEND_ENVIRONMENT": json.dumps(backend_environment()),
        "OMP_NUM_THREADS": "1",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", BLENDER + script, str(folder)],
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def next_message(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The next JSON line that a Blender says."""
    assert process.stdout is not None
    said: list[str] = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("{"):
            return json.loads(line)
    raise AssertionError("".join(said))


@pytest.mark.slow
def test_a_killed_blender_leaves_no_process_and_the_next_one_finds_and_finishes_its_jobs(
    tmp_path: Path,
) -> None:
    assert FAKE_ENGINES.is_dir()
    (tmp_path / "photo.png").write_bytes(tiny_shot.png(tiny_shot.photo()))
    with blender(tmp_path, GENERATE_AND_GO_ON) as first:
        said = next_message(first)
        backend = psutil.Process(said["backend"])
        family = [backend, *backend.children(recursive=True)]
        assert len(family) >= 2, "the job does not run"
        first.send_signal(signal.SIGKILL)
        first.wait()
        wait_until(lambda: not any(process.is_running() for process in family), "the end of the backend")
    with blender(tmp_path, OPEN_AGAIN) as second:
        # The job that ran waits for the user; the one behind it in the queue was rendered meanwhile.
        rows = next_message(second)["rows"]
        assert [row[0] for row in rows] == ["interrupted", "done"]
        assert "retry" in rows[0][1]
        said = next_message(second)
        assert [row[0] for row in said["rows"]] == ["done", "done"]
        assert [row[3] for row in said["rows"]] == [row[3] for row in rows]
        assert second.wait(60) == 0
        wait_until(lambda: not psutil.pid_exists(said["backend"]), "the end of the second backend")
    for _stage, _message, video, _key in said["rows"]:
        assert read_video(Path(video))[0].shape == (5, 64, 96, 3)
