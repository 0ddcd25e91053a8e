"""Find Best Matching Start Frame: where in the motion the rig looks like the photo's subject."""

# Blender reads the annotations of operators as values, so they cannot be postponed nor type-checked.
# pyright: reportInvalidTypeForm=false

import math
from collections.abc import Generator
from dataclasses import replace

import bpy
import numpy as np
from bpy.props import FloatProperty
from numpy.typing import NDArray

from ..blender_types import Context, OperatorResult
from ..bridge.shot_request import read_sample_settings, sampling_problem
from ..bridge.shot_sampling import choose_frames
from ..bridge.start_frames import StartFrame, find_start_frames
from ..bridge.subject_masks import known_mask
from ..core.errors import ErrorCode, FlexTrajError
from ..core.frame_mapping import split_frame
from ..core.mask_canvas import resample_mask
from ..core.outline_picture import tinted_mask
from ..core.request import FitMode
from ..core.sample_settings import SampleProgress, SampleSettings
from ..overlay.placement_view import SUBJECT_COLOR, placement_view
from ..properties import runtime_state, scene_settings
from ..registration import registration_of
from ..sidebar import redraw_panels
from ..thumbnails import draw_icon
from ..translations import filled, translated
from .fit_to_photo import why_not_place
from .modal_sampling import SamplingOperator

_RIG_COLOR = (38, 190, 255)


class FLEXTRAJ_OT_find_start_frame(SamplingOperator, bpy.types.Operator):
    bl_idname = "flextraj.find_start_frame"
    bl_label = "Find Best Matching Start Frame"
    bl_description = (
        "Compare the rig's outline on the frames of its motion with the photo's subject and list the frames "
        "that match best; the motion itself is not changed"
    )
    bl_options = set()

    _mask: NDArray[np.bool_]

    @classmethod
    def poll(cls, context: Context) -> bool:
        reason = why_not_place(context)
        settings = scene_settings(context.scene)
        if not reason and not settings.mask and placement_view().subject_of(context.scene) is None:
            reason = "Press Fit to Photo first, which finds the photo's subject, or choose a mask"
        if reason:
            cls.poll_message_set(reason)
        return not reason

    def prepare(self, context: Context) -> SampleSettings:
        settings = scene_settings(context.scene)
        problem = sampling_problem(context, settings)
        if problem is not None:
            raise problem
        found = placement_view().subject_of(context.scene)
        mask = known_mask(context, settings, None if found is None else found.mask)
        if mask is None or not mask.any():
            raise FlexTrajError(
                "The photo's subject is not known: press Fit to Photo first, or choose a mask.",
                ErrorCode.MASK,
            )
        self._mask = mask
        runtime_state().placement.start_frames.clear()
        # All of the motion, also where the range was shortened by an earlier choice.
        return _whole_motion(read_sample_settings(context, settings))

    def start_sampling(
        self, context: Context, settings: SampleSettings
    ) -> Generator[SampleProgress, None, tuple[StartFrame, ...]]:
        return find_start_frames(context.scene, context.view_layer, settings, self._mask)

    def show(self, sampled: tuple[StartFrame, ...]) -> None:
        offered = runtime_state().placement.start_frames
        offered.clear()
        for item in sampled:
            row = offered.add()
            row.frame, row.overlap = item.match.frame, item.match.overlap
            draw_icon(icon_name(item.match.frame), _picture(item, self._mask))
        redraw_panels()

    def conclude(self, context: Context, sampled: tuple[StartFrame, ...]) -> OperatorResult:
        if not sampled:
            self.report({"WARNING"}, filled("The rig is not in the picture on any frame: move the camera"))
            return {"CANCELLED"}
        best = sampled[0].match
        sentence = filled("Frame {frame:g} matches best: {share:.0%}", frame=best.frame, share=best.overlap)
        self.report({"INFO"}, sentence)
        return {"FINISHED"}


class FLEXTRAJ_OT_use_start_frame(bpy.types.Operator):
    bl_idname = "flextraj.use_start_frame"
    bl_label = "Start Here"
    bl_description = "Let the shot begin on this frame and go there; the motion and its keys stay as they are"
    bl_options = {"REGISTER", "UNDO"}

    frame: FloatProperty(name="Frame", options={"SKIP_SAVE"})

    def execute(self, context: Context) -> OperatorResult:
        scene, settings = context.scene, scene_settings(context.scene)
        first = math.floor(self.frame)
        last = settings.last_frame
        if settings.frame_range != "CUSTOM" or last <= first:
            sample = _whole_motion(read_sample_settings(context, settings))
            try:
                last = math.floor(choose_frames(scene, sample).source_frames[-1])
            except FlexTrajError as error:
                self.report({"ERROR"}, translated(error.message))
                return {"CANCELLED"}
        if last <= first:
            self.report(
                {"ERROR"}, translated(f"No motion is left after frame {first}: choose an earlier frame.")
            )
            return {"CANCELLED"}
        settings.frame_range, settings.first_frame, settings.last_frame = "CUSTOM", first, last
        whole, subframe = split_frame(self.frame)
        scene.frame_set(whole, subframe=subframe)
        if FitMode(settings.fit) is FitMode.GIVEN:
            # It was found for another frame.
            settings.fit = FitMode.AUTO.value
        return {"FINISHED"}


def _whole_motion(settings: SampleSettings) -> SampleSettings:
    """The settings without a range, and without a rate, at which the frames end before the motion does."""
    return replace(settings, first_frame=None, last_frame=None, model_fps=None)


def icon_name(frame: float) -> str:
    """By which name the picture of a frame is kept."""
    return f"start frame {frame:g}"


def _picture(item: StartFrame, mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The rig over the subject, (h, w, 4) uint8."""
    height, width = item.silhouette.shape
    shrink = np.array([[width / mask.shape[1], 0.0, 0.0], [0.0, height / mask.shape[0], 0.0]])
    subject = resample_mask(mask, shrink, (width, height))
    rig = resample_mask(item.silhouette, item.match.fit, (width, height))
    picture = np.zeros((height, width, 4), np.uint8)
    picture[..., 3] = 255
    for layer in (tinted_mask(subject, SUBJECT_COLOR, 0.8, 0), tinted_mask(rig, _RIG_COLOR, 0.5, 1)):
        share = layer[..., 3:] / 255.0
        picture[..., :3] = (layer[..., :3] * share + picture[..., :3] * (1 - share)).astype(np.uint8)
    return picture


register, unregister = registration_of(FLEXTRAJ_OT_find_start_frame, FLEXTRAJ_OT_use_start_frame)
