"""Photo: the image that will move, seen behind the rig, and its mask."""

from __future__ import annotations

import bpy

from ..blender_types import Context
from ..bridge.photo_background import photo_background
from ..bridge.photo_files import viewable_photo
from ..core.errors import FlexTrajError
from ..fix_button import draw_fix
from ..properties import scene_settings
from ..registration import registration_of
from ..thumbnails import can_show, thumbnail_icon
from .layout import ChildPanel, split_layout, wrapped_text

_THUMBNAIL_SCALE = 6.0


class FLEXTRAJ_PT_photo(ChildPanel, bpy.types.Panel):
    bl_idname = "FLEXTRAJ_PT_photo"
    bl_label = "Photo"

    def draw(self, context: Context) -> None:
        settings = scene_settings(context.scene)
        layout = split_layout(self)
        if not settings.photo:
            layout.operator("flextraj.pick_image", text="Choose Photo", icon="FILE_IMAGE").target = "PHOTO"
        layout.prop(settings, "photo")
        if not settings.photo:
            return
        background = photo_background(context.scene.camera)
        try:
            photo = viewable_photo(settings.photo, can_show)
        except FlexTrajError as error:
            wrapped_text(layout, context, error.message, "ERROR")
            draw_fix(layout, error.code.value, error.message)
            if background is None:
                return
        else:
            layout.template_icon(thumbnail_icon(str(photo.path), photo.stamp), scale=_THUMBNAIL_SCALE)
        if background is None:
            layout.operator("flextraj.show_photo", icon="IMAGE_BACKGROUND")
        else:
            row = layout.row(align=True)
            row.prop(settings.placement, "photo_opacity", slider=True)
            row.operator("flextraj.show_photo", text="", icon="FILE_REFRESH")
            row.operator("flextraj.hide_photo", text="", icon="X")
        layout.operator("flextraj.size_from_photo", icon="FULLSCREEN_ENTER")


register, unregister = registration_of(FLEXTRAJ_PT_photo)
