"""Tools over the camera view that first look where the rig is on the shot's first frame."""

from __future__ import annotations

from abc import abstractmethod

import bpy

from ..blender_types import Context, OperatorResult
from ..bridge.placement import camera_area
from ..bridge.shot_request import read_sample_settings, sampling_problem
from ..bridge.shot_sampling import sample_first_frame
from ..core.errors import FlexTrajError
from ..core.sample_settings import SampleSettings
from ..core.trajectories import TrajectorySet
from ..overlay.placement_view import PlacedRig, placement_view
from ..properties import scene_settings
from ..sampling_slot import Sampling
from .camera_tool import CameraTool
from .fit_to_photo import why_not_place
from .modal_sampling import SamplingOperator


class RigTool(CameraTool, SamplingOperator):
    """A tool that moves the rig, or parts of it, over the photo."""

    sample: SampleSettings
    rig: PlacedRig

    @classmethod
    def poll(cls, context: Context) -> bool:
        reason = why_not_place(context)
        if not reason and not scene_settings(context.scene).photo:
            reason = "Choose a photo first"
        if not reason and not bpy.app.background and camera_area(context) is None:
            reason = "Look through the scene's camera first (Numpad 0)"
        if reason:
            cls.poll_message_set(reason)
        return not reason

    @abstractmethod
    def begin(self, context: Context) -> None:
        """Remember what the tool changes; the rig is there. Raises FlexTrajError."""

    def prepare(self, context: Context) -> SampleSettings:
        settings = scene_settings(context.scene)
        problem = sampling_problem(context, settings)
        if problem is not None:
            raise problem
        self.sample = read_sample_settings(context, settings)
        return self.sample

    def start_sampling(self, context: Context, settings: SampleSettings) -> Sampling:
        return sample_first_frame(context.scene, context.view_layer, settings)

    def show(self, sampled: TrajectorySet) -> None:
        self.rig = PlacedRig(self._scene_uid, sampled)
        self.raster = self.rig.raster
        placement_view().show_rig(self.rig)

    def conclude(self, context: Context, sampled: TrajectorySet) -> OperatorResult:
        try:
            self.begin(context)
            self.start_tool(context)
        except FlexTrajError as error:
            return self.refuse(error)
        return {"RUNNING_MODAL"}

    def conclude_at_once(self, context: Context, sampled: TrajectorySet) -> OperatorResult:
        self.begin(context)
        return self.confirm(context)

    def modal(self, context: Context, event: bpy.types.Event) -> OperatorResult:
        if self._is_tool:
            return self.modal_tool(context, event)
        return super().modal(context, event)

    def cancel(self, context: Context) -> None:
        if self._is_tool:
            self.stop_tool()
            self.take_back(context)
        else:
            super().cancel(context)
