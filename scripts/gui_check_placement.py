"""The act of photo and placement: the photo behind the rig, the fit, start frames, mask, pins, mirror."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

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

PANELS = ("photo", "placement", "mask", "start_frame", "pins")


def steps() -> Steps:
    yield from pause(1.0)
    yield from open_tab()
    humanoid = add_character()
    settings().character = humanoid.armature
    operators.wm.save_as_mainfile(filepath=str(WORK / "placement.blend"))
    photo = "//" + Path(VALUES["photo"]).name
    in_sidebar(lambda: operators.flextraj.pick_image(target="PHOTO", filepath=photo))
    in_sidebar(operators.flextraj.add_camera)
    look_through_camera()
    yield from turn_camera_view_to_fill()
    for name in PANELS:
        open_copy(getattr(bpy.types, f"FLEXTRAJ_PT_{name}"))
    yield from open_tab("Check")
    measure_tools()
    yield from show_photo()
    yield from fit()
    yield from drag_rig()
    yield from find_start_frame()
    yield from correct_mask()
    yield from pin()
    yield from mirror()
    yield from other_proportions()
    yield from generate()


def settings() -> Any:
    """The shot's settings; undo makes them anew."""
    return context.scene.flextraj


def measure_tools() -> None:
    """How long each part of the work keeps the window waiting; a step contains a change of frame."""
    tools = sys.modules[f"{MODULE}.operators"]
    fitting, starting = tools.fit_to_photo, tools.start_frame
    measure(fitting.FLEXTRAJ_OT_fit_to_photo, "_step", "longest_fit_step_seconds")
    measure(fitting.FLEXTRAJ_OT_fit_to_photo, "_submit", "fit_submit_seconds")
    measure(starting.FLEXTRAJ_OT_find_start_frame, "_step", "longest_start_frame_step_seconds")
    measure(sys.modules[f"{MODULE}.overlay.placement_view"].PlacementView, "draw", "longest_draw_seconds")
    measure(tools.correct_mask.FLEXTRAJ_OT_correct_mask, "handle", "longest_brush_event_seconds")


def turn_camera_view_to_fill() -> Steps:
    area = area_of("VIEW_3D")
    region = next(region for region in area.regions if region.type == "WINDOW")
    with context.temp_override(window=window(), area=area, region=region):
        operators.view3d.view_center_camera()
    area.spaces.active.region_3d.view_camera_zoom = 12
    yield from pause(0.3)


def show_photo() -> Steps:
    camera = context.scene.camera.data
    own = camera.background_images.new()
    own.source = "MOVIE_CLIP"
    in_sidebar(lambda: operators.flextraj.show_photo("INVOKE_DEFAULT"))
    must(len(camera.background_images) == 2, "The photo is not behind the rig.")
    settings().placement.photo_opacity = 0.9
    yield from shoot("p1_photo_behind_rig")
    context.scene.render.resolution_x, context.scene.render.resolution_y = 1080, 1080
    in_sidebar(operators.flextraj.size_from_photo)
    render = context.scene.render
    found["size_from_photo"] = [render.resolution_x, render.resolution_y]
    must(settings().size == "SCENE", "The video does not have the render size.")
    in_sidebar(operators.flextraj.hide_photo)
    must(list(camera.background_images) == [own], "Hiding the photo touched the user's own image.")
    must("FlexTraj Photo" not in bpy.data.images, "The photo's image was left behind.")
    in_sidebar(lambda: operators.flextraj.show_photo("INVOKE_DEFAULT"))


def fit() -> Steps:
    started = time.monotonic()
    must(
        in_sidebar(lambda: operators.flextraj.fit_to_photo("INVOKE_DEFAULT")) == {"RUNNING_MODAL"},
        f"Fit to Photo did not start: {state().error_text}",
    )
    yield from wait(lambda: state().placement.is_fitting, 60, "Fitting")
    yield from shoot("p2_fitting")
    yield from wait(lambda: not state().placement.is_fitting, 120, "The end of the fit")
    yield from pause(0.3)
    found["fit_seconds"] = round(time.monotonic() - started, 1)
    found["backend_pid"] = session()._backend._process.pid or 0
    must(settings().fit == "given", f"There is no fit: {state().error_text}")
    found["fit"] = [round(value, 3) for value in settings().placement.matrix]
    yield from shoot("p3_fitted")


