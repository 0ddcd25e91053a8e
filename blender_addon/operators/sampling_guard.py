"""What Blender may hear of while a shot is sampled: views can be moved, the scene stays as it is.

Sampling turns the scene over between events: another frame, hidden objects shown, modifiers as in a render.
Work done meanwhile would be undone with that, and every undo step of it would hold that state.
"""

from __future__ import annotations

from typing import Any

import bpy

from ..blender_types import Context, OperatorResult
from ..bridge.compat import open_windows
from ..registration import registration_of
from ..session import current_session
from ..sidebar import shows_our_tab

_Place = tuple[bpy.types.Area, bpy.types.Region]

_DROPPED_FILE = ""
"""Blender's name for the event of a file that is dropped on a window: none."""
_PRESSES = frozenset({"PRESS", "CLICK", "DOUBLE_CLICK", "CLICK_DRAG"})
_SCROLLING = frozenset(
    {
        "MIDDLEMOUSE",
        "MOUSEROTATE",
        "MOUSESMARTZOOM",
        "TRACKPADPAN",
        "TRACKPADZOOM",
        "WHEELDOWNMOUSE",
        "WHEELINMOUSE",
        "WHEELOUTMOUSE",
        "WHEELUPMOUSE",
    }
)
_NAVIGATION = frozenset(
    f"view3d.{name}"
    for name in (
        "dolly",
        "move",
        "ndof_all",
        "ndof_orbit",
        "ndof_orbit_zoom",
        "ndof_pan",
        "rotate",
        "view_all",
        "view_axis",
        "view_camera",
        "view_center_camera",
        "view_center_pick",
        "view_orbit",
        "view_pan",
        "view_persportho",
        "view_roll",
        "view_selected",
        "zoom",
    )
)


def leaves_scene_alone(context: Context, event: bpy.types.Event) -> bool:
    """Whether Blender may react to an event of the context's window: it moves a view at most."""
    is_scrolling = event.type in _SCROLLING or event.type.startswith("NDOF_")
    if not is_scrolling and event.value not in _PRESSES:
        return event.type != _DROPPED_FILE
    place = _place_under(context, event)
    if place is None:
        return False
    area, region = place
    is_view = area.type == "VIEW_3D"
    if is_view and region.type == "WINDOW":
        return not _moves_camera(area.spaces.active) and _is_navigation(context, event, place)
    if is_scrolling:
        # With these keys a wheel turns values, or goes through the frames. Between the panels of a view its
        # regions are transparent: there the wheel is the view's.
        return not (event.alt or event.ctrl or (is_view and _moves_camera(area.spaces.active)))
    # Not the view that shows through between the panels. Of the buttons, Cancel alone is enabled meanwhile.
    return event.type == "LEFTMOUSE" and shows_our_tab(area, region) and _is_over_button(context, place)


def guard_other_windows(context: Context) -> None:
    """Keep work in the other windows from the scene, too; ends with the sampling."""
    for window in open_windows():
        if window != context.window:
            with context.temp_override(window=window):
                bpy.ops.flextraj.guard_window("INVOKE_DEFAULT")  # pyright: ignore[reportAttributeAccessIssue]


def _place_under(context: Context, event: bpy.types.Event) -> _Place | None:
    """The area and region under the pointer; a sidebar lies over the region of the view."""
    x, y = event.mouse_x, event.mouse_y
    found = [
        (area, region)
        for area in context.window.screen.areas
        for region in area.regions
        if region.x <= x < region.x + region.width and region.y <= y < region.y + region.height
    ]
    return min(found, key=lambda place: place[1].type == "WINDOW", default=None)


def _moves_camera(view: Any) -> bool:
    """Whether moving this view would move the camera with it."""
    region_3d = view.region_3d
    return view.lock_camera and region_3d is not None and region_3d.view_perspective == "CAMERA"


def _is_navigation(context: Context, event: bpy.types.Event, place: _Place) -> bool:
    """Whether the user's key map moves the 3D view below the pointer on this event."""
    keymap = context.window_manager.keyconfigs.user.keymaps.get("3D View")
    if keymap is None:
        return False
    # Only what can be done in the context is found, and an operator keeps the one that it was started in.
    with context.temp_override(window=context.window, area=place[0], region=place[1]):
        found = keymap.keymap_items.match_event(event)
    return found is not None and found.idname in _NAVIGATION


def _is_over_button(context: Context, place: _Place) -> bool:
    """Whether the pointer is over a button that starts an operator; this one can be started where it is."""
    with context.temp_override(window=context.window, area=place[0], region=place[1]):
        return bpy.ops.ui.copy_python_command_button.poll()  # pyright: ignore[reportCallIssue]


class FLEXTRAJ_OT_guard_window(bpy.types.Operator):
    bl_idname = "flextraj.guard_window"
    bl_label = "Keep the Scene While It Is Sampled"
    bl_description = "Keep work in this window from the scene while it is sampled"
    bl_options = {"INTERNAL"}

    def invoke(self, context: Context, event: bpy.types.Event) -> OperatorResult:
        context.window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: Context, event: bpy.types.Event) -> OperatorResult:
        session = current_session()
        if session.sampling is None:
            return {"FINISHED", "PASS_THROUGH"}
        if event.type == "ESC" and event.value == "PRESS":
            session.end_sampling()
            return {"FINISHED"}
        return {"PASS_THROUGH"} if leaves_scene_alone(context, event) else {"RUNNING_MODAL"}


register, unregister = registration_of(FLEXTRAJ_OT_guard_window)
