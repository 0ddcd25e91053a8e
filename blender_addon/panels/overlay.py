"""Preview: sampled points and conditioning videos, seen before anything is generated."""

from __future__ import annotations

import bpy

from ..blender_types import Context
from ..core.request import FitMode
from ..overlay.settings import PreviewVideo
from ..overlay.viewport import is_sampled_anew, overlay_settings, shot_of
from ..properties import FlexTrajSettings, scene_settings
from ..registration import registration_of
from ..translations import filled
from .layout import SidebarPanel, split_layout, wrapped_text


class FLEXTRAJ_PT_overlay(SidebarPanel, bpy.types.Panel):
    bl_idname = "FLEXTRAJ_PT_overlay"
    bl_label = "Preview"
    bl_parent_id = "FLEXTRAJ_PT_control"

    def draw(self, context: Context) -> None:
        shown = overlay_settings()
        layout = split_layout(self)
        shot = shot_of(context.scene)
        row = layout.row(align=True)
        row.operator("flextraj.sample_points", icon="POINTCLOUD_DATA")
        if shot is None:
            return
        row.operator("flextraj.forget_points", text="", icon="X")
        counts = filled(
            "{points:,} points, {frames} frames", points=shot.point_count, frames=shot.frame_count
        )
        layout.label(text=counts)
        if is_sampled_anew(context):
            wrapped_text(
                layout, context, "Settings were changed: sample again to see what Generate will use.", "INFO"
            )
        view = context.space_data.region_3d
        if view.view_perspective != "CAMERA":
            wrapped_text(layout, context, "The points are shown in the camera view.", "INFO")
            layout.operator("view3d.view_camera", text="View Camera", icon="CAMERA_DATA")
        layout.prop(shown, "show_points")
        column = layout.column(align=True)
        column.active = shown.show_points
        column.prop(shown, "point_size")
        column.prop(shown, "trail_length")
        column.prop(shown, "trail_count")
        layout.label(text="Conditioning Video")
        row = layout.row()
        row.use_property_split = False
        row.prop(shown, "preview", expand=True)
        if PreviewVideo(shown.preview) is not PreviewVideo.OFF:
            layout.prop(shown, "preview_opacity", slider=True)
            self._draw_notes(context, scene_settings(context.scene), PreviewVideo(shown.preview))

    def _draw_notes(self, context: Context, settings: FlexTrajSettings, video: PreviewVideo) -> None:
        if video is PreviewVideo.COLOR and not settings.color_cue:
            wrapped_text(self.layout, context, "Black, because the colour cue is off.", "INFO")
        elif video is PreviewVideo.COLOR and settings.photo_colors:
            wrapped_text(
                self.layout,
                context,
                "In the materials' colours; the backend takes the photo's once the rig is placed on it.",
                "INFO",
            )
        if settings.surface:
            wrapped_text(
                self.layout,
                context,
                "Dense is filled in by the backend; here are the squares that it starts from.",
                "INFO",
            )
        if not settings.aligned and FitMode(settings.fit) is FitMode.AUTO:
            wrapped_text(
                self.layout,
                context,
                "As the camera sees it; Generate then places it on the photo's subject.",
                "INFO",
            )


register, unregister = registration_of(FLEXTRAJ_PT_overlay)