def view() -> Any:
    return sys.modules[f"{MODULE}.overlay.placement_view"].placement_view()


def screen_place(place: Any) -> tuple[int, int]:
    """Where a pixel of the shot is on the screen, whose rows count from its top."""
    placement = sys.modules[f"{MODULE}.core.placement"]
    mapping = sys.modules[f"{MODULE}.core.view_mapping"]
    cameras = sys.modules[f"{MODULE}.bridge.cameras"]
    area = area_of("VIEW_3D")
    region = next(region for region in area.regions if region.type == "WINDOW")
    to_region = mapping.raster_to_region(
        cameras.camera_settings(context.scene, context.scene.camera.data),
        view().rig.raster,
        np.array(area.spaces.active.region_3d.window_matrix),
        (region.width, region.height),
    )
    x, y = placement.apply(to_region, np.asarray(place, float))
    return round(region.x + x), round(window().height - region.y - y)


def drag(start: Any, end: Any) -> Steps:
    (x0, y0), (x1, y1) = screen_place(start), screen_place(end)
    yield from ask("drag", f"{x0} {y0} {x1} {y1}")


def seen_point(place: tuple[float, float]) -> Any:
    """Where the visible point of the rig that is nearest to a place stands on the photo."""
    shown = sys.modules[f"{MODULE}.overlay.placement_view"]
    points = shown.visible_points(view().rig, shown.placed_fit(context, view().rig), {})
    return points[np.hypot(*(points - np.array(place)).T).argmin()]


def start_tool(call: Callable[[], Any]) -> Steps:
    must(in_sidebar(call) == {"RUNNING_MODAL"}, f"The tool did not start: {state().error_text}")
    yield from wait(lambda: view().tool is not None, 60, "The tool")


def drag_rig() -> Steps:
    before = list(settings().placement.matrix)
    yield from start_tool(lambda: operators.flextraj.place_rig("INVOKE_DEFAULT"))
    yield from ask("key", "s")
    yield from ask("key", "g")
    yield from shoot("p4_dragging")
    yield from ask("key", "Escape")
    yield from wait(lambda: view().tool is None, 5, "The end of dragging")
    must(list(settings().placement.matrix) == before, "Esc did not give the placement back.")
    yield from start_tool(lambda: operators.flextraj.place_rig("INVOKE_DEFAULT"))
    yield from ask("key", "g")
    yield from drag((300, 200), (300, 200))
    yield from wait(lambda: view().tool is None, 5, "The end of dragging")
    must(list(settings().placement.matrix) != before, "Dragging did not move the rig.")
    yield from shoot("p5_dragged")
    with context.temp_override(window=window()):
        operators.ed.undo()
    yield from pause(0.5)
    again = settings().placement.matrix
    must(np.allclose(list(again), before), "Undo did not give the placement back.")


def find_start_frame() -> Steps:
    frame = context.scene.frame_current
    started = time.monotonic()
    in_sidebar(lambda: operators.flextraj.find_start_frame("INVOKE_DEFAULT"))
    yield from wait(lambda: not state().is_sampling, 200, "The search for a start frame")
    found["start_frame_seconds"] = round(time.monotonic() - started, 1)
    offered = [(item.frame, round(item.overlap, 3)) for item in state().placement.start_frames]
    found["start_frames"] = offered
    must(offered, f"No start frame is offered: {state().error_text}")
    must(context.scene.frame_current == frame, "The search did not give the scene its frame back.")
    keys = [curve_key for action in bpy.data.actions for curve_key in action.frame_range]
    yield from shoot("p6_start_frames")
    in_sidebar(lambda: operators.flextraj.use_start_frame(frame=offered[0][0]))
    must(settings().first_frame == int(offered[0][0]), "The shot does not start on the chosen frame.")
    must(
        keys == [key for action in bpy.data.actions for key in action.frame_range], "The action was changed."
    )
    yield from fit()
    yield from shoot("p7_fitted_start_frame")


