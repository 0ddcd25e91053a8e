"""Buttons against errors: each repairs what its error names, or opens the place where that is done."""

# Blender reads the annotations of operators as values, so they cannot be postponed nor type-checked.
# pyright: reportInvalidTypeForm=false

import bpy
from bpy.props import EnumProperty, StringProperty

from ..blender_types import Context, OperatorResult
from ..bridge.chosen_subjects import can_be_subject
from ..bridge.compat import open_windows
from ..bridge.shot_request import DRAFT_SIZE, chosen_size, read_sample_settings
from ..bridge.shot_sampling import choose_frames
from ..client.help_commands import command_in
from ..core.errors import ErrorCode, FlexTrajError
from ..core.model_options import MemoryMode
from ..core.trajectories import MAX_FRAMES
from ..preferences import read_preferences
from ..properties import FlexTrajSettings, runtime_state, scene_settings
from ..registration import registration_of
from ..session import current_session, show_error
from ..translations import filled, translated

_LOWER_MEMORY = {
    # Automatic may have chosen any of the first two, so neither would be less.
    MemoryMode.AUTO: MemoryMode.GROUP_OFFLOAD,
    MemoryMode.RESIDENT: MemoryMode.MODEL_OFFLOAD,
    MemoryMode.MODEL_OFFLOAD: MemoryMode.GROUP_OFFLOAD,
    MemoryMode.GROUP_OFFLOAD: MemoryMode.FP8_WEIGHTS,
    MemoryMode.FP8_WEIGHTS: MemoryMode.FP8_TILED,
}
_SMALLER = 0.75
_MIN_SIDE = 64
_MIN_POINTS = 256


class FLEXTRAJ_OT_use_selected(bpy.types.Operator):
    bl_idname = "flextraj.use_selected"
    bl_label = "Use Selected"
    bl_description = "Take the active object, or the only armature of the scene, as the character"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: Context) -> OperatorResult:
        character = _likely_character(context)
        if character is None:
            self.report(
                {"ERROR"},
                translated("Click the character in the viewport first, then press this button again."),
            )
            return {"CANCELLED"}
        settings = scene_settings(context.scene)
        settings.source, settings.character = "CHARACTER", character
        show_error(None)
        return {"FINISHED"}


class FLEXTRAJ_OT_fix_frames(bpy.types.Operator):
    bl_idname = "flextraj.fix_frames"
    bl_label = "Set Possible Frames"
    bl_description = "Set the nearest number of frames that the engine can make, and a range that has them"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: Context) -> OperatorResult:
        scene, settings = context.scene, scene_settings(context.scene)
        engine = current_session().engine(settings.engine)
        settings.frames = min(max(settings.frames, 2), MAX_FRAMES)
        if engine is not None:
            settings.frames = engine.nearest_frames(settings.frames)
        try:
            choose_frames(scene, read_sample_settings(context, settings))
        except FlexTrajError as error:
            if error.code is ErrorCode.FRAME_RANGE:
                _set_range(scene, settings)
        show_error(None)
        return {"FINISHED"}


class FLEXTRAJ_OT_fix_size(bpy.types.Operator):
    bl_idname = "flextraj.fix_size"
    bl_label = "Set Possible Size"
    bl_description = "Set the nearest size that the engine can make"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: Context) -> OperatorResult:
        settings = scene_settings(context.scene)
        _set_size(settings, *chosen_size(context, settings))
        show_error(None)
        return {"FINISHED"}


class FLEXTRAJ_OT_use_less_gpu_memory(bpy.types.Operator):
    bl_idname = "flextraj.use_less_gpu_memory"
    bl_label = "Use Less GPU Memory"
    bl_description = (
        "Choose the next way of running the model that needs less GPU memory, at last a smaller size"
    )
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: Context) -> OperatorResult:
        settings = scene_settings(context.scene)
        lower = _LOWER_MEMORY.get(MemoryMode(settings.memory))
        if lower is not None:
            settings.memory = lower.value
            name = settings.bl_rna.properties["memory"].enum_items[lower.value].name  # type: ignore[attr-defined]
            self.report({"INFO"}, filled("GPU Memory is '{name}' now: press Generate", name=name))
        elif not _shrink(context, settings):
            self.report(
                {"ERROR"}, translated("This is the least that the engine can do: choose another engine.")
            )
            return {"CANCELLED"}
        else:
            width, height = chosen_size(context, settings)
            sentence = filled(
                "The video has {width} × {height} pixels and {frames} frames now: press Generate",
                width=width,
                height=height,
                frames=settings.frames,
            )
            self.report({"INFO"}, sentence)
        show_error(None)
        return {"FINISHED"}


