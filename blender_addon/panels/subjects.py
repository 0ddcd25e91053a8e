"""Subjects: what drives the photo."""

from __future__ import annotations

from typing import Any

import bpy

from ..blender_types import Context, Layout
from ..bridge.chosen_subjects import find_subjects
from ..properties import FlexTrajSettings, scene_settings
from ..registration import registration_of
from .layout import ChildPanel, RowList, SidebarPanel, split_layout


class FLEXTRAJ_UL_subjects(RowList, bpy.types.UIList):
    bl_idname = "FLEXTRAJ_UL_subjects"

    def draw_row(self, layout: Layout, item: Any) -> None:
        row: Any = layout.row(align=True)
        row.prop(item, "object", text="", emboss=False)
        row.prop(item, "background", text="", icon="WORLD" if item.background else "COMMUNITY", emboss=False)


class FLEXTRAJ_PT_subjects(ChildPanel, bpy.types.Panel):
    bl_idname = "FLEXTRAJ_PT_subjects"
    bl_label = "Subjects"

    def draw(self, context: Context) -> None:
        settings = scene_settings(context.scene)
        layout = split_layout(self)
        row = layout.row()
        row.use_property_split = False
        row.prop(settings, "source", expand=True)
        if settings.source == "CHARACTER":
            layout.prop(settings, "character")
        elif settings.source == "LIST":
            self._draw_list(settings)
        else:
            count = len(find_subjects(context, settings))
            layout.label(text=f"{count} selected" if count else "Nothing usable is selected")

    def _draw_list(self, settings: FlexTrajSettings) -> None:
        layout: Layout = self.layout
        row = layout.row()
        row.template_list(
            FLEXTRAJ_UL_subjects.bl_idname, "", settings, "subjects", settings, "subject_index", rows=3
        )
        buttons = row.column(align=True)
        buttons.operator("flextraj.add_subjects", text="", icon="ADD")
        buttons.operator("flextraj.remove_subject", text="", icon="REMOVE")


class FLEXTRAJ_PT_sampling(SidebarPanel, bpy.types.Panel):
    bl_idname = "FLEXTRAJ_PT_sampling"
    bl_label = "Sampling"
    bl_parent_id = FLEXTRAJ_PT_subjects.bl_idname
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: Context) -> None:
        settings = scene_settings(context.scene)
        layout = split_layout(self)
        layout.prop(settings, "points")
        layout.prop(settings, "mode")
        layout.prop(settings, "segment_by")
        layout.operator("flextraj.assign_seg_ids", icon="LINENUMBERS_ON")


register, unregister = registration_of(FLEXTRAJ_UL_subjects, FLEXTRAJ_PT_subjects, FLEXTRAJ_PT_sampling)
