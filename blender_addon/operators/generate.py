"""Generate: sample the shot, then render it in the background; and cancel either."""

# Blender reads the annotations of operators as values, so they cannot be postponed nor type-checked.
# pyright: reportInvalidTypeForm=false

import bpy
from bpy.props import StringProperty

from ..blender_types import Context, OperatorResult
from ..bridge.shot_request import ShotPlan, first_problem, plan_shot
from ..client.job_reports import JobStage
from ..core.sample_settings import SampleSettings
from ..core.trajectories import TrajectorySet
from ..preferences import output_folder
from ..properties import scene_settings
from ..registration import registration_of
from ..session import current_session
from ..translations import filled, translated
from .modal_sampling import SamplingOperator, why_not_sample


class FLEXTRAJ_OT_generate(SamplingOperator, bpy.types.Operator):
    bl_idname = "flextraj.generate"
    bl_label = "Generate"
    bl_description = "Sample the animation and render the photo moving along it"
    # Neither undone nor repeated by Blender: it changes nothing in the file.
    bl_options = set()

    _plan: ShotPlan

    @classmethod
    def poll(cls, context: Context) -> bool:
        reason = _why_not(context)
        if reason:
            cls.poll_message_set(reason)
        return not reason

    def prepare(self, context: Context) -> SampleSettings:
        settings = scene_settings(context.scene)
        self._plan = plan_shot(context, settings, current_session().engine(settings.engine))
        return self._plan.sample

    def conclude(self, context: Context, sampled: TrajectorySet) -> OperatorResult:
        self._submit(sampled)
        return {"FINISHED"}

    def conclude_at_once(self, context: Context, sampled: TrajectorySet) -> OperatorResult:
        report = current_session().wait_for(self._submit(sampled))
        if report.stage is not JobStage.DONE:
            self.report({"ERROR"}, translated(report.message or "The job was cancelled."))
            return {"CANCELLED"}
        self.report({"INFO"}, filled("The video is {path}", path=report.video))
        return {"FINISHED"}

    def _submit(self, trajectories: TrajectorySet) -> str:
        order = self._plan.order(trajectories, output_folder())
        current_session().submit(order, trajectories)
        return order.key


class FLEXTRAJ_OT_cancel_sampling(bpy.types.Operator):
    bl_idname = "flextraj.cancel_sampling"
    bl_label = "Cancel"
    bl_description = "Stop sampling; jobs that run go on"

    @classmethod
    def poll(cls, context: Context) -> bool:
        if current_session().sampling is None:
            cls.poll_message_set("Nothing is running")
            return False
        return True

    def execute(self, context: Context) -> OperatorResult:
        current_session().end_sampling()
        return {"FINISHED"}


class FLEXTRAJ_OT_cancel_job(bpy.types.Operator):
    bl_idname = "flextraj.cancel_job"
    bl_label = "Cancel"
    bl_description = "Stop the job, or all that run and sampling"

    key: StringProperty(name="Job", description="Job to cancel; empty = all that run", options={"SKIP_SAVE"})

    @classmethod
    def poll(cls, context: Context) -> bool:
        session = current_session()
        if session.sampling is None and not session.runner.has_work:
            cls.poll_message_set("Nothing is running")
            return False
        return True

    def execute(self, context: Context) -> OperatorResult:
        session = current_session()
        if not self.key:
            session.end_sampling()
        for report in session.jobs.values():
            if not report.stage.is_finished and self.key in ("", report.key):
                session.runner.cancel(report.key)
        return {"FINISHED"}


def _why_not(context: Context) -> str:
    """Why Generate cannot be pressed, empty where it can."""
    reason = why_not_sample(context)
    if reason:
        return reason
    settings = scene_settings(context.scene)
    problem = first_problem(context, settings, current_session().engine(settings.engine))
    return "" if problem is None else translated(problem.message).rstrip(".")


register, unregister = registration_of(
    FLEXTRAJ_OT_generate, FLEXTRAJ_OT_cancel_sampling, FLEXTRAJ_OT_cancel_job
)
