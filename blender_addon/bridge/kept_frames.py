"""Which frames keep their points, from the panel's settings."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..blender_types import Context
from ..core.frame_choice import FrameChoice, FrameKeeping
from .chosen_subjects import find_subjects
from .keyframes import keyframe_times, marker_times

if TYPE_CHECKING:
    from ..properties import FlexTrajSettings

_FRESH_SECONDS = 0.5


def read_frame_keeping(context: Context, settings: FlexTrajSettings) -> FrameKeeping:
    """Read the choice; for keyframes this goes through all curves of what moves the subjects."""
    choice = FrameChoice(settings.frame_choice)
    times: tuple[float, ...] = ()
    if choice is FrameChoice.KEYFRAMES:
        times = keyframe_times(find_subjects(context, settings))
    elif choice is FrameChoice.MARKERS:
        times = marker_times(context.scene)
    return FrameKeeping(choice, settings.keep_frames, settings.frame_step, times)


class RecentFrameKeeping:
    """Remembers the last choice for half a second: panels and the viewport ask at every redraw."""

    def __init__(self) -> None:
        self._question: tuple[object, ...] | None = None
        self._answer = FrameKeeping()
        self._asked = 0.0

    def of(self, context: Context, settings: FlexTrajSettings) -> FrameKeeping:
        """Like `read_frame_keeping`; keyframes that were set just now may be missing."""
        question = (
            context.scene.session_uid,
            settings.frame_choice,
            settings.keep_frames,
            settings.frame_step,
            tuple(ob.session_uid for ob in find_subjects(context, settings)),
        )
        now = time.monotonic()
        if question != self._question or now - self._asked > _FRESH_SECONDS:
            self._answer = read_frame_keeping(context, settings)
            self._question, self._asked = question, now
        return self._answer
