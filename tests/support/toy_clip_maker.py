"""A ClipMaker without Blender; the variable TOY_CLIPS (JSON) makes some clips fail or be slow."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from toy_clips import toy_clip

from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.synthesis.clip import SyntheticClip
from flextraj_backend.synthesis.plan import ClipTask, SynthesisSettings

VARIABLE = "TOY_CLIPS"
NAME = "toy_clip_maker:ToyClipMaker"


class ToyClipMaker:
    """Behaviours: `fail`, `raise`, `die` (lists of clip numbers), `once` (a folder: each only once),
    `seconds` (each clip takes), `refuse` (a sentence: no clip can be made).
    """

    def __init__(self, settings: SynthesisSettings) -> None:
        self._settings = settings
        self._behaviour: dict[str, Any] = json.loads(os.environ.get(VARIABLE, "{}"))
        if "refuse" in self._behaviour:
            raise FlexTrajError(self._behaviour["refuse"], ErrorCode.BACKEND)

    def make(self, task: ClipTask) -> SyntheticClip:
        print("noise on standard output")
        time.sleep(self._behaviour.get("seconds", 0))
        if self._misbehaves("die", task.index):
            os.kill(os.getpid(), signal.SIGKILL)
        if self._misbehaves("fail", task.index):
            raise FlexTrajError("This character has lost its head: draw another one.", ErrorCode.GEOMETRY)
        if self._misbehaves("raise", task.index):
            raise KeyError("bone")
        scene = self._settings.scene
        return toy_clip(
            task.key,
            1000 * self._settings.seed + task.index,
            pair_group=task.pair_group,
            others=self._settings.others,
            size=(scene.width, scene.height),
            frames=scene.frames,
        )

    def _misbehaves(self, kind: str, index: int) -> bool:
        if index not in self._behaviour.get(kind, ()):
            return False
        if "once" not in self._behaviour:
            return True
        mark = Path(self._behaviour["once"]) / f"{kind}{index}"
        if mark.exists():
            return False
        mark.touch()
        return True
