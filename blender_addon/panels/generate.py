"""Generate: what is made, the button, and how far it is."""

from __future__ import annotations

import bpy

from ..blender_types import Context, Layout
from ..bridge.chosen_subjects import find_subjects
from ..bridge.placement import of_another_photo
from ..bridge.shot_frames import ShotFrames
from ..bridge.shot_request import first_problem, read_sample_settings
from ..core.frame_mapping import FrameMap
from ..core.frame_summary import frames_text, is_jerky
from ..fix_button import draw_fix
from ..properties import FlexTrajSettings, runtime_state, scene_settings
from ..registration import registration_of
from ..session import current_session
from ..translations import filled
from .engine_features import engine_title, reads
from .estimate import draw_estimate
from .layout import ChildPanel, SidebarPanel, panel_layout, split_labels, split_layout, wrapped_text
from .presets import FLEXTRAJ_PT_presets

_shot_frames = ShotFrames()


def _frames(context: Context, settings: FlexTrajSettings) -> FrameMap | None:
    if not find_subjects(context, settings):
        return None
    return _shot_frames.of(context.scene, read_sample_settings(context, settings))


class FLEXTRAJ_MT_engines(bpy.types.Menu):
    bl_idname = "FLEXTRAJ_MT_engines"
    bl_label = "Engine"

    def draw(self, context: Context) -> None:
        layout: Layout = self.layout
        engines = current_session().engines
        for engine in engines:
            # One that cannot run can be chosen, too: the panel then offers what helps.
            text, icon = engine.title, "CHECKMARK"
            if not engine.available:
                text, icon = f"{engine.title} – {engine.reason.partition(':')[0]}", "ERROR"
            layout.operator("flextraj.choose_engine", text=text, icon=icon).name = engine.name
        if not engines:
            layout.operator("flextraj.choose_engine", text=engine_title("preview")).name = "preview"
            layout.label(text="Start the backend to see all")


class FLEXTRAJ_PT_generate(ChildPanel, bpy.types.Panel):
    bl_idname = "FLEXTRAJ_PT_generate"
    bl_label = "Generate"

    def draw_header_preset(self, context: Context) -> None:
        FLEXTRAJ_PT_presets.draw_panel_header(panel_layout(self))

    def draw(self, context: Context) -> None:
        settings = scene_settings(context.scene)
        layout: Layout = self.layout
        # Not the whole panel: below, Cancel can be pressed while a shot is sampled.
        choices = layout.column()
        choices.enabled = not runtime_state().is_sampling
        split_labels(choices)
        self._draw_choices(choices, context, settings)
        self._draw_progress()

    def _draw_choices(self, layout: Layout, context: Context, settings: FlexTrajSettings) -> None:
        self._draw_engine(layout, context, settings)
        row = layout.row(align=True)
        row.prop(settings, "seed")
        row.operator("flextraj.new_seed", text="", icon="FILE_REFRESH")
        name = settings.engine
        if reads(name, "prompt"):
            layout.prop(settings, "prompt")
        if reads(name, "negative_prompt"):
            layout.prop(settings, "negative_prompt", text="Negative")
        if reads(name, "steps"):
            layout.prop(settings, "steps")
        if reads(name, "guidance_scale"):
            layout.prop(settings, "guidance")
            if not (settings.steps and settings.guidance):
                wrapped_text(layout, context, "0 is what the model's authors used", "INFO")
        if not reads(name, "prompt"):
            sentence = filled(
                "{engine} reads no prompt, steps or guidance.", engine=engine_title(name).split(" (")[0]
            )
            wrapped_text(layout, context, sentence, "INFO")
        self._draw_button(layout, context, settings)

    def _draw_engine(self, layout: Layout, context: Context, settings: FlexTrajSettings) -> None:
        """The menu under its label: beside it, a narrow sidebar would cut the engine's name."""
        name, _, note = engine_title(settings.engine).partition(" (")
        column = layout.column(align=True)
        column.label(text="Engine")
        column.menu(FLEXTRAJ_MT_engines.bl_idname, text=name)
        if note:
            wrapped_text(layout, context, f"{note[:1].upper()}{note[1:].removesuffix(')')}", "INFO")

    def _draw_button(self, layout: Layout, context: Context, settings: FlexTrajSettings) -> None:
        row = layout.row()
        row.scale_y = 1.5
        row.operator("flextraj.generate", icon="PLAY")
        problem = first_problem(context, settings, current_session().engine(settings.engine))
        if problem is not None:
            wrapped_text(layout, context, problem.message, "INFO")
            draw_fix(layout, problem.code.value, problem.message)
            return
        for sentence in of_another_photo(settings):
            wrapped_text(layout, context, sentence, "ERROR")
        draw_estimate(layout, context, settings)
        frames = _frames(context, settings)
        # Said here, too: the panel of the frames is closed at first.
        if frames is not None and is_jerky(frames):
            wrapped_text(layout, context, frames_text(frames), "ERROR")

    def _draw_progress(self) -> None:
        layout: Layout = self.layout
        state = runtime_state()
        if state.is_sampling:
            row = layout.row(align=True)
            row.progress(factor=state.sampling_factor, text=state.sampling_text)
            row.operator("flextraj.cancel_sampling", text="", icon="X")


class FLEXTRAJ_PT_shot(SidebarPanel, bpy.types.Panel):
    bl_idname = "FLEXTRAJ_PT_shot"
    bl_label = "Frames and Size"
    bl_parent_id = FLEXTRAJ_PT_generate.bl_idname
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: Context) -> None:
        settings = scene_settings(context.scene)
        layout = split_layout(self)
        layout.prop(settings, "frames")
        layout.prop(settings, "frame_rate")
        frames = _frames(context, settings)
        if frames is not None:
            wrapped_text(layout, context, frames_text(frames), "ERROR" if is_jerky(frames) else "BLANK1")
        layout.prop(settings, "frame_range")
        if settings.frame_range == "CUSTOM":
            column = layout.column(align=True)
            column.prop(settings, "first_frame", text="First")
            column.prop(settings, "last_frame", text="Last")
        layout.prop(settings, "size")
        if settings.size == "CUSTOM":
            column = layout.column(align=True)
            column.prop(settings, "width")
            column.prop(settings, "height")


register, unregister = registration_of(FLEXTRAJ_MT_engines, FLEXTRAJ_PT_generate, FLEXTRAJ_PT_shot)
