"""The photo behind the rig, and a render size in its proportions."""

from __future__ import annotations

from typing import Any

import bpy

from ..blender_types import Context, OperatorResult
from ..bridge.cameras import camera_settings
from ..bridge.photo_background import hide_photo, photo_background, show_photo
from ..bridge.photo_files import image_path, photo_format
from ..bridge.shot_request import chosen_size
from ..client.messages import EngineInfo
from ..core.errors import ErrorCode, FlexTrajError
from ..core.photo_size import SizeRule, nearest_size
from ..properties import scene_settings
from ..registration import registration_of
from ..session import current_session, show_error
from ..translations import filled, translated


class _NeedsPhoto:
    """Poll of what needs a photo."""

    @classmethod
    def poll(cls, context: Context) -> bool:
        if not scene_settings(context.scene).photo:
            cls.poll_message_set("Choose a photo first")  # pyright: ignore[reportAttributeAccessIssue]
            return False
        return True


class FLEXTRAJ_OT_show_photo(_NeedsPhoto, bpy.types.Operator):
    bl_idname = "flextraj.show_photo"
    bl_label = "Show Behind Rig"
    bl_description = (
        "Show the photo through the scene's camera, cropped as the video will be. "
        "It becomes one more background image of the camera and is not rendered"
    )
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: Context) -> OperatorResult:
        scene, settings = context.scene, scene_settings(context.scene)
        try:
            if scene.camera is None or scene.camera.type != "CAMERA":
                raise FlexTrajError(
                    "The scene has no camera to show the photo through: add one.", ErrorCode.NO_CAMERA
                )
            path = image_path(settings.photo, "photo", ErrorCode.NO_PHOTO)
            form = photo_format(path)
            camera = camera_settings(scene, scene.camera.data)
            raster = chosen_size(context, settings)
            show_photo(scene, path, form, camera, raster, settings.placement.photo_opacity)
        except FlexTrajError as error:
            show_error(error)
            self.report({"ERROR"}, translated(error.message))
            return {"CANCELLED"}
        show_error(None)
        return {"FINISHED"}

    def invoke(self, context: Context, event: bpy.types.Event) -> OperatorResult:
        result = self.execute(context)
        space: Any = context.space_data
        if result != {"FINISHED"} or space is None or space.type != "VIEW_3D":
            return result
        if space.region_3d is not None and not space.use_local_camera:
            space.region_3d.view_perspective = "CAMERA"
        return result


class FLEXTRAJ_OT_hide_photo(bpy.types.Operator):
    bl_idname = "flextraj.hide_photo"
    bl_label = "Hide Photo"
    bl_description = "Take the photo away from behind the rig; background images of your own stay"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: Context) -> bool:
        return photo_background(context.scene.camera) is not None

    def execute(self, context: Context) -> OperatorResult:
        hide_photo(context.scene.camera)
        return {"FINISHED"}


class FLEXTRAJ_OT_size_from_photo(_NeedsPhoto, bpy.types.Operator):
    bl_idname = "flextraj.size_from_photo"
    bl_label = "Set Render Size from Photo"
    bl_description = (
        "Set the scene's render size, and with it the video's, to the size nearest to the photo's "
        "proportions that the chosen engine can make, so that nothing of the photo is cropped away"
    )
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: Context) -> OperatorResult:
        scene, settings = context.scene, scene_settings(context.scene)
        try:
            path = image_path(settings.photo, "photo", ErrorCode.NO_PHOTO)
            photo = photo_format(path).upright_size
        except FlexTrajError as error:
            show_error(error)
            self.report({"ERROR"}, translated(error.message))
            return {"CANCELLED"}
        width, height = chosen_size(context, settings)
        rule = size_rule(current_session().engine(settings.engine))
        render = scene.render
        render.resolution_x, render.resolution_y = nearest_size(photo, width * height, rule)
        render.resolution_percentage = 100
        settings.size = "SCENE"
        if photo_background(scene.camera) is not None:
            # What covers another frame must be enlarged by another factor.
            bpy.ops.flextraj.show_photo("EXEC_DEFAULT")  # pyright: ignore[reportAttributeAccessIssue]
        show_error(None)
        size = {"width": render.resolution_x, "height": render.resolution_y}
        self.report({"INFO"}, filled("The video is {width} × {height} pixels", **size))
        return {"FINISHED"}


def size_rule(engine: EngineInfo | None) -> SizeRule:
    """Which sizes an engine can make; sizes that most engines can make as long as none has answered."""
    if engine is None:
        return SizeRule()
    fixed = (engine.fixed_width, engine.fixed_height) if engine.fixed_width else None
    return SizeRule(engine.side_multiple, engine.max_side, fixed)


register, unregister = registration_of(
    FLEXTRAJ_OT_show_photo, FLEXTRAJ_OT_hide_photo, FLEXTRAJ_OT_size_from_photo
)
