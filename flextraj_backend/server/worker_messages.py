"""What a worker says on its message channel: one JSON object a line."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import ClassVar

from blender_addon.core.errors import ErrorCode


@dataclass(frozen=True)
class Estimated:
    """The engine expects the whole job to take this long."""

    event: ClassVar[str] = "estimated"
    seconds: float


@dataclass(frozen=True)
class Advanced:
    """Step of steps within a phase."""

    event: ClassVar[str] = "advanced"
    phase: str
    step: int
    steps: int


@dataclass(frozen=True)
class Succeeded:
    """The results are in the job folder."""

    event: ClassVar[str] = "succeeded"
    label: str
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Failed:
    """The job cannot be made; one sentence for the user."""

    event: ClassVar[str] = "failed"
    message: str
    code: ErrorCode


@dataclass(frozen=True)
class Stopped:
    """The job was cancelled and left nothing behind."""

    event: ClassVar[str] = "stopped"


WorkerMessage = Estimated | Advanced | Succeeded | Failed | Stopped
_KINDS = {kind.event: kind for kind in (Estimated, Advanced, Succeeded, Failed, Stopped)}


def encode(message: WorkerMessage) -> bytes:
    """One line, newline included."""
    return json.dumps({"event": message.event, **asdict(message)}).encode() + b"\n"


def decode(line: bytes) -> WorkerMessage | None:
    """Read a line; None where it is not a message, such as the half line of a killed worker."""
    try:
        values = json.loads(line)
        kind = _KINDS[values.pop("event")]
        if kind is Succeeded:
            return Succeeded(values["label"], tuple(values["warnings"]))
        if kind is Failed:
            return Failed(values["message"], ErrorCode(values["code"]))
        return kind(**values)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
