"""Presets of Generate: Draft, Standard, Final and the user's own, by Blender's own preset system."""

from __future__ import annotations

from typing import Any

import bpy
from bl_ui.utils import PresetPanel
from bpy.app.translations import pgettext_iface

from ..blender_types import Context, Layout
from ..presets import SUBFOLDER, ListedPreset, listed_presets
from ..registration import registration_of


class FLEXTRAJ_PT_presets(PresetPanel, bpy.types.Panel):
    bl_idname = "FLEXTRAJ_PT_presets"
    bl_label = "Generate Presets"
    preset_subdir = SUBFOLDER
    preset_operator = "script.execute_preset"
    preset_add_operator = "flextraj.add_preset"

    def draw(self, context: Context) -> None:
        """As Blender draws presets, but from the fastest to the best, and ours without a button to remove."""
        layout: Any = self.layout
        layout.emboss = "PULLDOWN_MENU"
        layout.operator_context = "EXEC_DEFAULT"
        column = layout.column(align=True)
        for preset in listed_presets():
            self._draw_preset(column, preset)
        layout.separator()
        row = layout.row()
        field = row.row()
        field.emboss = "NORMAL"
        field.prop(context.window_manager, "preset_name", text="")
        row.operator(self.preset_add_operator, text="", icon="ADD").name = context.window_manager.preset_name

    def _draw_preset(self, layout: Layout, preset: ListedPreset) -> None:
        row: Any = layout.row(align=True)
        button = row.operator(self.preset_operator, text=pgettext_iface(preset.name), translate=False)
        button.filepath, button.menu_idname = str(preset.path), FLEXTRAJ_PT_presets.bl_idname
        if preset.is_built_in:
            return
        remove = row.operator(self.preset_add_operator, text="", icon="REMOVE")
        remove.name, remove.remove_name = preset.name, True


register, unregister = registration_of(FLEXTRAJ_PT_presets)
