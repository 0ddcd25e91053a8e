"""The act of `gui_check.py` about jobs: what files, scenes, renders, disabling and kill -9 do to them."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).resolve().parent))

from gui_check_tools import (
    MODULE,
    VALUES,
    WORK,
    Steps,
    add_character,
    area_of,
    ask,
    be_killed,
    context,
    found,
    in_sidebar,
    look_through_camera,
    measure,
    must,
    open_tab,
    operators,
    pause,
    run,
    session,
    shoot,
    shoot_end_of_sidebar,
    state,
    wait,
    window,
)

JOBS_FILE = WORK / "jobs.blend"
OTHER_FILE = WORK / "other.blend"
LOOK_FRAME = 20


def steps() -> Steps:
    yield from pause(1.0)
    operators.wm.save_as_mainfile(filepath=str(OTHER_FILE))
    yield from open_tab()
    prepare_shot()
    measure(sys.modules[f"{MODULE}.session"], "poll_once", "longest_poll_seconds")
    yield from generate()
    yield from wait(lambda: stages() == ["done"], 240, "The first job")
    yield from load_as()
    yield from switch_while_a_job_runs()
    yield from render_while_a_job_runs()
    yield from disable_while_a_job_runs()
    yield from disable_while_sampling()
    yield from generate()
    yield from wait(lambda: state().jobs[-1].stage == "running", 120, "The start of the job to be killed")
    found["stages_before_the_kill"] = stages()
    found["backend_pid"] = backend_pid()
    yield from be_killed()


def prepare_shot() -> None:
    humanoid = add_character()
    settings = context.scene.flextraj
    settings.character, settings.frames = humanoid.armature, 33
    settings.photo = VALUES["photo"]
    settings.mask = VALUES["mask"]
    in_sidebar(operators.flextraj.add_camera)
    look_through_camera()
    operators.wm.save_as_mainfile(filepath=str(JOBS_FILE))


def stages() -> list[str]:
    return [row.stage for row in state().jobs]


def backend_pid() -> int:
    return session()._backend._process.pid or 0


def generate() -> Steps:
    before = len(state().jobs)
    must(
        in_sidebar(lambda: operators.flextraj.generate("INVOKE_DEFAULT")) == {"RUNNING_MODAL"},
        f"Generate did not start: {state().error_text}",
    )
    yield from wait(lambda: len(state().jobs) > before, 240, "The end of sampling")


def load_as() -> Steps:
    context.scene.frame_set(LOOK_FRAME)
    in_sidebar(lambda: operators.flextraj.load_result(target="BACKGROUND"))
    must(len(context.scene.camera.data.background_images) == 1, "The camera has no background.")
    viewer = area_of("PROPERTIES")
    viewer.type = "IMAGE_EDITOR"
    yield from pause(0.5)
    in_sidebar(lambda: operators.flextraj.load_result(target="SEQUENCE"))
    space = viewer.spaces.active
    yield from wait(
        lambda: space.image is not None and space.image.source == "SEQUENCE", 60, "The image sequence"
    )
    found["pictures"] = space.image_user.frame_duration
    must(found["pictures"] == 33, f"The sequence has {found['pictures']} pictures.")
    with context.temp_override(
        window=window(), area=viewer, region=next(r for r in viewer.regions if r.type == "WINDOW")
    ):
        operators.image.view_all(fit_view=True)
    yield from shoot("20_camera_background_and_sequence")
    in_sidebar(lambda: operators.wm.call_menu(name="FLEXTRAJ_MT_load_as"))
    yield from shoot("21_load_as")
    yield from ask("key", "Escape")
    operators.wm.save_mainfile()


def switch_while_a_job_runs() -> Steps:
    """Undo, another scene and another file leave a job alone."""
    yield from generate()
    with context.temp_override(window=window()):
        operators.ed.undo_push(message="check")
        operators.ed.undo()
        operators.ed.redo()
    must(len(state().jobs) == 2, "Undo lost the jobs.")
    first = context.scene
    window().scene = bpy.data.scenes.new("Second")
    yield from pause(0.5)
    must(len(state().jobs) == 2, "Another scene lost the jobs.")
    window().scene = first
    operators.wm.open_mainfile(filepath=str(OTHER_FILE))
    yield from pause(1.0)
    must([row.file for row in state().jobs] == ["jobs.blend"], f"The other file shows {stages()}.")
    yield from open_tab()
    yield from shoot_end_of_sidebar("22_job_of_another_file")
    operators.wm.open_mainfile(filepath=str(JOBS_FILE))
    yield from pause(1.0)
    yield from wait(lambda: stages() == ["done", "done"], 240, "The second job")
    yield from open_tab()


def render_while_a_job_runs() -> Steps:
    """While Blender renders, jobs go on and nothing is loaded into the file."""
    context.preferences.view.render_display_type = "NONE"
    scene = context.scene
    scene.render.engine = "BLENDER_WORKBENCH"
    scene.render.filepath = str(WORK / "results" / "render_")
    scene.render.resolution_percentage = 50
    before = scene.frame_current
    yield from generate()
    with context.temp_override(window=window()):
        operators.render.render("INVOKE_DEFAULT", animation=True)
    yield from wait(lambda: bpy.app.is_job_running("RENDER"), 20, "The start of rendering")
    must(not operators.flextraj.load_result.poll(), "A video can be loaded while Blender renders.")
    must(not operators.flextraj.generate.poll(), "The shot can be sampled while Blender renders.")
    yield from wait(lambda: not bpy.app.is_job_running("RENDER"), 240, "The end of rendering")
    yield from wait(lambda: stages()[-1] == "done", 240, "The job beside the render")
    must(scene.frame_current == before, "The render moved the scene's frame.")
    must(operators.flextraj.load_result.poll(), "Nothing can be loaded after the render.")


def disable_while_a_job_runs() -> Steps:
    yield from generate()
    yield from wait(lambda: stages()[-1] == "running", 120, "The start of the job")
    jobs, pid = len(state().jobs), backend_pid()
    found["disable_seconds"] = disable()
    yield from wait(lambda: not Path(f"/proc/{pid}").exists(), 10, "The end of the disabled add-on's backend")
    must(not hasattr(bpy.types.Scene, "flextraj"), "The disabled add-on left properties.")
    operators.preferences.addon_enable(module=MODULE)
    yield from wait(lambda: len(state().jobs) == jobs, 20, "The job list after enabling again")
    yield from wait(lambda: stages()[-1] == "interrupted", 60, "The job that disabling interrupted")
    yield from open_tab()
    yield from shoot_end_of_sidebar("23_interrupted")
    in_sidebar(lambda: operators.flextraj.retry_job(key=state().jobs[-1].key))
    yield from wait(lambda: stages()[-1] == "done", 240, "The retried job")


def disable_while_sampling() -> Steps:
    frame = context.scene.frame_current
    in_sidebar(lambda: operators.flextraj.generate("INVOKE_DEFAULT"))
    yield from wait(lambda: state().is_sampling and state().sampling_factor > 0.1, 60, "Sampling")
    found["disable_while_sampling_seconds"] = disable()
    yield from pause(1.0)
    must(context.scene.frame_current == frame, "Disabling did not give the scene its frame back.")
    yield from shoot("24_disabled_while_sampling")
    operators.preferences.addon_enable(module=MODULE)
    yield from wait(lambda: len(state().jobs) == 4, 20, "The job list after enabling again")
    yield from open_tab()


def disable() -> float:
    started = time.monotonic()
    operators.preferences.addon_disable(module=MODULE)
    return round(time.monotonic() - started, 3)


run(steps())
