"""When the display of the rig's place comes and goes with the file and the add-on."""

from __future__ import annotations

from typing import Any

import bpy
from bpy.app.handlers import persistent

from .placement_view import placement_view, turn_off_after_failure


@persistent
def forget_placement(*_arguments: Any) -> None:
    """Another file has other scenes and another photo."""
    placement_view().forget()


@persistent
def release_pictures(*_arguments: Any) -> None:
    """Undo may have taken the scene away; where it has not, the pictures are made again."""
    view = placement_view()
    view.release()
    known = {scene.session_uid for scene in bpy.data.scenes}
    if any(item is not None and item.scene_uid not in known for item in (view.rig, view.subject)):
        view.forget()


_HANDLERS = (
    ("load_pre", forget_placement),
    ("undo_post", release_pictures),
    ("redo_post", release_pictures),
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
    placement_view().forget()
