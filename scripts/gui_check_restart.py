"""The act of `gui_check.py` after a kill: the file is opened again, and its jobs are there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import bpy

sys.path.insert(0, str(Path(__file__).resolve().parent))

from gui_check_tools import (
    WORK,
    Steps,
    context,
    found,
    in_sidebar,
    must,
    open_copy,
    open_tab,
    operators,
    pause,
    run,
    session,
    shoot,
    shoot_end_of_sidebar,
    state,
    wait,
)


def steps() -> Steps:
    yield from pause(1.0)
    yield from open_jobs_file()
    yield from wait(lambda: len(state().jobs) == 5, 20, "The job list of the file")
    yield from wait(lambda: stages()[-1] == "interrupted", 60, "The job that the kill interrupted")
    must(stages()[:-1] == ["done"] * 4, f"The finished jobs are {stages()}.")
    found["backend_pid"] = session()._backend._process.pid or 0
    yield from shoot_end_of_sidebar("30_jobs_after_the_kill")
    in_sidebar(lambda: operators.flextraj.retry_job(key=state().jobs[-1].key))
    yield from wait(lambda: stages()[-1] == "running", 60, "The start of the retried job")
    yield from shoot_end_of_sidebar("31_retried")
    yield from wait(lambda: stages()[-1] == "done", 240, "The retried job")
    yield from lose_a_video()
    yield from look_at_backend()
    yield from miss_weights()


def open_jobs_file() -> Steps:
    operators.wm.open_mainfile(filepath=str(WORK / "jobs.blend"))
    # Blender must have drawn the new windows before their regions can be touched.
    yield from pause(1.0)
    yield from open_tab()


def stages() -> list[str]:
    return [row.stage for row in state().jobs]


def lose_a_video() -> Steps:
    job = state().jobs[0]
    Path(job.video).unlink()
    yield from open_jobs_file()
    yield from wait(lambda: stages()[0] == "lost", 20, "The loss of the video")
    state().job_index = 0
    yield from shoot_end_of_sidebar("32_lost")
    in_sidebar(lambda: operators.flextraj.retry_job(key=state().jobs[0].key))
    yield from wait(lambda: stages()[0] == "done", 60, "The video fetched again")


def look_at_backend() -> Steps:
    copies = [open_copy(getattr(bpy.types, name)) for name in ("FLEXTRAJ_PT_backend", "FLEXTRAJ_PT_log")]
    yield from open_tab("Check")
    yield from shoot("33_backend")
    in_sidebar(operators.flextraj.copy_log)
    must("listens on" in context.window_manager.clipboard, "The log was not copied.")
    for copy in copies:
        bpy.utils.unregister_class(copy)
    yield from open_tab()


def miss_weights() -> Steps:
    settings: Any = context.scene.flextraj
    settings.engine = "wan"
    yield from shoot_end_of_sidebar("34_weights")
    engine = next(engine for engine in session().engines if engine.name == "wan")
    if engine.available:
        return
    in_sidebar(lambda: operators.flextraj.copy_command(message=engine.reason))
    found["command"] = context.window_manager.clipboard
    yield from shoot("35_command_in_preferences")


run(steps())
