"""Start and stop the backend, choose one of its engines, open the preferences."""

# Blender reads the annotations of operators as values, so they cannot be postponed nor type-checked.
# pyright: reportInvalidTypeForm=false

import bpy
from bpy.props import StringProperty

from .. import ADDON_ID
from ..blender_types import Context, OperatorResult
from ..client.backend_process import BackendPhase
from ..properties import scene_settings
from ..registration import registration_of
from ..session import current_session, ensure_timer, show_error
from ..translations import filled, translated


class FLEXTRAJ_OT_start_backend(bpy.types.Operator):
    bl_idname = "flextraj.start_backend"
    bl_label = "Start Backend"
    bl_description = "Start the program that renders; Generate does it by itself"

    @classmethod
    def poll(cls, context: Context) -> bool:
        if current_session().backend.phase in (BackendPhase.STARTING, BackendPhase.RUNNING):
            cls.poll_message_set("The backend runs already")
            return False
        return True

    def execute(self, context: Context) -> OperatorResult:
        session = current_session()
        show_error(None)
        session.configure_backend()
        session.runner.start_backend()
        ensure_timer()
        if bpy.app.background:
            report = session.wait_for_backend()
            if report.phase is BackendPhase.FAILED:
                self.report({"ERROR"}, translated(report.message))
                return {"CANCELLED"}
        return {"FINISHED"}


class FLEXTRAJ_OT_stop_backend(bpy.types.Operator):
    bl_idname = "flextraj.stop_backend"
    bl_label = "Stop Backend"
    bl_description = "Stop the program that renders; jobs that it works on can be retried"

    @classmethod
    def poll(cls, context: Context) -> bool:
        if current_session().backend.phase is not BackendPhase.RUNNING:
            cls.poll_message_set("The backend does not run")
            return False
        return True

    def execute(self, context: Context) -> OperatorResult:
        session = current_session()
        session.runner.stop_backend()
        ensure_timer()
        if bpy.app.background:
            session.wait_for_backend()
        return {"FINISHED"}


class FLEXTRAJ_OT_restart_backend(bpy.types.Operator):
    bl_idname = "flextraj.restart_backend"
    bl_label = "Restart Backend"
    bl_description = "Stop the program that renders and start it again; jobs that it works on can be retried"

    def execute(self, context: Context) -> OperatorResult:
        session = current_session()
        show_error(None)
        session.configure_backend()
        session.runner.stop_backend()
        session.runner.start_backend()
        ensure_timer()
        if bpy.app.background:
            session.wait_until_idle()
            if session.backend.phase is BackendPhase.FAILED:
                self.report({"ERROR"}, translated(session.backend.message))
                return {"CANCELLED"}
        return {"FINISHED"}


class FLEXTRAJ_OT_look_at_device(bpy.types.Operator):
    bl_idname = "flextraj.look_at_device"
    bl_label = "Look Again"
    bl_description = "Ask the backend how much memory is free now"

    @classmethod
    def poll(cls, context: Context) -> bool:
        if current_session().backend.phase is not BackendPhase.RUNNING:
            cls.poll_message_set("The backend does not run")
            return False
        return True

    def execute(self, context: Context) -> OperatorResult:
        current_session().runner.look_at_device()
        ensure_timer()
        return {"FINISHED"}


class FLEXTRAJ_OT_copy_log(bpy.types.Operator):
    bl_idname = "flextraj.copy_log"
    bl_label = "Copy Log"
    bl_description = "Copy the last lines that the backend wrote to the clipboard"

    @classmethod
    def poll(cls, context: Context) -> bool:
        if not current_session().backend.log:
            cls.poll_message_set("The backend has written nothing")
            return False
        return True

    def execute(self, context: Context) -> OperatorResult:
        lines = current_session().backend.log
        context.window_manager.clipboard = "\n".join(lines)
        self.report({"INFO"}, filled("Copied {count} lines", count=len(lines)))
        return {"FINISHED"}


class FLEXTRAJ_OT_choose_engine(bpy.types.Operator):
    bl_idname = "flextraj.choose_engine"
    bl_label = "Choose Engine"
    bl_description = "Render with this engine"
    bl_options = {"REGISTER", "UNDO"}

    name: StringProperty(options={"SKIP_SAVE"})

    def execute(self, context: Context) -> OperatorResult:
        scene_settings(context.scene).engine = self.name
        show_error(None)
        return {"FINISHED"}


class FLEXTRAJ_OT_open_preferences(bpy.types.Operator):
    bl_idname = "flextraj.open_preferences"
    bl_label = "Open Preferences"
    bl_description = "Open the preferences of FlexTraj"

    def execute(self, context: Context) -> OperatorResult:
        if ADDON_ID not in context.preferences.addons:
            self.report(
                {"ERROR"},
                translated("FlexTraj runs from a checkout: install the extension to set preferences."),
            )
            return {"CANCELLED"}
        bpy.ops.preferences.addon_show(module=ADDON_ID)
        return {"FINISHED"}


register, unregister = registration_of(
    FLEXTRAJ_OT_start_backend,
    FLEXTRAJ_OT_stop_backend,
    FLEXTRAJ_OT_restart_backend,
    FLEXTRAJ_OT_look_at_device,
    FLEXTRAJ_OT_copy_log,
    FLEXTRAJ_OT_choose_engine,
    FLEXTRAJ_OT_open_preferences,
)
