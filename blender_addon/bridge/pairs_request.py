"""The set of training pairs that a scene's settings describe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import bpy

from ..core.errors import ErrorCode, FlexTrajError
from ..core.training_pairs import ActionName, CameraMove, PairsRequest, Renderer

if TYPE_CHECKING:
    from ..training_properties import FlexTrajTrainingSettings


def read_pairs_request(settings: FlexTrajTrainingSettings) -> PairsRequest:
    """Read the settings. Raises FlexTrajError where they cannot be run as they stand."""
    if not settings.folder.strip():
        raise FlexTrajError("There is no output folder: choose one.", ErrorCode.PAIRS_FOLDER)
    return PairsRequest(
        folder=chosen_folder(settings.folder, ErrorCode.PAIRS_FOLDER),
        clips=settings.clips,
        characters=settings.characters,
        others=settings.others,
        seed=settings.seed,
        width=settings.width,
        height=settings.height,
        frames=settings.frames,
        fps=settings.fps,
        points=settings.points,
        renderer=Renderer(settings.renderer),
        # A set has no order of its own.
        actions=tuple(one for one in ActionName if one.value in settings.actions),
        cameras=tuple(one for one in CameraMove if one.value in settings.cameras),
        library=chosen_folder(settings.library, ErrorCode.CHARACTER_FOLDER) if settings.library else None,
        processes=settings.processes,
    )


def chosen_folder(text: str, code: ErrorCode) -> Path:
    """A folder as an absolute path. Raises FlexTrajError where it is beside a file that is not saved."""
    if text.startswith("//") and not bpy.data.filepath:
        raise FlexTrajError(
            f"The folder {text} is beside the .blend file: save that first, or choose another.", code
        )
    return Path(bpy.path.abspath(text)).absolute()
