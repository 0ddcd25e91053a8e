"""The parent panel: the last error with the button that helps against it."""

from __future__ import annotations

import bpy

from ..blender_types import Context, Layout
from ..core.errors import ErrorCode
from ..properties import runtime_state
from ..registration import registration_of
from .layout import SidebarPanel, wrapped_text

_FIXES = {
    ErrorCode.BACKEND: ("flextraj.start_backend", "FILE_REFRESH"),
    ErrorCode.BACKEND_MISSING: ("flextraj.open_preferences", "PREFERENCES"),
    ErrorCode.BACKEND_VERSION: ("flextraj.open_preferences", "PREFERENCES"),
    ErrorCode.NO_PHOTO: ("flextraj.pick_image", "FILE_IMAGE"),
    ErrorCode.IMAGE: ("flextraj.pick_image", "FILE_IMAGE"),
    ErrorCode.NO_CAMERA: ("flextraj.add_camera", "CAMERA_DATA"),
    ErrorCode.DISK: ("flextraj.open_preferences", "PREFERENCES"),
}
"""Operator that repairs what went wrong, and its icon."""


class FLEXTRAJ_PT_main(SidebarPanel, bpy.types.Panel):
    bl_idname = "FLEXTRAJ_PT_main"
    bl_label = "FlexTraj"

    def draw(self, context: Context) -> None:
        layout: Layout = self.layout
        state = runtime_state()
        if not state.error_text:
            return
        box = layout.box()
        wrapped_text(box, context, state.error_text, "ERROR")
        row = box.row(align=True)
        fix = _FIXES.get(ErrorCode(state.error_code))
        if fix is not None:
            row.operator(fix[0], icon=fix[1])
        row.operator(
            "flextraj.copy_error", text="" if fix else "Copy Message", icon="COPYDOWN"
        ).message = state.error_text
        row.operator("flextraj.dismiss_error", text="", icon="X")


register, unregister = registration_of(FLEXTRAJ_PT_main)
