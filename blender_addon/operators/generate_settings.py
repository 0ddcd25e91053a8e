"""Settings of Generate: another seed, presets, the model of the final, LoRAs."""

# Blender reads the annotations of operators as values, so they cannot be postponed nor type-checked.
# pyright: reportInvalidTypeForm=false

from typing import Any

import bpy
import numpy as np
from bl_operators.presets import AddPresetBase
from bpy.props import StringProperty

from ..blender_types import Context, OperatorResult
from ..core.model_options import MAX_LORAS
from ..presets import SUBFOLDER, listed_presets
from ..properties import scene_settings
from ..registration import registration_of
from ..session import current_session, show_error
from ..translations import translated

_MODELS = ("wan", "cogvideox")
"""Engines that make final videos, the preferred one first. The mini is a demonstration."""
_MAX_SEED = 2**31 - 1


class FLEXTRAJ_OT_new_seed(bpy.types.Operator):
    bl_idname = "flextraj.new_seed"
    bl_label = "New Seed"
    bl_description = "Choose another seed at random, for another take of the same shot"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: Context) -> OperatorResult:
        scene_settings(context.scene).seed = int(np.random.default_rng().integers(_MAX_SEED))
        return {"FINISHED"}


class FLEXTRAJ_OT_choose_model(bpy.types.Operator):
    bl_idname = "flextraj.choose_model"
    bl_label = "Choose Model"
    bl_description = "Render with a large diffusion model: the chosen one, or the first that can run"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: Context) -> OperatorResult:
        settings = scene_settings(context.scene)
        engines = [current_session().engine(name) for name in (settings.engine, *_MODELS)]
        possible = [engine.name for engine in engines if engine is not None and engine.available]
        if settings.engine not in _MODELS or settings.engine not in possible:
            settings.engine = next((name for name in possible if name in _MODELS), _MODELS[0])
        show_error(None)
        return {"FINISHED"}


class FLEXTRAJ_OT_add_preset(AddPresetBase, bpy.types.Operator):  # pyright: ignore[reportIncompatibleMethodOverride]
    bl_idname = "flextraj.add_preset"
    bl_label = "Add Generate Preset"
    bl_description = "Save engine, steps, guidance and model options as a preset, or remove the chosen one"
    preset_menu = "FLEXTRAJ_PT_presets"
    preset_subdir = SUBFOLDER
    preset_defines = ["settings = bpy.context.scene.flextraj"]
    preset_values = [
        "settings.engine",
        "settings.steps",
        "settings.guidance",
        "settings.memory",
        "settings.strength",
        "settings.model",
    ]

    def execute(self, context: Context) -> OperatorResult:  # pyright: ignore[reportIncompatibleMethodOverride]
        asked: Any = self
        if asked.remove_name or asked.remove_active:
            # The panel's title is the preset that was chosen last.
            name = asked.name if asked.remove_name else bpy.types.FLEXTRAJ_PT_presets.bl_label  # type: ignore[attr-defined]
            if any(preset.is_built_in for preset in listed_presets() if preset.name == name):
                sentence = f"'{name}' comes with FlexTraj and stays: only presets of your own can be removed."
                self.report({"ERROR"}, translated(sentence))
                return {"CANCELLED"}
        add_or_remove: Any = super().execute
        return add_or_remove(context)


class FLEXTRAJ_OT_add_lora(bpy.types.Operator):
    bl_idname = "flextraj.add_lora"
    bl_label = "Add LoRA"
    bl_description = "Add a style or few-step LoRA from the weights folder's 'loras'"
    bl_options = {"REGISTER", "UNDO"}

    name: StringProperty(name="LoRA", description="File without '.safetensors'", options={"SKIP_SAVE"})

    def execute(self, context: Context) -> OperatorResult:
        loras = scene_settings(context.scene).model.loras
        if len(loras) >= MAX_LORAS or self.name in {row.name for row in loras}:
            self.report({"ERROR"}, translated(f"At most {MAX_LORAS} LoRAs can be used, each of them once."))
            return {"CANCELLED"}
        loras.add().name = self.name
        scene_settings(context.scene).model.lora_index = len(loras) - 1
        return {"FINISHED"}


class FLEXTRAJ_OT_remove_lora(bpy.types.Operator):
    bl_idname = "flextraj.remove_lora"
    bl_label = "Remove LoRA"
    bl_description = "Remove the active LoRA from the list; its file stays"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: Context) -> bool:
        return len(scene_settings(context.scene).model.loras) > 0

    def execute(self, context: Context) -> OperatorResult:
        model = scene_settings(context.scene).model
        model.loras.remove(min(model.lora_index, len(model.loras) - 1))
        model.lora_index = max(min(model.lora_index, len(model.loras) - 1), 0)
        return {"FINISHED"}


register, unregister = registration_of(
    FLEXTRAJ_OT_new_seed,
    FLEXTRAJ_OT_choose_model,
    FLEXTRAJ_OT_add_preset,
    FLEXTRAJ_OT_add_lora,
    FLEXTRAJ_OT_remove_lora,
)
