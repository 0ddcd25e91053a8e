"""A camera for a scene that has none."""

from __future__ import annotations

from typing import cast

import bpy

from ..blender_types import Context, OperatorResult
from ..bridge.auto_camera import framing_camera
from ..bridge.shot_request import read_sample_settings
from ..bridge.shot_sampling import choose_frames
from ..core.errors import FlexTrajError
from ..properties import scene_settings
from ..registration import registration_of
from ..session import show_error
from ..translations import translated
from .subject_check import NeedsSubjects


class FLEXTRAJ_OT_add_camera(NeedsSubjects, bpy.types.Operator):
    bl_idname = "flextraj.add_camera"
    bl_label = "Add Camera"
    bl_description = "Add a camera that sees the whole motion of the subjects and make it the scene's camera"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: Context) -> OperatorResult:
        scene = context.scene
        settings = read_sample_settings(context, scene_settings(scene))
        try:
            frames = choose_frames(scene, settings).source_frames
            with framing_camera(scene, context.view_layer, settings, frames) as framing:
                matrix, data = framing.matrix_world.copy(), cast(bpy.types.Camera, framing.data).copy()
        except FlexTrajError as error:
            show_error(error)
            self.report({"ERROR"}, translated(error.message))
            return {"CANCELLED"}
        data.name = "FlexTraj Camera"
        camera = bpy.data.objects.new("FlexTraj Camera", data)
        camera.matrix_world = matrix
        scene.collection.objects.link(camera)
        scene.camera = camera
        show_error(None)
        return {"FINISHED"}


register, unregister = registration_of(FLEXTRAJ_OT_add_camera)
