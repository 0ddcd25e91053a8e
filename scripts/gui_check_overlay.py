"""Steps of the window check: sampled points, their paths and the conditioning videos in the camera view."""

from __future__ import annotations

import sys
import time
from typing import Any

import bpy
import numpy as np
from bpy_extras.view3d_utils import location_3d_to_region_2d
from gui_check_latency import MOST_STALL_MS, Heartbeat
from gui_check_tools import (
    MODULE,
    Steps,
    area_of,
    context,
    found,
    in_sidebar,
    must,
    open_copy,
    open_tab,
    operators,
    pause,
    shoot,
    state,
    wait,
    window,
)

MANY_POINTS = 100_000
TRAIL_FRAME = 25
MOST_ERROR_PX = 0.05
_SAMPLINGS = 2
"""The better one counts: other processes do not disturb the same step in both."""
_REDRAWS = 12


def overlay_steps(humanoid: Any) -> Steps:
    """Sample without generating and look at everything; leaves settings and scene as they were."""
    settings, shown = context.scene.flextraj, state().overlay
    before = {name: getattr(settings, name) for name in ("points", "mode", "segment_by", "keep_points")}
    frame = context.scene.frame_current
    copy = open_copy(bpy.types.FLEXTRAJ_PT_overlay)  # pyright: ignore[reportAttributeAccessIssue]
    yield from open_tab("Check")
    yield from points_lie_on_the_rig(humanoid)
    settings.mode = before["mode"]

    settings.points = 1000
    yield from sample()
    context.scene.frame_set(TRAIL_FRAME)
    shown.trail_length, shown.trail_count = 20, 1000
    yield from shoot("3a_points_and_paths")

    yield from many_points()
    shown.show_points = False
    shown.preview = "ID"
    yield from shoot("3b_id_video")
    settings.keep_points, settings.color_cue = 0.02, True
    shown.preview, shown.preview_opacity = "COLOR", 0.8
    yield from shoot("3c_sparse_colour_video")

    shown.preview, shown.show_points = "OFF", True
    view = area_of("VIEW_3D").spaces.active.region_3d
    view.view_perspective = "PERSP"
    yield from shoot("3d_beside_the_camera")
    view.view_perspective = "CAMERA"
    bpy.utils.unregister_class(copy)
    yield from open_tab()
    must(not state().error_text, f"The overlay shows an error: {state().error_text}")
    in_sidebar(operators.flextraj.forget_points)
    shown.show_points, settings.color_cue = False, False
    for name, value in before.items():
        setattr(settings, name, value)
    context.scene.frame_set(frame)


def sample() -> Steps:
    """Press Sample Points and wait."""
    must(
        in_sidebar(lambda: operators.flextraj.sample_points("INVOKE_DEFAULT")) == {"RUNNING_MODAL"},
        f"Sample Points did not start: {state().error_text}",
    )
    yield from wait(lambda: not state().is_sampling, 240, "The end of sampling")
    must(shot() is not None, f"Nothing was sampled: {state().error_text}")


def shot() -> Any:
    return sys.modules[f"{MODULE}.overlay.viewport"].shot_of(context.scene)


def points_lie_on_the_rig(humanoid: Any) -> Steps:
    """Where the overlay draws vertices, against where Blender's viewport shows them."""
    settings = context.scene.flextraj
    settings.mode = "vertices"
    settings.points = 65_536
    yield from sample()
    whole, subframe = divmod(shot().meta.source_frames[7], 1)
    context.scene.frame_set(int(whole), subframe=subframe)
    yield from pause(0.5)
    area = area_of("VIEW_3D")
    region = next(region for region in area.regions if region.type == "WINDOW")
    view = area.spaces.active.region_3d
    viewport = sys.modules[f"{MODULE}.overlay.viewport"]
    with context.temp_override(window=window(), area=area, region=region):
        mapping = viewport.region_from_raster(bpy.context, (shot().meta.width, shot().meta.height))
    mesh = next(ob for ob in context.scene.objects if ob.type == "MESH" and ob.parent == humanoid.armature)
    evaluated = mesh.evaluated_get(context.evaluated_depsgraph_get())
    errors = []
    for index in range(0, len(evaluated.data.vertices), 50):
        world = evaluated.matrix_world @ evaluated.data.vertices[index].co
        expected = location_3d_to_region_2d(region, view, world)
        drawn = mapping[:, :2] @ shot().positions[7, index, :2] + mapping[:, 2]
        errors.append(float(np.abs(drawn - np.array(expected)).max()))
    found["largest_distance_of_points_from_the_rig_px"] = round(max(errors), 4)
    must(max(errors) < MOST_ERROR_PX, f"Points lie {max(errors):.2f} px beside the rig.")


def many_points() -> Steps:
    """How long sampling and drawing of very many points keep the window waiting."""
    settings, shown = context.scene.flextraj, state().overlay
    settings.segment_by = "material"
    segments = len({slot.material for ob in context.scene.objects for slot in ob.material_slots})
    settings.points = -(-MANY_POINTS // segments)
    summaries = []
    for _ in range(_SAMPLINGS):
        started = time.monotonic()
        with Heartbeat().measuring() as heart:
            yield from sample()
        summaries.append({"seconds": round(time.monotonic() - started, 2)} | heart.summary())
        shown.show_points = False
    best = min(summaries, key=lambda summary: summary["largest_stall_by_flextraj_ms"])
    found["sampling_many_points"] = {"points": shot().point_count, "runs": summaries}
    must(shot().point_count >= MANY_POINTS, f"Only {shot().point_count} points were sampled.")
    must(
        best["largest_stall_by_flextraj_ms"] < MOST_STALL_MS,
        f"Sampling keeps the window waiting for {best['largest_stall_by_flextraj_ms']} ms.",
    )
    times: dict[str, Any] = {}
    for shows in (False, True):
        shown.show_points = shows
        yield from pause(0.3)
        times["redraw_with_points_ms" if shows else "redraw_without_ms"] = redraw_times()
    with Heartbeat().measuring() as heart:
        for number in range(1, 1 + _REDRAWS):
            context.scene.frame_set(number)
            yield from pause(0.1)
    found["drawing_many_points"] = times | {"scrubbing": heart.summary()}
    context.scene.frame_set(TRAIL_FRAME)


def redraw_times() -> dict[str, float]:
    """Milliseconds of drawing the whole window, the frame staying as it is."""
    taken = []
    with context.temp_override(window=window()):
        for _ in range(_REDRAWS):
            started = time.monotonic()
            operators.wm.redraw_timer(type="DRAW_WIN_SWAP", iterations=1)
            taken.append(1000 * (time.monotonic() - started))
    return {"shortest": round(min(taken), 1), "median": round(sorted(taken)[_REDRAWS // 2], 1)}
