"""Control: how much of the motion the engine gets, and how strongly it follows."""

from __future__ import annotations

import bpy

from ..blender_types import Context
from ..bridge.chosen_subjects import find_subjects
from ..bridge.kept_frames import RecentFrameKeeping
from ..bridge.shot_frames import ShotFrames
from ..bridge.shot_request import read_sample_settings
from ..core.frame_choice import FrameChoice
from ..properties import FlexTrajSettings, scene_settings
from ..registration import registration_of
from ..translations import filled
from .engine_features import reads
from .layout import ChildPanel, split_layout, wrapped_text

_shot_frames = ShotFrames()
_recent_keeping = RecentFrameKeeping()


class FLEXTRAJ_PT_control(ChildPanel, bpy.types.Panel):
    bl_idname = "FLEXTRAJ_PT_control"
    bl_label = "Control"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: Context) -> None:
        settings = scene_settings(context.scene)
        layout = split_layout(self)
        layout.prop(settings, "points")
        layout.prop(settings, "keep_points", slider=True)
        layout.prop(settings, "frame_choice")
        choice = FrameChoice(settings.frame_choice)
        if choice is FrameChoice.SHARE:
            layout.prop(settings, "keep_frames", text="Share", slider=True)
        elif choice is FrameChoice.EVERY_NTH:
            layout.prop(settings, "frame_step")
        self._draw_kept(context, settings)
        column = layout.column()
        column.prop(settings, "surface")
        column.prop(settings, "color_cue")
        row = column.row()
        row.active = settings.color_cue
        row.prop(settings, "photo_colors")
        row = layout.row()
        row.active = reads(settings.engine, "model")
        row.prop(settings, "strength", slider=True)
        if not reads(settings.engine, "keep_points"):
            sentence = "The preview follows all points; these settings thin out the conditioning videos only."
            wrapped_text(layout, context, sentence, "INFO")

    def _draw_kept(self, context: Context, settings: FlexTrajSettings) -> None:
        if FrameChoice(settings.frame_choice) is FrameChoice.SHARE or not find_subjects(context, settings):
            return
        frames = _shot_frames.of(context.scene, read_sample_settings(context, settings))
        if frames is None:
            return
        kept = _recent_keeping.of(context, settings).indices(frames.source_frames)
        assert kept is not None
        text = filled(
            "{count} of {total} frames keep their points", count=len(kept), total=len(frames.source_frames)
        )
        wrapped_text(self.layout, context, text, "KEYFRAME")


register, unregister = registration_of(FLEXTRAJ_PT_control)
