"""Backend: whether the program that renders runs, and what it can do."""

from __future__ import annotations

import bpy

from ..blender_types import Context, Layout
from ..client.backend_process import BackendPhase
from ..properties import runtime_state
from ..registration import registration_of
from ..session import current_session
from .layout import ChildPanel, wrapped_text

_STATES = {
    BackendPhase.STOPPED: ("Stopped; Generate starts it", "RADIOBUT_OFF"),
    BackendPhase.STARTING: ("Starting…", "SORTTIME"),
    BackendPhase.RUNNING: ("Running", "RADIOBUT_ON"),
    BackendPhase.FAILED: ("Failed", "ERROR"),
}


class FLEXTRAJ_PT_backend(ChildPanel, bpy.types.Panel):
    bl_idname = "FLEXTRAJ_PT_backend"
    bl_label = "Backend"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: Context) -> None:
        layout: Layout = self.layout
        phase = BackendPhase(runtime_state().backend_phase)
        text, icon = _STATES[phase]
        layout.label(text=text, icon=icon)
        row = layout.row(align=True)
        if phase in (BackendPhase.RUNNING, BackendPhase.STARTING):
            row.operator("flextraj.stop_backend", icon="CANCEL")
        else:
            row.operator("flextraj.start_backend", icon="PLAY")
        row.operator("flextraj.open_preferences", text="", icon="PREFERENCES")
        if phase is BackendPhase.RUNNING:
            for engine in current_session().engines:
                icon = "CHECKMARK" if engine.available else "X"
                layout.label(text=engine.title, icon=icon)
                if engine.reason:
                    wrapped_text(layout, context, engine.reason, "BLANK1")


register, unregister = registration_of(FLEXTRAJ_PT_backend)
