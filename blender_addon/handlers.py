"""Handlers that keep the run-time state sane when the file or its history changes under the add-on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import bpy
from bpy.app.handlers import persistent

from .session import current_session, show_session


@persistent
def end_sampling_before_change(*_arguments: Any) -> None:
    """Give the scene its frame and visibility back before others use it.

    Undo and loading free the data that sampling reads; saving, rendering and playback would show the scene
    as sampling has turned it over.
    """
    current_session().end_sampling_from_any_thread()


@dataclass
class _FrameOfRender:
    """A render noted the frame that sampling stood on before its handlers could end that."""

    sampled: float | None = None
    users: float = 0.0


_frame_of_render = _FrameOfRender()


@persistent
def end_sampling_before_render(scene: bpy.types.Scene, *_arguments: Any) -> None:
    """End sampling; note the frame that Blender puts back after this handler, for `give_frame_back`."""
    sampled = scene.frame_float
    current_session().end_sampling_from_any_thread()
    users = scene.frame_float
    _frame_of_render.sampled = None if users == sampled else sampled
    _frame_of_render.users = users


@persistent
def give_frame_back(scene: bpy.types.Scene, *_arguments: Any) -> None:
    """Before a still and after every render: the user's frame instead of the one of sampling."""
    if scene.frame_float == _frame_of_render.sampled:
        # Not `frame_set`, which evaluates the scene: this may be the render's thread.
        scene.frame_float = _frame_of_render.users


@persistent
def enter_file(*_arguments: Any) -> None:
    """Another file is open: show its jobs, and write today's state over the one it was saved with."""
    session = current_session()
    session.forget_error()
    if bpy.app.background:
        # A script that opens files has not asked for jobs of yesterday, nor for a backend to look for them.
        session.leave_file()
    else:
        session.enter_file()
    show_session()


@persistent
def prepare_save(*_arguments: Any) -> None:
    """The file carries the identity by which it finds its jobs again."""
    end_sampling_before_change()
    current_session().prepare_save()


@persistent
def follow_save(*_arguments: Any) -> None:
    """Jobs go with the file that is saved under another name."""
    current_session().follow_save()


def enter_first_file() -> None:
    """Show the jobs of the file that was open already; while an add-on is enabled, files cannot be read."""
    enter_file()


_HANDLERS = (
    ("load_pre", end_sampling_before_change),
    ("undo_pre", end_sampling_before_change),
    ("redo_pre", end_sampling_before_change),
    ("save_pre", prepare_save),
    ("save_post", follow_save),
    ("render_init", end_sampling_before_render),
    ("render_pre", give_frame_back),
    ("render_complete", give_frame_back),
    ("render_cancel", give_frame_back),
    ("animation_playback_pre", end_sampling_before_change),
    ("load_post", enter_file),
    ("load_factory_startup_post", enter_file),
)


def register() -> None:
    for name, function in _HANDLERS:
        getattr(bpy.app.handlers, name).append(function)
    show_session()
    if not bpy.app.background:
        bpy.app.timers.register(enter_first_file, first_interval=0.0)


def unregister() -> None:
    if bpy.app.timers.is_registered(enter_first_file):
        bpy.app.timers.unregister(enter_first_file)
    for name, function in _HANDLERS:
        functions = getattr(bpy.app.handlers, name)
        if function in functions:
            functions.remove(function)
