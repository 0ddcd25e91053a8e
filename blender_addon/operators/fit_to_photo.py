"""Fit to Photo: the backend finds the photo's subject and places the motion on it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import bpy

from ..blender_types import Context, OperatorResult
from ..bridge.photo_files import image_path, is_chosen
from ..bridge.placement import store_fit
from ..bridge.shot_request import read_sample_settings, sampling_problem
from ..bridge.shot_sampling import sample_first_frame
from ..client.fit_runner import FitOrder, FitReport
from ..client.job_reports import NOT_UPLOADED
from ..core.errors import ErrorCode, FlexTrajError
from ..core.placement import as_affine, compose, mirror
from ..core.request import FitMode, RenderRequest
from ..core.sample_settings import SampleSettings
from ..core.trajectories import TrajectorySet
from ..core.trajectory_file import trajectories_to_bytes
from ..overlay.placement_view import FoundSubject, PlacedRig, placement_view
from ..properties import runtime_state, scene_settings
from ..registration import registration_of
from ..sampling_slot import Sampling
from ..session import current_session, show_error
from ..sidebar import redraw_panels
from ..translations import filled, translated
from .modal_sampling import SamplingOperator, why_not_sample
from .modal_window import borrow_timer, return_timer

_LOOK_SECONDS = 0.1


class FLEXTRAJ_OT_fit_to_photo(SamplingOperator, bpy.types.Operator):
    bl_idname = "flextraj.fit_to_photo"
    bl_label = "Fit to Photo"
    bl_description = (
        "Find the photo's subject and place the rig, as it is on the first frame, on it; "
        "the result is shown in the camera view and used by Generate"
    )
    bl_options = {"UNDO"}

    _photo: Path
    _mask: Path | None
    _request: RenderRequest
    _raster: tuple[int, int]
    _key = ""

    @classmethod
    def poll(cls, context: Context) -> bool:
        reason = why_not_place(context)
        if not reason and not scene_settings(context.scene).photo:
            reason = "Choose a photo first"
        if reason:
            cls.poll_message_set(reason)
        return not reason

    def prepare(self, context: Context) -> SampleSettings:
        settings = scene_settings(context.scene)
        problem = sampling_problem(context, settings)
        if problem is not None:
            raise problem
        self._photo = image_path(settings.photo, "photo", ErrorCode.NO_PHOTO)
        self._mask = image_path(settings.mask, "mask", ErrorCode.MASK) if settings.mask else None
        self._request = RenderRequest(
            trajectories=NOT_UPLOADED,
            image=NOT_UPLOADED,
            mask=None if self._mask is None else NOT_UPLOADED,
            fit=FitMode.AUTO,
            mirror=settings.placement.mirror,
        )
        return replace(read_sample_settings(context, settings), aligned=False)

    def start_sampling(self, context: Context, settings: SampleSettings) -> Sampling:
        return sample_first_frame(context.scene, context.view_layer, settings)

    def show(self, sampled: TrajectorySet) -> None:
        self._raster = sampled.meta.width, sampled.meta.height
        placement_view().show_rig(PlacedRig(self._scene_uid, sampled))

    def conclude(self, context: Context, sampled: TrajectorySet) -> OperatorResult:
        self._submit(sampled)
        self._timer = borrow_timer(context, _LOOK_SECONDS)
        context.workspace.status_text_set("FlexTraj: fitting the motion to the photo – Esc to cancel")
        runtime_state().placement.is_fitting = True
        redraw_panels()
        return {"RUNNING_MODAL"}

    def conclude_at_once(self, context: Context, sampled: TrajectorySet) -> OperatorResult:
        self._submit(sampled)
        return self._take(context, current_session().wait_for_fit(self._key))

    def modal(self, context: Context, event: bpy.types.Event) -> OperatorResult:
        if not self._key:
            return super().modal(context, event)
        session = current_session()
        if session.sampling is not None:
            # The undo step of the fit would hold the scene as sampling has turned it over.
            return {"PASS_THROUGH"}
        report = session.fits.pop(self._key, None)
        if report is not None:
            self._stop_waiting(context)
            return self._take(context, report)
        is_unwanted = not runtime_state().placement.is_fitting  # another file was opened
        if is_unwanted or (event.type == "ESC" and event.value == "PRESS"):
            session.runner.cancel_fit(self._key)
            self._stop_waiting(context)
            self.report({"INFO"}, filled("The fit was cancelled"))
            return {"CANCELLED"}
        return {"PASS_THROUGH"}

    def cancel(self, context: Context) -> None:
        if not self._key:
            super().cancel(context)
            return
        current_session().runner.cancel_fit(self._key)
        self._stop_waiting(context)

    def _submit(self, trajectories: TrajectorySet) -> None:
        self._key = uuid4().hex
        data = trajectories_to_bytes(trajectories)
        current_session().submit_fit(FitOrder(self._key, data, self._photo, self._mask, self._request))

    def _stop_waiting(self, context: Context) -> None:
        return_timer(context, self._timer)
        if context.workspace is not None:
            context.workspace.status_text_set(None)
        runtime_state().placement.is_fitting = False
        redraw_panels()

    def _take(self, context: Context, report: FitReport) -> OperatorResult:
        scene = context.scene
        if report.error is not None or report.answer is None:
            error = report.error or FlexTrajError("The fit has no answer: try again.", ErrorCode.DEFECT)
            show_error(error)
            self.report({"ERROR"}, translated(error.message))
            return {"CANCELLED"}
        if scene.session_uid != self._scene_uid:
            self.report({"INFO"}, filled("The fit belongs to another scene and was dropped"))
            return {"CANCELLED"}
        answer, settings = report.answer, scene_settings(scene)
        if not is_chosen(settings, self._photo):
            self.report({"INFO"}, filled("The fit belongs to another photo and was dropped"))
            return {"CANCELLED"}
        try:
            mask = answer.mask()
        except FlexTrajError as error:
            show_error(error)
            self.report({"ERROR"}, translated(error.message))
            return {"CANCELLED"}
        placed = as_affine(answer.matrix)
        # What is kept is the place of the mirrored rig: the answer takes the rig as it is there.
        fit = compose(placed, mirror(self._raster[0])) if self._request.mirror else placed
        settings.placement.mirror = self._request.mirror
        store_fit(settings, fit, self._raster)
        placement_view().show_subject(
            FoundSubject(scene.session_uid, settings.photo, mask, placed, answer.warnings)
        )
        self.report({"INFO"}, filled("The rig covers {share:.0%} of the subject", share=answer.iou))
        return {"FINISHED"}


class FLEXTRAJ_OT_reset_fit(bpy.types.Operator):
    bl_idname = "flextraj.reset_fit"
    bl_label = "Reset Placement"
    bl_description = (
        "Drop the placement and the pins: the motion is placed automatically when the video is made"
    )
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: Context) -> OperatorResult:
        settings = scene_settings(context.scene)
        settings.fit = FitMode.AUTO.value
        settings.placement.pins.clear()
        settings.placement.pinned_sampling = ""
        placement_view().forget()
        return {"FINISHED"}


def why_not_place(context: Context) -> str:
    """Why the rig cannot be placed now, empty where it can."""
    reason = why_not_sample(context)
    if reason:
        return reason
    if runtime_state().placement.is_fitting:
        return "The motion is being fitted"
    problem = sampling_problem(context, scene_settings(context.scene))
    return "" if problem is None else translated(problem.message).rstrip(".")


register, unregister = registration_of(FLEXTRAJ_OT_fit_to_photo, FLEXTRAJ_OT_reset_fit)
