"""What operators share that work on the chosen subjects."""

from __future__ import annotations

from ..blender_types import Context
from ..bridge.chosen_subjects import find_subjects
from ..properties import scene_settings


class NeedsSubjects:
    """Greys an operator where no subject is chosen."""

    @classmethod
    def poll(cls, context: Context) -> bool:
        if not find_subjects(context, scene_settings(context.scene)):
            cls.poll_message_set("Choose the subjects first")  # type: ignore[attr-defined]
            return False
        return True
