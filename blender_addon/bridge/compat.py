"""What differs between Blender 4.2 and 5.x, in one place."""

from __future__ import annotations

import atexit
from typing import Any

import bpy

from ..blender_types import Context


def path_options() -> set[Any]:
    """Options of a path property that may start with `//`; Blender 4.5 and newer want it declared."""
    return {"PATH_SUPPORTS_BLEND_RELATIVE"} if bpy.app.version >= (4, 5, 0) else set()


def strips_of(editor: Any) -> Any:
    """The strips of a sequence editor: `strips` since Blender 4.4, `sequences` before, which 5.0 removed."""
    # Not `or`: an empty collection is false.
    return editor.strips if hasattr(editor, "strips") else editor.sequences


def all_strips_of(editor: Any) -> Any:
    """Like `strips_of`, with the strips inside of meta strips."""
    return editor.strips_all if hasattr(editor, "strips_all") else editor.sequences_all


def strip_span(strip: Any) -> tuple[int, int]:
    """First frame of a strip and the one after its last; Blender 5.2 renamed both, 6.0 drops the old."""
    if hasattr(strip, "left_handle"):
        return int(strip.left_handle), int(strip.right_handle)
    return int(strip.frame_final_start), int(strip.frame_final_end)


def set_strip_end(strip: Any, end: int) -> None:
    """Let a strip end before this frame; beyond its content it holds the last picture."""
    if hasattr(strip, "right_handle"):
        strip.right_handle = end
    else:
        strip.frame_final_duration = end - int(strip.frame_final_start)


def add_speed_effect(editor: Any, strip: Any, channel: int, name: str) -> Any:
    """Add a speed effect over the whole of a strip."""
    start, end = strip_span(strip)
    known = strips_of(editor).bl_rna.functions["new_effect"].parameters.keys()
    source = {"input1" if "input1" in known else "seq1": strip}
    return _new_effect(editor, name, "SPEED", channel, start, end, **source)


def add_color_strip(editor: Any, name: str, channel: int, start: int, end: int) -> Any:
    """Add a strip of one colour that ends before frame `end`."""
    return _new_effect(editor, name, "COLOR", channel, start, end)


def _new_effect(editor: Any, name: str, kind: str, channel: int, start: int, end: int, **sources: Any) -> Any:
    """Add an effect strip; releases name its length differently."""
    strips = strips_of(editor)
    known = strips.bl_rna.functions["new_effect"].parameters.keys()
    length = {"length": end - start} if "length" in known else {"frame_end": end}
    return strips.new_effect(name, kind, channel, start, **length, **sources)


def show_scene_in_sequencer(scene: bpy.types.Scene) -> None:
    """Let the Video Sequencer show this scene where it shows none: from 5.0 on it has a scene of its own."""
    workspace: Any = bpy.context.workspace
    if workspace is not None and getattr(workspace, "sequencer_scene", scene) is None:
        workspace.sequencer_scene = scene


def animation_curves(action: Any, slot: Any) -> list[Any]:
    """The F-curves of an action, of the data that a slot stands for; slots came with Blender 4.4.

    The list of all curves, which 4.2 has alone, is gone since 5.0.
    """
    if not hasattr(action, "layers") or action.is_action_legacy:
        return list(action.fcurves)
    bags = (strip.channelbag(slot) for layer in action.layers for strip in layer.strips) if slot else ()
    return [curve for bag in bags if bag is not None for curve in bag.fcurves]


def add_preset_folder(folder: str) -> None:
    """Let Blender find the presets in `folder/presets`; before some 4.2 only the user's are listed."""
    if hasattr(bpy.utils, "register_preset_path"):
        bpy.utils.register_preset_path(folder)


def remove_preset_folder(folder: str) -> None:
    """Take back `add_preset_folder`."""
    if hasattr(bpy.utils, "unregister_preset_path"):
        bpy.utils.unregister_preset_path(folder)


def is_rendering() -> bool:
    """Whether Blender renders in the background of its window: nothing should change in the file then."""
    return bool(bpy.app.is_job_running("RENDER"))


def shader_tree(material: bpy.types.Material) -> bpy.types.NodeTree | None:
    """The nodes that shade a material, None where it has none; from 5.0 on they cannot be switched off."""
    if bpy.app.version < (5, 0, 0) and not material.use_nodes:
        return None
    return material.node_tree


def open_windows() -> list[bpy.types.Window]:
    """Blender's windows; background mode has one, too, which nobody sees."""
    context: Context = bpy.context
    return list(context.window_manager.windows)


def forget_callbacks_at_exit(package: str) -> None:
    """Let a script that uses Blender 4.2 as a Python module end without a crash.

    There an annotation that holds a callback (`update`, `poll`, ...) is beyond Python's garbage collector and
    keeps Blender's module alive until after Python has ended. Nothing can be registered any more by then. In
    Blender itself all types are gone when Python ends: there, looking for them would be the crash.
    """
    is_module = not bpy.app.binary_path
    if is_module and bpy.app.version < (4, 5, 0):
        atexit.unregister(_forget_callbacks)
        atexit.register(_forget_callbacks, package)


def _forget_callbacks(package: str) -> None:
    for cls in bpy.types.PropertyGroup.__subclasses__():
        if cls.__module__.startswith(f"{package}."):
            cls.__annotations__.clear()
