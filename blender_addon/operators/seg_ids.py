"""Store SegIDs on objects, so that they last."""

from __future__ import annotations

import bpy

from ..blender_types import Context, OperatorResult
from ..bridge.chosen_subjects import find_subjects
from ..bridge.seg_ids import assign_seg_ids
from ..core.errors import FlexTrajError
from ..properties import scene_settings
from ..registration import registration_of
from ..translations import translated
from .subject_check import NeedsSubjects


class FLEXTRAJ_OT_assign_seg_ids(NeedsSubjects, bpy.types.Operator):
    bl_idname = "flextraj.assign_seg_ids"
    bl_label = "Assign SegIDs"
    bl_description = (
        "Store a SegID on every subject, so that it keeps its colour in the ID video "
        "when objects are added, deleted or duplicated later"
    )
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: Context) -> OperatorResult:
        subjects = find_subjects(context, scene_settings(context.scene))
        armatures = {ob for ob in subjects if ob.type == "ARMATURE"}
        deformed = [ob for ob in context.scene.objects if ob.find_armature() in armatures]
        try:
            assigned = assign_seg_ids([*subjects, *deformed], context.scene)
        except FlexTrajError as error:
            self.report({"ERROR"}, translated(error.message))
            return {"CANCELLED"}
        self.report({"INFO"}, ", ".join(f"{name}: {seg_id}" for name, seg_id in assigned.items()))
        return {"FINISHED"}


register, unregister = registration_of(FLEXTRAJ_OT_assign_seg_ids)
