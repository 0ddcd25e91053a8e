"""The act of the mini model: scenes that it never saw, their photos, Generate with and without control.

`gui_check.py` then measures the videos against the points that the panel sampled.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from gui_check_tools import (
    VALUES,
    Steps,
    context,
    found,
    in_sidebar,
    look_through_camera,
    must,
    open_tab,
    operators,
    pause,
    run,
    session,
    shoot,
    state,
    wait,
)


def steps() -> Steps:
    found["mini"] = []
    for index in range(VALUES["mini_scenes"]):
        yield from drive(index)
    in_sidebar(lambda: operators.flextraj.load_result(target="CLIP"))
    found["backend_pid"] = session()._backend._process.pid or 0


def drive(index: int) -> Steps:
    yield from pause(1.0)
    operators.wm.open_mainfile(filepath=f"{VALUES['mini_folder']}/{index}.blend")
    yield from pause(1.0)
    yield from open_tab()
    scene, settings = context.scene, context.scene.flextraj
    look_through_camera()
    settings.source = "LIST"
    for mesh in [ob for ob in scene.objects if ob.type == "MESH"]:
        settings.subjects.add().object = mesh
    photo = f"{VALUES['mini_folder']}/{index}.png"
    in_sidebar(lambda: operators.flextraj.pick_image(target="PHOTO", filepath=photo))
    settings.mask = ""
    settings.frame_range, settings.size = "SCENE", "SCENE"
    settings.frames = scene.frame_end - scene.frame_start + 1
    # The photo is the scene's own first frame: nothing has to be placed.
    settings.aligned, settings.points = True, 1500
    settings.surface = settings.color_cue = settings.photo_colors = True
    settings.engine = "mini"
    scene.frame_set(scene.frame_start)
    yield from shoot(f"m{index}_ready")
    found["mini"].append({})
    for name, strength in (("controlled", 1.0), ("without_control", 0.0)):
        settings.strength = strength
        yield from generate(name)
    yield from shoot(f"m{index}_done")


def generate(name: str) -> Steps:
    before = {job.key for job in state().jobs}
    started = in_sidebar(lambda: operators.flextraj.generate("INVOKE_DEFAULT"))
    must(started == {"RUNNING_MODAL"}, f"Generate did not start: {state().error_text}")
    yield from wait(lambda: len({job.key for job in state().jobs} - before) == 1, 120, "The job")

    def job() -> Any:
        return next(job for job in state().jobs if job.key not in before)

    yield from wait(lambda: job().stage in ("done", "failed", "cancelled"), 240, "The end of the job")
    must(job().stage == "done", f"The job is '{job().stage}': {job().message}")
    found["mini"][-1][name] = {"folder": job().folder, "video": job().video}


run(steps())
