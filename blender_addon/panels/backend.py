"""Backend: whether the program that renders runs, and what it can do."""

from __future__ import annotations

import bpy

from ..blender_types import Context, Layout
from ..client.backend_process import BackendPhase
from ..client.job_texts import memory_text
from ..client.messages import DeviceInfo
from ..fix_button import draw_fix
from ..registration import registration_of
from ..session import current_session
from ..translations import filled
from .layout import ChildPanel, SidebarPanel, panel_layout, wrapped_text

_STATES = {
    BackendPhase.STOPPED: ("Stopped; Generate starts it", "RADIOBUT_OFF"),
    BackendPhase.STARTING: ("Starting…", "SORTTIME"),
    BackendPhase.RUNNING: ("Running", "RADIOBUT_ON"),
    BackendPhase.FAILED: ("Failed", "ERROR"),
}
_LOG_LINES = 8


class FLEXTRAJ_PT_backend(ChildPanel, bpy.types.Panel):
    bl_idname = "FLEXTRAJ_PT_backend"
    bl_label = "Backend"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: Context) -> None:
        layout = panel_layout(self)
        backend = current_session().backend
        text, icon = _STATES[backend.phase]
        if backend.phase is BackendPhase.RUNNING:
            text = filled("Running, version {version}", version=backend.version)
        layout.label(text=text, icon=icon)
        if backend.device is not None:
            _draw_device(layout, context, backend.device)
        row = layout.row(align=True)
        if backend.phase in (BackendPhase.RUNNING, BackendPhase.STARTING):
            row.operator("flextraj.stop_backend", icon="CANCEL")
            row.operator("flextraj.restart_backend", text="", icon="FILE_REFRESH")
        else:
            row.operator("flextraj.start_backend", icon="PLAY")
        row.operator("flextraj.open_preferences", text="", icon="PREFERENCES")
        if backend.phase is BackendPhase.RUNNING:
            for engine in backend.engines:
                wrapped_text(layout, context, engine.title, "CHECKMARK" if engine.available else "X")
                if engine.reason:
                    wrapped_text(layout, context, engine.reason, "BLANK1")
                    draw_fix(layout, engine.reason_code or "", engine.reason)


class FLEXTRAJ_PT_log(SidebarPanel, bpy.types.Panel):
    bl_idname = "FLEXTRAJ_PT_log"
    bl_label = "Log"
    bl_parent_id = FLEXTRAJ_PT_backend.bl_idname
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: Context) -> None:
        layout = panel_layout(self)
        lines = [line for line in current_session().backend.log if line]
        if not lines:
            layout.label(text="The backend has written nothing")
            return
        box = layout.box()
        for line in lines[-_LOG_LINES:]:
            wrapped_text(box, context, line)
        row = layout.row(align=True)
        row.operator("flextraj.copy_log", icon="COPYDOWN")
        row.operator("flextraj.open_log", icon="TEXT")


def _draw_device(layout: Layout, context: Context, device: DeviceInfo) -> None:
    """Name and free memory of what the models run on, or why there is none."""
    if device.reason:
        wrapped_text(layout, context, filled("Only drafts: {reason}", reason=device.reason), "INFO")
    elif device.name:
        wrapped_text(layout, context, device.name, "MEMORY")
        row = layout.row(align=True)
        row.label(
            text=f"{device.memory_name[:1].upper()}{device.memory_name[1:]}: {memory_text(device)}",
            icon="BLANK1",
        )
        row.operator("flextraj.look_at_device", text="", icon="FILE_REFRESH", emboss=False)
    elif device.is_being_asked:
        layout.label(text="Asking for the graphics card…", icon="SORTTIME")


register, unregister = registration_of(FLEXTRAJ_PT_backend, FLEXTRAJ_PT_log)
