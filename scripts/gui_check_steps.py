"""The Blender side of `gui_check.py`: runs in a real window and works through the FlexTraj panel.

Every step is a part of one generator that a timer resumes, so that Blender draws and handles events.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).resolve().parent))

from gui_check_latency import MOST_STALL_MS, Heartbeat
from gui_check_overlay import overlay_steps
from gui_check_tools import (
    MODULE,
    VALUES,
    WORK,
    Steps,
    add_character,
    area_of,
    ask,
    context,
    found,
    in_sidebar,
    look_through_camera,
    measure,
    must,
    open_copy,
    open_tab,
    operators,
    pause,
    run,
    session,
    shoot,
    state,
    wait,
    window,
)

VIDEO_FRAMES = 33
"""Fewer than the scene has, so that the video must be stretched on the timeline."""
LOOK_FRAME = 12
"""A frame on which the character leans to a side."""


def steps() -> Steps:
    yield from pause(1.0)
    must(MODULE in context.preferences.addons, "The extension is not enabled.")
    yield from open_tab()
    yield from shoot("1_empty")

    must(not operators.flextraj.generate.poll(), "Generate can be pressed although nothing is chosen.")
    humanoid = add_character()
    settings = context.scene.flextraj
    settings.character = humanoid.armature
    settings.frames = VIDEO_FRAMES
    operators.wm.save_as_mainfile(filepath=str(WORK / "check.blend"))
    photo = "//" + Path(VALUES["photo"]).name
    in_sidebar(lambda: operators.flextraj.pick_image(target="PHOTO", filepath=photo))
    settings.mask = "//" + Path(VALUES["mask"]).name if VALUES["mask"] else ""
    yield from shoot("2_no_camera")
    in_sidebar(operators.flextraj.add_camera)
    must(context.scene.camera is not None, "Add Camera added none.")
    look_through_camera()
    yield from shoot("3_ready")

    yield from overlay_steps(humanoid)
    yield from generate()
    yield from load_result()
    yield from cancel_and_fail()
    yield from draw_the_rest()


def generate() -> Steps:
    measure(
        sys.modules[f"{MODULE}.operators.generate"].FLEXTRAJ_OT_generate,
        "_step",
        "longest_sampling_step_seconds",
    )
    before = context.scene.frame_current
    started = time.monotonic()
    must(
        in_sidebar(lambda: operators.flextraj.generate("INVOKE_DEFAULT")) == {"RUNNING_MODAL"},
        f"Generate did not start: {state().error_text}",
    )
    yield from wait(lambda: state().is_sampling and state().sampling_factor > 0.05, 60, "Sampling")
    yield from work_meanwhile()
    yield from wait(lambda: state().sampling_factor > 0.2 or not state().is_sampling, 60, "Sampling")
    yield from shoot("4_sampling")
    yield from wait(lambda: not state().is_sampling, 240, "The end of sampling")
    found["sampling_seconds"] = round(time.monotonic() - started, 1)
    must(context.scene.frame_current == before, "Sampling did not give the scene its frame back.")
    must(len(state().jobs) == 1, f"There is no job: {state().error_text}")
    job = state().jobs[0]
    started, longest, last = time.monotonic(), 0.0, time.monotonic()
    photographed = False
    with Heartbeat().measuring() as heart:
        while job.stage not in ("done", "failed", "cancelled"):
            must(time.monotonic() - started < 240, f"The job still is '{job.text}' after 240 s.")
            if job.stage == "running" and job.factor > 0.1 and not photographed:
                photographed = True
                yield from shoot("5_rendering")
                last = time.monotonic()
            yield
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
    found["while_a_job_runs"] = heart.summary()
    found["job_seconds"] = round(time.monotonic() - started, 1)
    found["longest_pause_of_the_window_seconds"] = round(longest, 3)
    found["backend_pid"] = session()._backend._process.pid or 0
    must(job.stage == "done", f"The job is '{job.stage}': {job.message}")
    must(
        found["while_a_job_runs"]["largest_stall_by_flextraj_ms"] < MOST_STALL_MS,
        "FlexTraj kept the window waiting while a job ran.",
    )
    found["label"], found["warnings"] = job.label, job.warnings
    yield from shoot("6_done")


def work_meanwhile() -> Steps:
    """Click into the view and delete what is selected: while a shot is sampled nothing may come of it."""

    def content() -> list[tuple[str, bool]]:
        return sorted((ob.name, ob.select_get()) for ob in context.scene.objects)

    next(ob for ob in context.scene.objects if ob.type == "MESH").select_set(True)
    before = content()
    view = next(region for region in area_of("VIEW_3D").regions if region.type == "WINDOW")
    # The screen counts rows from its top.
    place = f"{view.x + view.width // 3} {window().height - view.y - view.height // 2}"
    yield from ask("drag", f"{place} {place}")
    yield from ask("key", "Delete")
    must(state().is_sampling, "Sampling had ended before it could be disturbed.")
    must(content() == before, "A click and a key changed the scene while it was sampled.")
    camera_view = area_of("VIEW_3D").spaces.active.region_3d
    zoom = camera_view.view_camera_zoom
    yield from ask("wheel", f"{place} 3")
    must(camera_view.view_camera_zoom != zoom, "The view cannot be zoomed while a shot is sampled.")
    camera_view.view_camera_zoom = zoom


def load_result() -> Steps:
    in_sidebar(lambda: operators.flextraj.load_result(target="STRIP"))
    in_sidebar(lambda: operators.flextraj.load_result(target="CLIP"))
    editor = context.scene.sequence_editor
    strips = editor.strips if hasattr(editor, "strips") else editor.sequences
    must({strip.type for strip in strips} == {"MOVIE", "SPEED"}, "The video is not stretched.")
    strip_span = sys.modules[f"{MODULE}.bridge.compat"].strip_span
    found["strips"] = [strip_span(strip) for strip in strips]
    for first, end in found["strips"]:
        is_in_step = first == context.scene.frame_start and abs(end - context.scene.frame_end - 1) <= 1
        must(is_in_step, f"A strip lasts from {first} to before {end}, the shot does not.")
    must(len(bpy.data.movieclips) == 1, "The movie clip was not loaded.")
    found["frames"] = bpy.data.movieclips[0].frame_duration
    must(found["frames"] == VIDEO_FRAMES, f"The video has {found['frames']} frames.")
    timeline = area_of("DOPESHEET_EDITOR")
    timeline.type = "SEQUENCE_EDITOR"
    overlay = timeline.spaces.active.timeline_overlay
    overlay.show_strip_source = False
    # The border above the timeline, dragged up; the screen counts rows from its top.
    border = (timeline.x + 40, window().height - timeline.y - timeline.height)
    yield from ask("drag", f"{border[0]} {border[1]} {border[0]} {border[1] - 90}")
    viewer = area_of("PROPERTIES")
    viewer.type = "IMAGE_EDITOR"
    yield from pause(0.5)
    in_sidebar(lambda: operators.flextraj.load_result(target="IMAGE"))
    with context.temp_override(
        window=window(), area=timeline, region=next(r for r in timeline.regions if r.type == "WINDOW")
    ):
        operators.sequencer.view_all()
    with context.temp_override(
        window=window(), area=viewer, region=next(r for r in viewer.regions if r.type == "WINDOW")
    ):
        operators.image.view_all(fit_view=True)
    viewer.spaces.active.show_region_toolbar = False
    context.scene.frame_set(LOOK_FRAME)
    yield from shoot("7_loaded")


def cancel_and_fail() -> Steps:
    in_sidebar(lambda: operators.flextraj.generate("INVOKE_DEFAULT"))
    yield from wait(lambda: state().is_sampling and state().sampling_factor > 0.1, 60, "Sampling again")
    yield from ask("key", "Escape")
    yield from wait(lambda: not state().is_sampling, 5, "The end of sampling after Esc")
    must(context.scene.frame_current == LOOK_FRAME, "Esc did not give the scene its frame back.")
    must(len(state().jobs) == 1, "A cancelled sampling made a job.")

    in_sidebar(lambda: operators.flextraj.generate("INVOKE_DEFAULT"))
    yield from wait(lambda: len(state().jobs) == 2, 240, "The second job")
    yield from wait(lambda: state().jobs[1].stage == "running", 60, "The start of the second job")
    in_sidebar(operators.flextraj.cancel_job)
    yield from wait(lambda: state().jobs[1].stage == "cancelled", 60, "The end of the cancelled job")

    broken = WORK / "broken.jpg"
    broken.write_bytes(b"this is no image")
    context.scene.flextraj.photo = str(broken)
    in_sidebar(lambda: operators.flextraj.generate("INVOKE_DEFAULT"))
    yield from wait(lambda: len(state().jobs) == 3, 240, "The third job")
    yield from wait(lambda: state().jobs[2].stage == "failed", 60, "The refusal of a photo that is none")
    must(state().error_text, "The panel shows no error.")
    found["sentence_for_a_broken_photo"] = state().error_text
    yield from shoot("8_error")
    operators.ed.undo_push(message="check")
    with context.temp_override(window=window()):
        operators.ed.undo()
    yield from pause(0.5)
    must(len(state().jobs) == 3, "Undo lost the job list.")


def draw_the_rest() -> Steps:
    """What is closed at first: panels (as copies that are open, in a tab of their own), menu, preferences."""
    names = ("FLEXTRAJ_PT_sampling", "FLEXTRAJ_PT_shot", "FLEXTRAJ_PT_backend")
    copies = [open_copy(getattr(bpy.types, name)) for name in names]
    settings = context.scene.flextraj
    settings.source = "LIST"
    settings.subjects.add().object = next(ob for ob in context.scene.objects if ob.type == "MESH")
    settings.photo = "//" + Path(VALUES["photo"]).name
    # So long a range that the panel warns of the frame rate.
    settings.frame_range = settings.size = "CUSTOM"
    settings.first_frame, settings.last_frame = 1, 595
    settings.engine = "wan"
    yield from open_tab("Check")
    in_sidebar(lambda: operators.wm.call_menu(name="FLEXTRAJ_MT_engines"))
    yield from shoot("9_closed_panels")
    for copy in copies:
        bpy.utils.unregister_class(copy)
    yield from ask("key", "Escape")
    yield from open_tab()
    yield from shoot("10_list")
    in_sidebar(operators.flextraj.open_preferences)
    yield from shoot("11_preferences")


run(steps())
