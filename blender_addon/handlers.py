"""Handlers that keep the run-time state sane when the file or its history changes under the add-on."""

from __future__ import annotations

from typing import Any

import bpy
from bpy.app.handlers import persistent

from .session import current_session, show_session


@persistent
def end_sampling_before_change(*_arguments: Any) -> None:
    """Undo and loading free the scene's data: a generator that reads it must restore the frame first."""
    current_session().end_sampling()


@persistent
def show_session_after_change(*_arguments: Any) -> None:
    """A loaded file brings the run-time properties of another day along: write today's over them."""
    show_session()


_HANDLERS = (
    ("load_pre", end_sampling_before_change),
    ("undo_pre", end_sampling_before_change),
    ("redo_pre", end_sampling_before_change),
    ("load_post", show_session_after_change),
    ("load_factory_startup_post", show_session_after_change),
)


def register() -> None:
    for name, function in _HANDLERS:
        getattr(bpy.app.handlers, name).append(function)
    show_session()


def unregister() -> None:
    for name, function in _HANDLERS:
        functions = getattr(bpy.app.handlers, name)
        if function in functions:
            functions.remove(function)
