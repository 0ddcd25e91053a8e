"""Tell the user about something that failed while no operator ran."""

# Blender reads the annotations of operators as values, so they cannot be postponed nor type-checked.
# pyright: reportInvalidTypeForm=false

import textwrap
from typing import Any

import bpy
from bpy.props import StringProperty

from ..blender_types import Context, OperatorResult
from ..fix_button import draw_fix
from ..registration import registration_of
from ..session import current_session, show_error
from ..translations import translated

_POPUP_COLUMNS = 70


class FLEXTRAJ_OT_notify(bpy.types.Operator):
    bl_idname = "flextraj.notify"
    bl_label = "FlexTraj"
    bl_description = "Show a message of a job that ran in the background"
    bl_options = {"INTERNAL"}

    message: StringProperty(options={"SKIP_SAVE"})
    code: StringProperty(options={"SKIP_SAVE"})
    key: StringProperty(options={"SKIP_SAVE"})

    def invoke(self, context: Context, event: bpy.types.Event) -> OperatorResult:
        # Copies: the operator is gone when the popup is drawn.
        message, code, key = self.message, self.code, self.key

        def draw(menu: Any, _context: Context) -> None:
            for line in textwrap.wrap(translated(message), _POPUP_COLUMNS):
                menu.layout.label(text=line, translate=False)
            # In a popup of Python's, buttons would run without asking for what they need, such as a file.
            menu.layout.operator_context = "INVOKE_DEFAULT"
            draw_fix(menu.layout, code, message, key)

        context.window_manager.popup_menu(draw, title="FlexTraj", icon="ERROR")
        return self.execute(context)

    def execute(self, context: Context) -> OperatorResult:
        self.report({"WARNING"}, translated(self.message))
        return {"FINISHED"}


class FLEXTRAJ_OT_dismiss_error(bpy.types.Operator):
    bl_idname = "flextraj.dismiss_error"
    bl_label = "Dismiss"
    bl_description = "Take the message away"

    @classmethod
    def poll(cls, context: Context) -> bool:
        if current_session().error is None:
            cls.poll_message_set("There is no message")
            return False
        return True

    def execute(self, context: Context) -> OperatorResult:
        show_error(None)
        return {"FINISHED"}


class FLEXTRAJ_OT_copy_error(bpy.types.Operator):
    bl_idname = "flextraj.copy_error"
    bl_label = "Copy Message"
    bl_description = "Copy the message to the clipboard"
    bl_options = {"INTERNAL"}

    message: StringProperty(options={"SKIP_SAVE"})

    def execute(self, context: Context) -> OperatorResult:
        context.window_manager.clipboard = self.message
        return {"FINISHED"}


register, unregister = registration_of(FLEXTRAJ_OT_notify, FLEXTRAJ_OT_dismiss_error, FLEXTRAJ_OT_copy_error)
