"""Model options: speed and memory of a diffusion engine, and its LoRAs."""

from __future__ import annotations

from typing import Any

import bpy

from ..blender_types import Context, Layout
from ..properties import FlexTrajSettings, scene_settings
from ..registration import registration_of
from ..session import current_session
from .engine_features import reads
from .layout import RowList, SidebarPanel, split_layout


class FLEXTRAJ_UL_loras(RowList, bpy.types.UIList):
    bl_idname = "FLEXTRAJ_UL_loras"

    def draw_row(self, layout: Layout, item: Any) -> None:
        row: Any = layout.row(align=True)
        row.prop(item, "name", text="", emboss=False)
        row.prop(item, "scale", text="")


class FLEXTRAJ_MT_loras(bpy.types.Menu):
    bl_idname = "FLEXTRAJ_MT_loras"
    bl_label = "Add LoRA"

    def draw(self, context: Context) -> None:
        layout: Layout = self.layout
        engine = current_session().engine(scene_settings(context.scene).engine)
        names = () if engine is None else engine.loras
        for name in names:
            layout.operator("flextraj.add_lora", text=name).name = name
        if engine is None:
            layout.label(text="Start the backend to see the LoRAs")
        elif not names:
            layout.label(text="No LoRA is in the weights folder's 'loras'")


class FLEXTRAJ_PT_model(SidebarPanel, bpy.types.Panel):
    bl_idname = "FLEXTRAJ_PT_model"
    bl_label = "Model Options"
    bl_parent_id = "FLEXTRAJ_PT_generate"
    bl_options = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, context: Context) -> bool:
        return reads(scene_settings(context.scene).engine, "model")

    def draw(self, context: Context) -> None:
        settings = scene_settings(context.scene)
        model = settings.model
        layout = split_layout(self)
        column = layout.column()
        column.prop(settings, "memory")
        column.prop(model, "cache_storage")
        column.prop(model, "cache_place")
        column = layout.column()
        column.prop(model, "step_cache")
        column.prop(model, "condition_tokens")
        column.prop(model, "attention")
        column.prop(model, "compile")
        column = layout.column()
        column.prop(model, "scheduler")
        column.prop(model, "guidance_schedule")
        column.prop(model, "window_overlap")
        self._draw_loras(settings)

    def _draw_loras(self, settings: FlexTrajSettings) -> None:
        layout: Layout = self.layout
        model = settings.model
        layout.label(text="LoRAs")
        row = layout.row()
        row.template_list(FLEXTRAJ_UL_loras.bl_idname, "", model, "loras", model, "lora_index", rows=2)
        buttons = row.column(align=True)
        buttons.menu(FLEXTRAJ_MT_loras.bl_idname, text="", icon="ADD")
        buttons.operator("flextraj.remove_lora", text="", icon="REMOVE")


register, unregister = registration_of(FLEXTRAJ_UL_loras, FLEXTRAJ_MT_loras, FLEXTRAJ_PT_model)
