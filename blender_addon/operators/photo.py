"""Choose the reference photo or its mask in the file browser."""

# Blender reads the annotations of operators as values, so they cannot be postponed nor type-checked.
# pyright: reportInvalidTypeForm=false

import bpy
from bpy.props import BoolProperty, EnumProperty, StringProperty

from ..blender_types import Context, OperatorResult
from ..bridge.compat import path_options
from ..properties import scene_settings
from ..registration import registration_of
from ..session import show_error
from ..translations import translated


class FLEXTRAJ_OT_pick_image(bpy.types.Operator):
    bl_idname = "flextraj.pick_image"
    bl_label = "Choose Image"
    bl_description = "Choose an image in the file browser"
    bl_options = {"REGISTER", "UNDO"}

    target: EnumProperty(
        name="Use As",
        description="What the image is",
        items=(
            ("PHOTO", "Photo", "The image that will move"),
            ("MASK", "Mask", "White where the subject of the photo is"),
        ),
        options={"HIDDEN"},
    )
    filepath: StringProperty(name="File Path", subtype="FILE_PATH", options={"SKIP_SAVE", *path_options()})
    filter_image: BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})
    filter_folder: BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})

    def invoke(self, context: Context, event: bpy.types.Event) -> OperatorResult:
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: Context) -> OperatorResult:
        if not self.filepath:
            self.report({"ERROR"}, translated("No file was chosen: choose an image."))
            return {"CANCELLED"}
        settings = scene_settings(context.scene)
        if self.target == "PHOTO":
            settings.photo = self.filepath
        else:
            settings.mask = self.filepath
        show_error(None)
        return {"FINISHED"}


register, unregister = registration_of(FLEXTRAJ_OT_pick_image)
