"""The frames that a shot will have, for panels: they ask at every redraw."""

from __future__ import annotations

import time

import bpy

from ..core.errors import FlexTrajError
from ..core.frame_mapping import FrameMap
from ..core.sample_settings import SampleSettings
from .shot_sampling import choose_frames

_FRESH_SECONDS = 0.5


class ShotFrames:
    """Remembers the last answer: finding the range of a motion goes through all objects and actions."""

    def __init__(self) -> None:
        self._question: tuple[object, ...] | None = None
        self._answer: FrameMap | None = None
        self._asked = 0.0

    def of(self, scene: bpy.types.Scene, settings: SampleSettings) -> FrameMap | None:
        """Return the frames as sampling would choose them, None where it would refuse.

        An answer is used for half a second, as long as settings, range and rate of the scene stay.
        """
        rate = scene.render.fps / scene.render.fps_base
        question = (scene.session_uid, settings, scene.frame_start, scene.frame_end, rate)
        now = time.monotonic()
        if question != self._question or now - self._asked > _FRESH_SECONDS:
            try:
                self._answer = choose_frames(scene, settings)
            except FlexTrajError:
                self._answer = None
            self._question, self._asked = question, now
        return self._answer
