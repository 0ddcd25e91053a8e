"""Presets of Generate: Draft, Standard, Final and the user's own, by Blender's own preset system."""

from __future__ import annotations

import bpy
from bl_ui.utils import PresetPanel

from ..presets import SUBFOLDER
from ..registration import registration_of


class FLEXTRAJ_PT_presets(PresetPanel, bpy.types.Panel):
    bl_idname = "FLEXTRAJ_PT_presets"
    bl_label = "Generate Presets"
    preset_subdir = SUBFOLDER
    preset_operator = "script.execute_preset"
    preset_add_operator = "flextraj.add_preset"


register, unregister = registration_of(FLEXTRAJ_PT_presets)
