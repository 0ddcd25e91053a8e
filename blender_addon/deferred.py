"""What the timer does in the user's name once the worker has reported, where no operator runs any more."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import bpy

from .bridge.compat import is_rendering, open_windows
from .core.errors import FlexTrajError


@dataclass(frozen=True)
class Alert:
    """Something that went wrong meanwhile; `key` is its job, empty where it is no job's."""

    error: FlexTrajError
    key: str = ""


def notify(alert: Alert) -> None:
    """Show a popup with the sentence and the button that helps."""
    windows = open_windows()
    if bpy.app.background or not windows:
        return
    with bpy.context.temp_override(window=windows[0]):
        bpy.ops.flextraj.notify(  # pyright: ignore[reportAttributeAccessIssue]
            "INVOKE_DEFAULT", message=alert.error.message, code=alert.error.code.value, key=alert.key
        )


def load_frames(keys: set[str]) -> set[str]:
    """Load the pictures of jobs that have come; return the jobs whose are loaded.

    They wait while Blender renders: nothing must change in the file then.
    """
    windows = open_windows()
    if not keys or not windows or is_rendering():
        return set()
    for key in keys:
        # The operator has told why it failed, which Python hears as an error; it is not tried again.
        with suppress(RuntimeError), bpy.context.temp_override(window=windows[0]):
            bpy.ops.flextraj.load_result(  # pyright: ignore[reportAttributeAccessIssue]
                "EXEC_DEFAULT", True, target="SEQUENCE", key=key
            )
    return keys
