"""Generate: sample the shot between UI events, then render it in the background; and cancel either.

`execute` does the whole job before it returns, which is what scripts and `blender -b` want.
"""

# Blender reads the annotations of operators as values, so they cannot be postponed nor type-checked.
# pyright: reportInvalidTypeForm=false

import time

import bpy
from bpy.props import StringProperty

from ..blender_types import Context, OperatorResult
from ..bridge.shot_request import ShotPlan, first_problem, plan_shot
from ..bridge.shot_sampling import run_to_end, sample_shot
from ..client.job_reports import JobStage
from ..core.errors import FlexTrajError
from ..core.sample_settings import SampleProgress
from ..core.trajectories import TrajectorySet
from ..preferences import output_folder
from ..properties import runtime_state, scene_settings
from ..registration import registration_of
from ..session import Sampling, current_session, show_error, show_sampling

_TIMER_SECONDS = 0.01
_STEP_SECONDS = 0.03


class FLEXTRAJ_OT_generate(bpy.types.Operator):
    bl_idname = "flextraj.generate"
    bl_label = "Generate"
    bl_description = "Sample the animation and render the photo moving along it"
    # Neither undone nor repeated by Blender: it changes nothing in the file.
    bl_options = set()

    _plan: ShotPlan
    _sampling: Sampling
    _timer: bpy.types.Timer

    @classmethod
    def poll(cls, context: Context) -> bool:
        reason = _why_not(context)
        if reason:
            cls.poll_message_set(reason)
        return not reason

    def execute(self, context: Context) -> OperatorResult:
        session = current_session()
        try:
            self._begin(context)
            trajectories = run_to_end(self._sampling)
            session.end_sampling()
            report = session.wait_for(self._submit(trajectories))
        except FlexTrajError as error:
            return self._refuse(error)
        finally:
            session.end_sampling()
        if report.stage is not JobStage.DONE:
            self.report({"ERROR"}, report.message or "The job was cancelled.")
            return {"CANCELLED"}
        self.report({"INFO"}, f"The video is {report.video}")
        return {"FINISHED"}

    def invoke(self, context: Context, event: bpy.types.Event) -> OperatorResult:
        try:
            self._begin(context)
        except FlexTrajError as error:
            return self._refuse(error)
        manager = context.window_manager
        self._timer = manager.event_timer_add(_TIMER_SECONDS, window=context.window)
        manager.progress_begin(0, 100)
        manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: Context, event: bpy.types.Event) -> OperatorResult:
        session = current_session()
        if session.sampling is not self._sampling or session.is_sampling_unwanted:
            # Undo, saving, rendering, playback, another file or the Cancel button ended it meanwhile.
            return self._leave(context, "Sampling was cancelled")
        if event.type == "ESC" and event.value == "PRESS":
            return self._leave(context, "Sampling was cancelled")
        if event.type != "TIMER":
            return {"PASS_THROUGH"}
        try:
            trajectories = self._step(context)
        except FlexTrajError as error:
            self._clean_up(context)
            return self._refuse(error)
        except ReferenceError:
            return self._leave(context, "Sampling was cancelled, because its scene or an object was deleted")
        except BaseException:
            self._clean_up(context)
            raise
        if trajectories is None:
            return {"RUNNING_MODAL"}
        self._clean_up(context)
        self._submit(trajectories)
        return {"FINISHED"}

    def cancel(self, context: Context) -> None:
        """Blender ends the operator itself, for instance because its window is closed."""
        self._clean_up(context)

    def _begin(self, context: Context) -> None:
        show_error(None)
        settings = scene_settings(context.scene)
        self._plan = plan_shot(context, settings, current_session().engine(settings.engine))
        self._sampling = sample_shot(context.scene, context.view_layer, self._plan.sample)
        current_session().begin_sampling(self._sampling)
        show_sampling(SampleProgress(0, 1))

    def _step(self, context: Context) -> TrajectorySet | None:
        """Sample for a moment; return the trajectories once they are complete."""
        until = time.monotonic() + _STEP_SECONDS
        progress = None
        while time.monotonic() < until:
            try:
                progress = next(self._sampling)
            except StopIteration as end:
                return end.value
        if progress is not None:
            show_sampling(progress)
            context.window_manager.progress_update(100 * progress.done // max(progress.total, 1))
            context.workspace.status_text_set(
                f"FlexTraj: sampling frame {progress.done} of {progress.total} – Esc to cancel"
            )
        return None

    def _submit(self, trajectories: TrajectorySet) -> str:
        order = self._plan.order(trajectories, output_folder())
        current_session().submit(order)
        return order.key

    def _leave(self, context: Context, message: str) -> OperatorResult:
        self._clean_up(context)
        self.report({"INFO"}, message)
        return {"CANCELLED"}

    def _refuse(self, error: FlexTrajError) -> OperatorResult:
        show_error(error)
        self.report({"ERROR"}, error.message)
        return {"CANCELLED"}

    def _clean_up(self, context: Context) -> None:
        session = current_session()
        if session.sampling is self._sampling:
            session.end_sampling()
        manager = context.window_manager
        manager.event_timer_remove(self._timer)
        manager.progress_end()
        if context.workspace is not None:
            context.workspace.status_text_set(None)


class FLEXTRAJ_OT_cancel_job(bpy.types.Operator):
    bl_idname = "flextraj.cancel_job"
    bl_label = "Cancel"
    bl_description = "Stop sampling, or the job that runs"

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
    if runtime_state().is_sampling:
        return "The animation is being sampled"
    if context.screen is not None and context.screen.is_animation_playing:
        return "Stop the playback first"
    if bpy.app.is_job_running("RENDER"):
        return "Wait until Blender has rendered"
    settings = scene_settings(context.scene)
    problem = first_problem(context, settings, current_session().engine(settings.engine))
    return "" if problem is None else problem.message.rstrip(".")


register, unregister = registration_of(FLEXTRAJ_OT_generate, FLEXTRAJ_OT_cancel_job)
