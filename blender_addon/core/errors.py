"""Errors that a user may see: one sentence that says what is wrong and what to do."""

from __future__ import annotations

from enum import StrEnum


class ErrorCode(StrEnum):
    """What went wrong, so that a panel can offer the matching fix."""

    TRAJECTORIES = "trajectories"
    NO_CAMERA = "no_camera"
    NO_SUBJECT = "no_subject"
    NO_PHOTO = "no_photo"
    FRAME_RANGE = "frame_range"
    TOPOLOGY = "topology"
    GEOMETRY = "geometry"
    SIZE = "size"
    IMAGE = "image"
    MASK = "mask"
    VIDEO = "video"
    REQUEST = "request"
    ENGINE = "engine"
    BACKEND = "backend"
    BACKEND_MISSING = "backend_missing"
    BACKEND_VERSION = "backend_version"
    DISK = "disk"
    MEMORY = "memory"
    GPU_MEMORY = "gpu_memory"
    WEIGHTS = "weights"
    PAIRS_FOLDER = "pairs_folder"
    CHARACTER_FOLDER = "character_folder"
    DEFECT = "defect"
    """A mistake of this program or of a library; the log says more."""


class FlexTrajError(Exception):
    """An expected failure.

    Args:
        message: one sentence for the user: what is wrong and what to do.
        code: kind of failure; the panel picks its fix button by it.
    """

    def __init__(self, message: str, code: ErrorCode) -> None:
        super().__init__(message)
        self.message = message
        self.code = code

    def __reduce__(self) -> tuple[type[FlexTrajError], tuple[str, ErrorCode]]:
        return type(self), (self.message, self.code)


class RequestError(FlexTrajError):
    """A request that cannot be run as it stands; the message names the setting."""

    def __init__(self, message: str, code: ErrorCode = ErrorCode.REQUEST) -> None:
        super().__init__(message, code)
