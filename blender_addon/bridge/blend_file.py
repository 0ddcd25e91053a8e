"""Which .blend file is open: its path, and the identity that its scenes carry."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast
from uuid import uuid4

import bpy

from ..client.job_reports import BlendFile

if TYPE_CHECKING:
    from ..properties import FlexTrajSettings


def read_blend_file() -> BlendFile:
    """The open file; one that has no identity gets one, which `stamp_blend_file` writes into it."""
    ids = {settings.file_id for settings in _scene_settings()} - {""}
    return BlendFile(bpy.data.filepath, frozenset(ids or {uuid4().hex}))


def stamp_blend_file(file: BlendFile) -> None:
    """Write the identity into each scene that has none: undo takes it away, and new scenes come."""
    for settings in _scene_settings():
        if not settings.file_id:
            settings.file_id = min(file.ids)


def _scene_settings() -> list[FlexTrajSettings]:
    own = (scene for scene in bpy.data.scenes if scene.library is None)
    return [cast("FlexTrajSettings", getattr(scene, "flextraj")) for scene in own]  # noqa: B009
