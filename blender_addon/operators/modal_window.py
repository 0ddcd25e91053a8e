"""What modal operators borrow from Blender's windows, given back also where the add-on is disabled meanwhile.

Blender forgets the operator then without a word to it: its timer would tick and its status text stay.
"""

from __future__ import annotations

import bpy

from ..blender_types import Context

_timers: list[bpy.types.Timer] = []


def borrow_timer(context: Context, seconds: float) -> bpy.types.Timer:
    """A timer of the operator's window."""
    timer = context.window_manager.event_timer_add(seconds, window=context.window)
    _timers.append(timer)
    return timer


def return_timer(context: Context, timer: bpy.types.Timer) -> None:
    """Stop a timer; harmless where it has stopped."""
    if timer in _timers:
        _timers.remove(timer)
        context.window_manager.event_timer_remove(timer)


def register() -> None:
    """Nothing to register: operators come and borrow."""


def unregister() -> None:
    context: Context = bpy.context
    if not _timers:
        return
    for timer in tuple(_timers):
        return_timer(context, timer)
    context.window_manager.progress_end()
    for workspace in bpy.data.workspaces:
        workspace.status_text_set(None)
