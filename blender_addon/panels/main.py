"""The parent panel: the last error with the button that helps against it."""

from __future__ import annotations

import bpy

from ..blender_types import Context
from ..fix_button import draw_fix
from ..properties import runtime_state
from ..registration import registration_of
from .layout import SidebarPanel, panel_layout, wrapped_text


class FLEXTRAJ_PT_main(SidebarPanel, bpy.types.Panel):
    bl_idname = "FLEXTRAJ_PT_main"
    bl_label = "FlexTraj"

    def draw(self, context: Context) -> None:
        layout = panel_layout(self)
        state = runtime_state()
        if not state.error_text:
            return
        box = layout.box()
        wrapped_text(box, context, state.error_text, "ERROR")
        row = box.row(align=True)
        has_fix = draw_fix(row, state.error_code, state.error_text, state.error_job)
        copy = row.operator("flextraj.copy_error", text="" if has_fix else "Copy Message", icon="COPYDOWN")
        copy.message = state.error_text
        row.operator("flextraj.dismiss_error", text="", icon="X")


register, unregister = registration_of(FLEXTRAJ_PT_main)
