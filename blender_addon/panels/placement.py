"""Placement: where the rig stands on the photo."""

from __future__ import annotations

import bpy

from ..blender_types import Context, Layout
from ..bridge.placement import of_another_photo
from ..core.request import FitMode
from ..operators.start_frame import icon_name
from ..overlay.placement_view import placement_view
from ..overlay.subject_overlap import SubjectOverlap, is_as_fitted
from ..properties import FlexTrajSettings, runtime_state, scene_settings
from ..registration import registration_of
from ..thumbnails import drawn_icon
from ..translations import filled
from .layout import ChildPanel, SidebarPanel, panel_layout, split_layout, wrapped_text

_FRAME_SCALE = 4.0
_overlap = SubjectOverlap()


class FLEXTRAJ_PT_placement(ChildPanel, bpy.types.Panel):
    bl_idname = "FLEXTRAJ_PT_placement"
    bl_label = "Placement"

    def draw(self, context: Context) -> None:
        settings = scene_settings(context.scene)
        layout = split_layout(self)
        column = layout.column(heading="Aligned")
        column.prop(settings, "aligned", text="Rig Is Posed over It")
        if settings.aligned:
            return
        for sentence in of_another_photo(settings):
            wrapped_text(layout, context, sentence, "ERROR")
        column = layout.column(align=True)
        column.scale_y = 1.2
        if runtime_state().placement.is_fitting:
            column.label(text="Fitting – Esc to Cancel", icon="SORTTIME")
        else:
            column.operator("flextraj.fit_to_photo", icon="SHADERFX")
        column.operator("flextraj.place_rig", icon="VIEW_PAN")
        row = layout.row(align=True)
        row.prop(settings, "fit")
        row.operator("flextraj.reset_fit", text="", icon="LOOP_BACK")
        if FitMode(settings.fit) is FitMode.NONE and settings.engine == "preview":
            wrapped_text(layout, context, "The preview cannot carry the motion over by itself.", "INFO")
        self._draw_finding(context)
        mirrored = settings.placement.mirror
        layout.operator("flextraj.mirror_motion", icon="MOD_MIRROR", depress=mirrored)

    def _draw_finding(self, context: Context) -> None:
        layout: Layout = self.layout
        shown = runtime_state().placement
        view = placement_view()
        rig, subject = view.rig_of(context.scene), view.subject_of(context.scene)
        if rig is not None or subject is not None:
            row = layout.row(heading="Show", align=True)
            row.prop(shown, "show_rig", toggle=True)
            row.prop(shown, "show_mask", toggle=True)
        if rig is None or subject is None:
            return
        overlap = _overlap.of(context, rig, subject)
        if overlap is None:
            return
        layout.label(text=filled("The rig covers {share:.0%} of the subject", share=overlap))
        if not is_as_fitted(context, rig, subject):
            wrapped_text(layout, context, "The rig stands elsewhere than Fit to Photo put it.", "INFO")
            return
        for warning in subject.warnings:
            wrapped_text(layout, context, warning, "ERROR")


class FLEXTRAJ_PT_mask(SidebarPanel, bpy.types.Panel):
    bl_idname = "FLEXTRAJ_PT_mask"
    bl_label = "Subject's Mask"
    bl_parent_id = FLEXTRAJ_PT_placement.bl_idname
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: Context) -> None:
        settings = scene_settings(context.scene)
        layout = split_layout(self)
        row = layout.row(align=True)
        row.prop(settings, "mask")
        if settings.mask:
            row.operator("flextraj.forget_mask", text="", icon="X")
        row = layout.row(align=True)
        row.operator("flextraj.correct_mask", text="Brush", icon="BRUSH_DATA").shape = "BRUSH"
        row.operator("flextraj.correct_mask", text="Rectangle", icon="SELECT_SET").shape = "RECTANGLE"


class FLEXTRAJ_PT_start_frame(SidebarPanel, bpy.types.Panel):
    bl_idname = "FLEXTRAJ_PT_start_frame"
    bl_label = "Start Frame"
    bl_parent_id = FLEXTRAJ_PT_placement.bl_idname
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: Context) -> None:
        layout = panel_layout(self)
        layout.operator("flextraj.find_start_frame", text="Find Best Matching", icon="VIEWZOOM")
        for offered in runtime_state().placement.start_frames:
            box = layout.box()
            row = box.row()
            icon = drawn_icon(icon_name(offered.frame))
            if icon:
                row.template_icon(icon, scale=_FRAME_SCALE)
            column = row.column(align=True)
            column.label(
                text=filled("Frame {frame:g} – {share:.0%}", frame=offered.frame, share=offered.overlap)
            )
            column.operator("flextraj.use_start_frame").frame = offered.frame


class FLEXTRAJ_PT_pins(SidebarPanel, bpy.types.Panel):
    bl_idname = "FLEXTRAJ_PT_pins"
    bl_label = "Pins"
    bl_parent_id = FLEXTRAJ_PT_placement.bl_idname
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: Context) -> None:
        settings: FlexTrajSettings = scene_settings(context.scene)
        layout = panel_layout(self)
        row = layout.row(align=True)
        row.operator("flextraj.edit_pins", icon="PINNED")
        row.operator("flextraj.remove_pins", text="", icon="X")
        count = len(settings.placement.pins)
        if count:
            layout.label(text=filled("{count} pin" if count == 1 else "{count} pins", count=count))


register, unregister = registration_of(
    FLEXTRAJ_PT_placement, FLEXTRAJ_PT_mask, FLEXTRAJ_PT_start_frame, FLEXTRAJ_PT_pins
)
