"""Subjects: what drives the photo."""

from __future__ import annotations

from typing import Any

import bpy

from ..blender_types import Context, Layout
from ..bridge.chosen_subjects import find_subjects
from ..bridge.segment_list import ListedSegment, RecentSegments
from ..bridge.shot_request import read_sample_settings
from ..color_chips import color_chip
from ..properties import FlexTrajSettings, scene_settings
from ..registration import registration_of
from ..translations import filled
from .layout import ChildPanel, RowList, SidebarPanel, split_layout

_MOST_ROWS = 6
_MOST_CHIPS = 3

_recent_segments = RecentSegments()


def shot_segments(context: Context) -> tuple[ListedSegment, ...]:
    """The segments that the shot will have."""
    settings = scene_settings(context.scene)
    if not find_subjects(context, settings):
        return ()
    return _recent_segments.of(context.scene, context.view_layer, read_sample_settings(context, settings))


class FLEXTRAJ_UL_subjects(RowList, bpy.types.UIList):
    bl_idname = "FLEXTRAJ_UL_subjects"

    def draw_row(self, layout: Layout, item: Any) -> None:
        row: Any = layout.row(align=True)
        row.use_property_split = False
        row.prop(item, "include", text="")
        chips = _chips_of(item) if item.include else ()
        for segment in chips[:_MOST_CHIPS]:
            row.label(text="", icon_value=color_chip(segment.color))
        if not chips:
            row.label(text="", icon="BLANK1")
        name = row.row(align=True)
        name.active = item.include
        name.label(text=item.object.name if item.object is not None else "Deleted object")
        if item.vertex_group:
            row.label(text="", icon="MOD_VERTEX_WEIGHT")
        points = row.row(align=True)
        points.alignment = "RIGHT"
        points.active = bool(item.points)
        points.label(text=f"{item.points or scene_settings(item.id_data).points}")
        row.prop(item, "background", text="", icon="WORLD" if item.background else "COMMUNITY", emboss=False)


def _chips_of(item: Any) -> tuple[ListedSegment, ...]:
    if item.object is None:
        return ()
    return tuple(found for found in shot_segments(bpy.context) if item.object.name in found.subjects)


class FLEXTRAJ_PT_subjects(ChildPanel, bpy.types.Panel):
    bl_idname = "FLEXTRAJ_PT_subjects"
    bl_label = "Subjects"

    def draw(self, context: Context) -> None:
        settings = scene_settings(context.scene)
        layout = split_layout(self)
        row = layout.row()
        row.use_property_split = False
        row.prop(settings, "source", expand=True)
        if settings.source == "LIST":
            self._draw_list(settings)
            return
        if settings.source == "CHARACTER":
            layout.prop(settings, "character")
        self._draw_segments(context)

    def _draw_segments(self, context: Context) -> None:
        layout: Layout = self.layout
        segments = shot_segments(context)
        if not segments:
            if scene_settings(context.scene).source == "SELECTION":
                layout.label(text="Nothing usable is selected", icon="INFO")
            return
        column = layout.box().column(align=True)
        for segment in segments[:_MOST_ROWS]:
            column.label(text=segment.name, icon_value=color_chip(segment.color))
        if len(segments) > _MOST_ROWS:
            column.label(text=filled("and {count} more", count=len(segments) - _MOST_ROWS), icon="BLANK1")
        layout.operator("flextraj.list_subjects", icon="PRESET")

    def _draw_list(self, settings: FlexTrajSettings) -> None:
        layout: Layout = self.layout
        row = layout.row()
        row.template_list(
            FLEXTRAJ_UL_subjects.bl_idname, "", settings, "subjects", settings, "subject_index", rows=4
        )
        buttons = row.column(align=True)
        buttons.operator("flextraj.add_subjects", text="", icon="ADD")
        buttons.operator("flextraj.remove_subject", text="", icon="REMOVE")
        row = layout.row(align=True)
        row.operator("flextraj.add_subjects", text="Add Selected", icon="RESTRICT_SELECT_OFF")
        row.operator("flextraj.add_rig", icon="ARMATURE_DATA")
        column = layout.column()
        column.prop(settings, "picked_object", text="Add Object")
        column.prop(settings, "picked_collection", text="Add Collection")
        if 0 <= settings.subject_index < len(settings.subjects):
            self._draw_details(settings.subjects[settings.subject_index])

    def _draw_details(self, item: Any) -> None:
        layout: Layout = self.layout
        if item.object is None:
            return
        box = layout.box()
        box.label(text=item.object.name, icon="OBJECT_DATA")
        box.prop(item, "background")
        box.prop(item, "points", text="Own Points")
        if item.object.type == "ARMATURE":
            box.prop(item, "vertex_group")
        else:
            box.prop_search(item, "vertex_group", item.object, "vertex_groups", text="Density")
            if item.object.type == "MESH":
                box.operator("flextraj.paint_density", icon="WPAINT_HLT")


class FLEXTRAJ_PT_sampling(SidebarPanel, bpy.types.Panel):
    bl_idname = "FLEXTRAJ_PT_sampling"
    bl_label = "Sampling"
    bl_parent_id = FLEXTRAJ_PT_subjects.bl_idname
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: Context) -> None:
        settings = scene_settings(context.scene)
        layout = split_layout(self)
        layout.prop(settings, "mode")
        layout.prop(settings, "segment_by")
        layout.operator("flextraj.assign_seg_ids", icon="LINENUMBERS_ON")
        segments = shot_segments(context)
        if segments:
            count = len(segments)
            layout.label(text=filled("{count} segment" if count == 1 else "{count} segments", count=count))


register, unregister = registration_of(FLEXTRAJ_UL_subjects, FLEXTRAJ_PT_subjects, FLEXTRAJ_PT_sampling)
