"""What Blender may hear of while a shot is sampled: views can be moved, the scene stays as it is.

Sampling turns the scene over between events: another frame, hidden objects shown, modifiers as in a render.
Work done meanwhile would be undone with that, and every undo step of it would hold that state.
"""

from __future__ import annotations

import bpy

from ..blender_types import Context, OperatorResult
from ..bridge.compat import open_windows
from ..registration import registration_of
from ..session import current_session
from ..sidebar import shows_our_tab

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
        return True
    place = _place_under(context, event)
    if place is None:
        return False
    area, region = place
    if area.type == "VIEW_3D" and region.type == "WINDOW":
        return not _moves_camera(area.spaces.active) and _is_navigation(context, event)
    # With these keys a wheel turns values, or goes through the frames.
    if is_scrolling:
        return not (event.alt or event.ctrl)
    # Its panels are disabled meanwhile, but for Cancel.
    return event.type == "LEFTMOUSE" and shows_our_tab(area, region)


def guard_other_windows(context: Context) -> None:
    """Keep work in the other windows from the scene, too; ends with the sampling."""
    for window in open_windows():
        if window != context.window:
            with context.temp_override(window=window):
                bpy.ops.flextraj.guard_window("INVOKE_DEFAULT")  # pyright: ignore[reportAttributeAccessIssue]


def _place_under(context: Context, event: bpy.types.Event) -> tuple[bpy.types.Area, bpy.types.Region] | None:
    """The area and region under the pointer; a sidebar lies over the region of the view."""
    x, y = event.mouse_x, event.mouse_y
    found = [
        (area, region)
        for area in context.window.screen.areas
        for region in area.regions
        if region.x <= x < region.x + region.width and region.y <= y < region.y + region.height
    ]
    return min(found, key=lambda place: place[1].type == "WINDOW", default=None)


def _moves_camera(view: bpy.types.SpaceView3D) -> bool:
    """Whether moving this view would move the camera with it."""
    region_3d = view.region_3d
    return view.lock_camera and region_3d is not None and region_3d.view_perspective == "CAMERA"


def _is_navigation(context: Context, event: bpy.types.Event) -> bool:
    """Whether the user's key map moves a 3D view on this event."""
    keymap = context.window_manager.keyconfigs.user.keymaps.get("3D View")
    found = None if keymap is None else keymap.keymap_items.match_event(event)
    return found is not None and found.idname in _NAVIGATION


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
