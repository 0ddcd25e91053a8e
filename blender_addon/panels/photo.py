"""Photo: the image that will move and how the rig relates to it."""

from __future__ import annotations

import bpy

from ..blender_types import Context
from ..properties import scene_settings
from ..registration import registration_of
from .layout import ChildPanel, split_layout


class FLEXTRAJ_PT_photo(ChildPanel, bpy.types.Panel):
    bl_idname = "FLEXTRAJ_PT_photo"
    bl_label = "Photo"

    def draw(self, context: Context) -> None:
        settings = scene_settings(context.scene)
        layout = split_layout(self)
        if not settings.photo:
            layout.operator("flextraj.pick_image", text="Choose Photo", icon="FILE_IMAGE").target = "PHOTO"
        layout.prop(settings, "photo")
        layout.prop(settings, "mask")
        column = layout.column(heading="Aligned")
        column.prop(settings, "aligned", text="Rig Is Posed over It")
        if not settings.aligned:
            layout.prop(settings, "fit")


register, unregister = registration_of(FLEXTRAJ_PT_photo)
