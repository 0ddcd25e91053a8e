"""What differs between Blender 4.2 and 5.x, in one place."""

from __future__ import annotations

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
    """Add a speed effect over the whole of a strip; releases name its arguments differently."""
    start, end = strip_span(strip)
    strips = strips_of(editor)
    known = strips.bl_rna.functions["new_effect"].parameters.keys()
    length = {"length": end - start} if "length" in known else {"frame_end": end}
    source = {"input1" if "input1" in known else "seq1": strip}
    return strips.new_effect(name, "SPEED", channel, start, **length, **source)


def show_scene_in_sequencer(scene: bpy.types.Scene) -> None:
    """Let the Video Sequencer show this scene where it shows none: from 5.0 on it has a scene of its own."""
    workspace: Any = bpy.context.workspace
    if workspace is not None and getattr(workspace, "sequencer_scene", scene) is None:
        workspace.sequencer_scene = scene


def is_rendering() -> bool:
    """Whether Blender renders in the background of its window: nothing should change in the file then."""
    return bool(bpy.app.is_job_running("RENDER"))


def open_windows() -> list[bpy.types.Window]:
    """Blender's windows; background mode has one, too, which nobody sees."""
    context: Context = bpy.context
    return list(context.window_manager.windows)