def correct_mask() -> Steps:
    yield from start_tool(lambda: operators.flextraj.correct_mask("INVOKE_DEFAULT", shape="BRUSH"))
    yield from drag((560, 60), (620, 380))
    yield from drag((600, 60), (600, 380))
    yield from shoot("p8_brush")
    yield from ask("key", "ctrl+z")
    yield from ask("key", "b")
    yield from drag((40, 60), (120, 200))
    yield from shoot("p9_rectangle")
    yield from ask("key", "Return")
    yield from wait(lambda: view().tool is None, 5, "The end of the brush")
    must(Path(bpy.path.abspath(settings().mask)).is_file(), "The mask was not saved.")
    found["mask"] = settings().mask
    in_sidebar(operators.flextraj.forget_mask)


def pin() -> Steps:
    yield from fit()
    rig = view().rig
    yield from start_tool(lambda: operators.flextraj.edit_pins("INVOKE_DEFAULT"))
    face, shoulder = seen_point((330, 190)), seen_point((180, 420))
    yield from drag(face, face + np.array([-25.0, 20.0]))
    yield from drag(shoulder + np.array([-25.0, 20.0]), shoulder + np.array([-70.0, 10.0]))
    yield from shoot("p10_pins")
    yield from ask("key", "Return")
    yield from wait(lambda: view().tool is None, 5, "The end of pinning")
    found["pins"] = len(settings().placement.pins)
    must(settings().placement.pins, "No pin was kept.")
    must(view().rig is not rig, "Pinning did not look at the first frame.")
    yield from shoot("p11_pinned")
    in_sidebar(operators.flextraj.remove_pins)


def mirror() -> Steps:
    before = covered()
    in_sidebar(operators.flextraj.mirror_motion)
    must(settings().placement.mirror, "The motion was not mirrored.")
    found["covered_before_and_after_mirroring"] = [round(before, 3), round(covered(), 3)]
    must(covered() != before, "What the rig covers is not brought up to date.")
    yield from shoot("p12_mirrored")
    in_sidebar(operators.flextraj.mirror_motion)


def covered() -> float:
    """Which share of the subject the panel says that the rig covers."""
    overlap = sys.modules[f"{MODULE}.overlay.subject_overlap"].SubjectOverlap()
    share = overlap.of(context, view().rig_of(context.scene), view().subject_of(context.scene))
    must(share is not None, "The panel does not say what the rig covers.")
    return float(share)


def other_proportions() -> Steps:
    """The photo must cover the video's frame, whatever the render size is: the tint lies on the subject."""
    render = context.scene.render
    settings().size, settings().width, settings().height = "CUSTOM", 720, 480
    render.resolution_x, render.resolution_y = 900, 900
    in_sidebar(lambda: operators.flextraj.show_photo("INVOKE_DEFAULT"))
    yield from shoot("p13_square_render_size")
    render.resolution_x, render.resolution_y = 720, 480
    in_sidebar(lambda: operators.flextraj.show_photo("INVOKE_DEFAULT"))


def generate() -> Steps:
    settings().frames = 17
    in_sidebar(lambda: operators.flextraj.generate("INVOKE_DEFAULT"))
    yield from wait(lambda: len(state().jobs) == 1, 240, "The job")
    yield from wait(
        lambda: state().jobs[0].stage in ("done", "failed", "cancelled"), 300, "The end of the job"
    )
    must(state().jobs[0].stage == "done", f"The job failed: {state().jobs[0].message}")
    found["video"] = state().jobs[0].video


run(steps())
