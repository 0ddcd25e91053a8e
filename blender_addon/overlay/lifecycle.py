"""When the overlay comes and goes with the file and the add-on."""

from __future__ import annotations

from typing import Any

import bpy
from bpy.app.handlers import persistent

from .gpu_drawing import release_shaders
from .viewport import turn_off_after_failure, viewport_overlay


@persistent
def forget_shot(*_arguments: Any) -> None:
    """Another file has other scenes."""
    viewport_overlay().forget()


@persistent
def release_buffers(*_arguments: Any) -> None:
    """Undo may have taken the shot's scene away; where it has not, the buffers are made again."""
    overlay = viewport_overlay()
    overlay.release()
    if overlay.shot is not None and overlay.shot.scene_uid not in {
        scene.session_uid for scene in bpy.data.scenes
    }:
        overlay.forget()


_HANDLERS = (
    ("load_pre", forget_shot),
    ("undo_post", release_buffers),
    ("redo_post", release_buffers),
)


def register() -> None:
    for name, function in _HANDLERS:
        getattr(bpy.app.handlers, name).append(function)


def unregister() -> None:
    for name, function in _HANDLERS:
        functions = getattr(bpy.app.handlers, name)
        if function in functions:
            functions.remove(function)
    if bpy.app.timers.is_registered(turn_off_after_failure):
        bpy.app.timers.unregister(turn_off_after_failure)
    viewport_overlay().forget()
    release_shaders()
