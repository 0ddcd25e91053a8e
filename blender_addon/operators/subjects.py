"""The list of subjects: add what is selected, a rig or a collection, remove a row, paint a density."""

# Blender reads the annotations of operators as values, so they cannot be postponed nor type-checked.
# pyright: reportInvalidTypeForm=false

import bpy
from bpy.props import StringProperty

from ..blender_types import Context, OperatorResult
from ..bridge.chosen_subjects import (
    add_collection,
    add_subjects,
    can_be_subject,
    find_subjects,
    rig_meshes,
    rig_of,
)
from ..properties import scene_settings
from ..registration import registration_of
from ..translations import filled

_DENSITY_GROUP = "FlexTraj Density"


class FLEXTRAJ_OT_add_subjects(bpy.types.Operator):
    bl_idname = "flextraj.add_subjects"
    bl_label = "Add Selected Objects"
    bl_description = (
        "Add the selected objects to the list of subjects; a rig is added as the meshes that it deforms"
    )
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: Context) -> bool:
        if not any(can_be_subject(ob) for ob in context.selected_objects):
            cls.poll_message_set("Select a mesh, curve, text or armature first")
            return False
        return True

    def execute(self, context: Context) -> OperatorResult:
        settings = scene_settings(context.scene)
        if not add_subjects(settings, filter(can_be_subject, context.selected_objects)):
            self.report({"INFO"}, filled("The selected objects are in the list already"))
            return {"CANCELLED"}
        settings.source = "LIST"
        return {"FINISHED"}


class FLEXTRAJ_OT_add_rig(bpy.types.Operator):
    bl_idname = "flextraj.add_rig"
    bl_label = "Add Rig"
    bl_description = "Add all meshes that the active armature, or the armature of the active mesh, deforms"
    bl_options = {"REGISTER", "UNDO"}

    name: StringProperty(
        name="Rig", description="Armature; empty = that of the active object", options={"SKIP_SAVE"}
    )

    @classmethod
    def poll(cls, context: Context) -> bool:
        if rig_of(context.object) is None and not any(ob.type == "ARMATURE" for ob in context.scene.objects):
            cls.poll_message_set("The scene has no armature")
            return False
        return True

    def execute(self, context: Context) -> OperatorResult:
        scene = context.scene
        rig = scene.objects.get(self.name) if self.name else rig_of(context.object) or _only_armature(scene)
        if rig is None or rig.type != "ARMATURE":
            self.report({"ERROR"}, filled("Click the rig or one of its meshes in the viewport first."))
            return {"CANCELLED"}
        if not rig_meshes(scene, rig):
            self.report(
                {"ERROR"}, filled("The armature '{name}' deforms no mesh that renders.", name=rig.name)
            )
            return {"CANCELLED"}
        settings = scene_settings(scene)
        if not add_subjects(settings, [rig]):
            self.report({"INFO"}, filled("The meshes of '{name}' are in the list already", name=rig.name))
            return {"CANCELLED"}
        settings.source = "LIST"
        return {"FINISHED"}


class FLEXTRAJ_OT_add_collection(bpy.types.Operator):
    bl_idname = "flextraj.add_collection"
    bl_label = "Add Collection"
    bl_description = "Add the objects of a collection to the list of subjects"
    bl_options = {"REGISTER", "UNDO"}

    name: StringProperty(
        name="Collection", description="Its name; empty = the active one", options={"SKIP_SAVE"}
    )

    def execute(self, context: Context) -> OperatorResult:
        collection = bpy.data.collections.get(self.name) if self.name else context.collection
        if collection is None:
            self.report({"ERROR"}, filled("There is no collection '{name}'.", name=self.name))
            return {"CANCELLED"}
        settings = scene_settings(context.scene)
        if not add_collection(settings, collection):
            sentence = filled(
                "The collection '{name}' has no other object with a surface", name=collection.name
            )
            self.report({"INFO"}, sentence)
            return {"CANCELLED"}
        settings.source = "LIST"
        return {"FINISHED"}


class FLEXTRAJ_OT_list_subjects(bpy.types.Operator):
    bl_idname = "flextraj.list_subjects"
    bl_label = "Edit as List"
    bl_description = "Put these objects into the list, where each has points, density and role of its own"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: Context) -> OperatorResult:
        settings = scene_settings(context.scene)
        add_subjects(settings, find_subjects(context, settings))
        settings.source = "LIST"
        return {"FINISHED"}


class FLEXTRAJ_OT_paint_density(bpy.types.Operator):
    bl_idname = "flextraj.paint_density"
    bl_label = "Paint Density"
    bl_description = (
        "Paint where the active subject's points go: a vertex group is made for it, full at first; "
        "leave Weight Paint mode when finished"
    )
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: Context) -> bool:
        settings = scene_settings(context.scene)
        index = settings.subject_index
        ob = settings.subjects[index].object if 0 <= index < len(settings.subjects) else None
        if ob is None or ob.type != "MESH" or context.view_layer.objects.get(ob.name) != ob:
            cls.poll_message_set("Choose a mesh of this view layer in the list")
            return False
        return True

    def execute(self, context: Context) -> OperatorResult:
        settings = scene_settings(context.scene)
        row = settings.subjects[settings.subject_index]
        ob = row.object
        if ob.library is not None:
            sentence = filled(
                "'{name}' is linked from another file and cannot be painted here.", name=ob.name
            )
            self.report({"ERROR"}, sentence)
            return {"CANCELLED"}
        # Weights cannot be given to a mesh in Edit Mode.
        if context.object is not None and context.object.mode != "OBJECT":
            bpy.ops.object.mode_set(mode="OBJECT")
        if ob.mode == "EDIT":
            sentence = filled("'{name}' is in Edit Mode: leave it first (Tab).", name=ob.name)
            self.report({"ERROR"}, sentence)
            return {"CANCELLED"}
        group = ob.vertex_groups.get(row.vertex_group or _DENSITY_GROUP)
        if group is None:
            group = ob.vertex_groups.new(name=row.vertex_group or _DENSITY_GROUP)
            group.add(range(len(ob.data.vertices)), 1.0, "REPLACE")
        row.vertex_group = group.name
        ob.vertex_groups.active_index = group.index
        if bpy.app.background:
            return {"FINISHED"}
        bpy.ops.object.select_all(action="DESELECT")
        ob.hide_set(False)
        ob.select_set(True)
        context.view_layer.objects.active = ob
        bpy.ops.object.mode_set(mode="WEIGHT_PAINT")
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


def _only_armature(scene: bpy.types.Scene) -> bpy.types.Object | None:
    armatures = [ob for ob in scene.objects if ob.type == "ARMATURE"]
    return armatures[0] if len(armatures) == 1 else None


register, unregister = registration_of(
    FLEXTRAJ_OT_add_subjects,
    FLEXTRAJ_OT_add_rig,
    FLEXTRAJ_OT_add_collection,
    FLEXTRAJ_OT_list_subjects,
    FLEXTRAJ_OT_paint_density,
    FLEXTRAJ_OT_remove_subject,
)
