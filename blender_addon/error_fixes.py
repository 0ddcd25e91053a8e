"""What helps against each kind of error: one button that repairs it or opens the right place.

No bpy here: the table names operators, `panels.fix_button` draws them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .core.errors import ErrorCode


class Detail(StrEnum):
    """What of an error its button is told; the name is the operator's property."""

    MESSAGE = "message"
    KEY = "key"
    """The job that failed."""


@dataclass(frozen=True)
class Fix:
    """A button.

    Attributes:
        operator: such as 'flextraj.start_backend'.
        label, icon: as drawn.
        settings: fixed properties of the operator.
        details: what of the error the operator gets.
    """

    operator: str
    label: str
    icon: str
    settings: tuple[tuple[str, str], ...] = ()
    details: tuple[Detail, ...] = ()


@dataclass(frozen=True)
class NoFix:
    """Why no single button can help; the error's sentence says what to do."""

    reason: str


FIXES: dict[ErrorCode, Fix | NoFix] = {
    ErrorCode.NO_CAMERA: Fix("flextraj.add_camera", "Add Camera", "CAMERA_DATA"),
    ErrorCode.NO_SUBJECT: Fix("flextraj.use_selected", "Use Selected", "RESTRICT_SELECT_OFF"),
    ErrorCode.NO_PHOTO: Fix("flextraj.pick_image", "Choose Photo", "FILE_IMAGE", (("target", "PHOTO"),)),
    ErrorCode.IMAGE: Fix("flextraj.pick_image", "Choose Photo", "FILE_IMAGE", (("target", "PHOTO"),)),
    ErrorCode.MASK: Fix("flextraj.pick_image", "Choose Mask", "FILE_IMAGE", (("target", "MASK"),)),
    ErrorCode.FRAME_RANGE: Fix("flextraj.fix_frames", "Set Possible Frames", "PREVIEW_RANGE"),
    ErrorCode.SIZE: Fix("flextraj.fix_size", "Set Possible Size", "FULLSCREEN_ENTER"),
    ErrorCode.TOPOLOGY: Fix(
        "flextraj.show_object", "Show Modifiers", "MODIFIER", (("tab", "MODIFIER"),), (Detail.MESSAGE,)
    ),
    ErrorCode.GEOMETRY: Fix(
        "flextraj.show_object", "Show Object", "OBJECT_DATA", (("tab", "OBJECT"),), (Detail.MESSAGE,)
    ),
    ErrorCode.VIDEO: Fix("flextraj.retry_job", "Get It Again", "FILE_REFRESH", (), (Detail.KEY,)),
    ErrorCode.ENGINE: Fix("wm.call_menu", "Choose Engine", "SETTINGS", (("name", "FLEXTRAJ_MT_engines"),)),
    ErrorCode.WEIGHTS: Fix("flextraj.copy_command", "Get Weights", "IMPORT", (), (Detail.MESSAGE,)),
    ErrorCode.GPU_MEMORY: Fix("flextraj.use_less_gpu_memory", "Use Less GPU Memory", "MEMORY"),
    ErrorCode.MEMORY: Fix("flextraj.use_less_memory", "Use Fewer Points", "MEMORY"),
    ErrorCode.BACKEND: Fix("flextraj.restart_backend", "Restart Backend", "FILE_REFRESH"),
    ErrorCode.BACKEND_MISSING: Fix(
        "flextraj.copy_command", "Install Backend", "IMPORT", (), (Detail.MESSAGE,)
    ),
    ErrorCode.BACKEND_VERSION: Fix(
        "flextraj.copy_command", "Update Backend", "IMPORT", (), (Detail.MESSAGE,)
    ),
    ErrorCode.PAIRS_FOLDER: Fix(
        "flextraj.pick_pairs_folder", "Choose Folder", "FILE_FOLDER", (("target", "OUTPUT"),)
    ),
    ErrorCode.CHARACTER_FOLDER: Fix(
        "flextraj.pick_pairs_folder", "Choose Characters", "FILE_FOLDER", (("target", "CHARACTERS"),)
    ),
    ErrorCode.DISK: Fix("flextraj.open_preferences", "Choose Folders", "FILE_FOLDER"),
    ErrorCode.DEFECT: Fix("flextraj.open_log", "Open Log", "TEXT", (), (Detail.KEY,)),
    ErrorCode.REQUEST: NoFix("The sentence names the setting, another one each time."),
    ErrorCode.TRAJECTORIES: NoFix(
        "Too many segments can be joined in several ways, and a damaged set is made anew by Generate."
    ),
}


def fix_of(code: ErrorCode) -> Fix | None:
    """The button against a kind of error, None where the sentence must do."""
    fix = FIXES[code]
    return fix if isinstance(fix, Fix) else None