class FLEXTRAJ_OT_use_less_memory(bpy.types.Operator):
    bl_idname = "flextraj.use_less_memory"
    bl_label = "Use Fewer Points"
    bl_description = "Follow half as many points; where there are few, make a smaller video"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: Context) -> OperatorResult:
        settings = scene_settings(context.scene)
        if settings.points > _MIN_POINTS:
            settings.points = max(settings.points // 2, _MIN_POINTS)
            sentence = filled("{count:,} points on each subject now: press Generate", count=settings.points)
            self.report({"INFO"}, sentence)
        elif not _shrink(context, settings):
            self.report(
                {"ERROR"}, translated("The job is as small as it can be: close other programs and try again.")
            )
            return {"CANCELLED"}
        show_error(None)
        return {"FINISHED"}


class FLEXTRAJ_OT_show_object(bpy.types.Operator):
    bl_idname = "flextraj.show_object"
    bl_label = "Show Object"
    bl_description = "Select the object that the message names and open its properties"
    bl_options = {"REGISTER", "UNDO"}

    message: StringProperty(options={"SKIP_SAVE"})
    tab: EnumProperty(
        name="Tab",
        description="Tab of the properties that is opened",
        items=(("MODIFIER", "Modifiers", "Modifiers"), ("OBJECT", "Object", "Transforms and visibility")),
        options={"SKIP_SAVE"},
    )

    def execute(self, context: Context) -> OperatorResult:
        named = _object_named_in(self.message, context)
        if named is None:
            self.report(
                {"ERROR"}, translated("That object is not in this scene any more: press Generate again.")
            )
            return {"CANCELLED"}
        for other in context.selected_objects:
            other.select_set(False)
        named.hide_set(False)
        named.select_set(True)
        context.view_layer.objects.active = named
        for window in open_windows():
            for area in window.screen.areas:
                if area.type == "PROPERTIES":
                    _open_tab(area.spaces.active, self.tab)
        return {"FINISHED"}


class FLEXTRAJ_OT_copy_command(bpy.types.Operator):
    bl_idname = "flextraj.copy_command"
    bl_label = "Copy Command"
    bl_description = "Copy the command that mends this to the clipboard and show it in the preferences"

    message: StringProperty(options={"SKIP_SAVE"})

    def execute(self, context: Context) -> OperatorResult:
        command = command_in(self.message, read_preferences().backend_python)
        context.window_manager.clipboard = command
        runtime_state().help_command = command
        self.report({"INFO"}, filled("Copied: {command}", command=command))
        if bpy.app.background:
            return {"FINISHED"}
        return bpy.ops.flextraj.open_preferences()  # pyright: ignore[reportAttributeAccessIssue]


def _likely_character(context: Context) -> bpy.types.Object | None:
    """The active object's armature, the active object, or the only armature of the scene."""
    active = context.active_object
    if active is not None and active.select_get():
        armature = active.find_armature()
        if armature is not None:
            return armature
        if can_be_subject(active):
            return active
    armatures = [ob for ob in context.scene.objects if ob.type == "ARMATURE"]
    return armatures[0] if len(armatures) == 1 else None


def _set_range(scene: bpy.types.Scene, settings: FlexTrajSettings) -> None:
    """As many scene frames as the video has, from where the user's range starts."""
    is_custom = settings.frame_range == "CUSTOM"
    first = settings.first_frame if is_custom else scene.frame_start
    settings.frame_range = "CUSTOM"
    settings.first_frame, settings.last_frame = first, first + settings.frames - 1


def _set_size(settings: FlexTrajSettings, width: int, height: int) -> None:
    """The nearest size that the engine can make."""
    engine = current_session().engine(settings.engine)
    size = (width, height) if engine is None else engine.nearest_size(width, height)
    settings.size = "DRAFT" if size == DRAFT_SIZE else "CUSTOM"
    settings.width, settings.height = size


def _shrink(context: Context, settings: FlexTrajSettings) -> bool:
    """A smaller video, of fewer frames where the size is fixed; return False where it is the smallest."""
    engine = current_session().engine(settings.engine)
    before = chosen_size(context, settings)
    if min(before) * _SMALLER >= _MIN_SIDE:
        _set_size(settings, *(int(side * _SMALLER) for side in before))
        if chosen_size(context, settings) != before:
            return True
    if engine is None:
        return False
    frames = settings.frames
    settings.frames = engine.nearest_frames(max(int(frames * _SMALLER), 2))
    return settings.frames < frames


def _object_named_in(message: str, context: Context) -> bpy.types.Object | None:
    """The object whose name stands in quotes in a sentence."""
    named = [ob for ob in context.view_layer.objects if f"'{ob.name}'" in message]
    return max(named, key=lambda ob: len(ob.name), default=None)


def _open_tab(space: bpy.types.Space | None, tab: str) -> None:
    try:
        space.context = tab  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]
    except TypeError:
        # This kind of object has no such tab, or the editor has not been drawn since it became active.
        return


register, unregister = registration_of(
    FLEXTRAJ_OT_use_selected,
    FLEXTRAJ_OT_fix_frames,
    FLEXTRAJ_OT_fix_size,
    FLEXTRAJ_OT_use_less_gpu_memory,
    FLEXTRAJ_OT_use_less_memory,
    FLEXTRAJ_OT_show_object,
    FLEXTRAJ_OT_copy_command,
)
