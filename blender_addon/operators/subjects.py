"""The list of subjects: add what is selected, remove a row."""

from __future__ import annotations

import bpy

from ..blender_types import Context, OperatorResult
from ..bridge.chosen_subjects import can_be_subject
from ..properties import scene_settings
from ..registration import registration_of


class FLEXTRAJ_OT_add_subjects(bpy.types.Operator):
    bl_idname = "flextraj.add_subjects"
    bl_label = "Add Selected Objects"
    bl_description = "Add the selected objects to the list of subjects"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: Context) -> bool:
        if not any(can_be_subject(ob) for ob in context.selected_objects):
            cls.poll_message_set("Select a mesh, curve, text or armature first")
            return False
        return True

    def execute(self, context: Context) -> OperatorResult:
        settings = scene_settings(context.scene)
        listed = {item.object for item in settings.subjects}
        new = [ob for ob in context.selected_objects if can_be_subject(ob) and ob not in listed]
        for ob in new:
            settings.subjects.add().object = ob
        settings.subject_index = len(settings.subjects) - 1
        if not new:
            self.report({"INFO"}, "The selected objects are in the list already")
            return {"CANCELLED"}
        return {"FINISHED"}


class FLEXTRAJ_OT_remove_subject(bpy.types.Operator):
    bl_idname = "flextraj.remove_subject"
    bl_label = "Remove Subject"
    bl_description = "Remove the active row from the list of subjects; the object itself stays"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: Context) -> bool:
        if len(scene_settings(context.scene).subjects) == 0:
            cls.poll_message_set("The list of subjects is empty")
            return False
        return True

    def execute(self, context: Context) -> OperatorResult:
        settings = scene_settings(context.scene)
        last = len(settings.subjects) - 1
        settings.subjects.remove(min(settings.subject_index, last))
        settings.subject_index = max(min(settings.subject_index, last - 1), 0)
        return {"FINISHED"}


register, unregister = registration_of(FLEXTRAJ_OT_add_subjects, FLEXTRAJ_OT_remove_subject)
