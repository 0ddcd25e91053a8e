"""Sample without generating, to see the points and the conditioning videos first."""

from __future__ import annotations

import bpy

from ..blender_types import Context, OperatorResult
from ..bridge.shot_request import read_sample_settings, sampling_problem
from ..core.sample_settings import SampleSettings
from ..core.trajectories import TrajectorySet
from ..overlay.viewport import overlay_settings, shot_of, viewport_overlay
from ..properties import scene_settings
from ..registration import registration_of
from ..translations import filled, translated
from .modal_sampling import SamplingOperator, why_not_sample


class FLEXTRAJ_OT_sample_points(SamplingOperator, bpy.types.Operator):
    bl_idname = "flextraj.sample_points"
    bl_label = "Sample Points"
    bl_description = "Sample the animation and show its points in the camera view, without generating a video"
    # Neither undone nor repeated by Blender: it changes nothing in the file.
    bl_options = set()

    @classmethod
    def poll(cls, context: Context) -> bool:
        reason = why_not_sample(context)
        problem = sampling_problem(context, scene_settings(context.scene))
        if not reason and problem is not None:
            reason = translated(problem.message).rstrip(".")
        if reason:
            cls.poll_message_set(reason)
        return not reason

    def prepare(self, context: Context) -> SampleSettings:
        settings = scene_settings(context.scene)
        problem = sampling_problem(context, settings)
        if problem is not None:
            raise problem
        return read_sample_settings(context, settings)

    def conclude(self, context: Context, sampled: TrajectorySet) -> OperatorResult:
        overlay_settings().show_points = True
        self.report(
            {"INFO"},
            filled(
                "Sampled {points:,} points over {frames} frames",
                points=sampled.point_count,
                frames=sampled.frame_count,
            ),
        )
        return {"FINISHED"}


class FLEXTRAJ_OT_forget_points(bpy.types.Operator):
    bl_idname = "flextraj.forget_points"
    bl_label = "Forget Points"
    bl_description = "Remove the sampled points from the viewport and from memory"

    @classmethod
    def poll(cls, context: Context) -> bool:
        if shot_of(context.scene) is None:
            cls.poll_message_set("Nothing has been sampled in this scene")
            return False
        return True

    def execute(self, context: Context) -> OperatorResult:
        viewport_overlay().forget()
        return {"FINISHED"}


register, unregister = registration_of(FLEXTRAJ_OT_sample_points, FLEXTRAJ_OT_forget_points)
