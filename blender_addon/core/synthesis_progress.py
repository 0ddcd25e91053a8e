"""The lines that `flextraj synthesize --progress json` writes on its standard output."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from enum import StrEnum

from .errors import ErrorCode

MAX_LINE = 65_536
"""Bytes; a longer line is none of ours."""
_MAX_MESSAGE = 2000


class SynthesisState(StrEnum):
    """Where the command stands."""

    RUNNING = "running"
    DONE = "done"
    ERROR = "error"


@dataclass(frozen=True)
class SynthesisProgress:
    """One line.

    Attributes:
        state: where the command stands.
        done, clips: clips that are finished, and all of the dataset.
        failed: clips that could not be made.
        clips_per_minute: 0 where it is not known.
        eta_seconds: None where it is not known.
        message: what there is to say; with ERROR, one sentence.
        code: with ERROR, kind of failure where the line names it.
    """

    state: SynthesisState
    done: int = 0
    clips: int = 0
    failed: int = 0
    clips_per_minute: float = 0.0
    eta_seconds: float | None = None
    message: str = ""
    code: ErrorCode | None = None

    @property
    def is_complete(self) -> bool:
        """Whether every clip is finished or has been given up."""
        return self.state is SynthesisState.DONE and self.done + self.failed >= self.clips

    @property
    def fraction(self) -> float:
        """Share of the clips that are finished, 0 to 1."""
        return min(self.done / self.clips, 1.0) if self.clips else 0.0


def read_progress(line: bytes) -> SynthesisProgress | None:
    """Read a line; None where it is another program's (Blender and its libraries write there, too)."""
    if len(line) > MAX_LINE or not line.lstrip().startswith(b"{"):
        return None
    try:
        values = json.loads(line)
        state = SynthesisState(values["state"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    message = values.get("message")
    return SynthesisProgress(
        state=state,
        done=int(_number(values.get("done")) or 0),
        clips=int(_number(values.get("clips")) or 0),
        failed=int(_number(values.get("failed")) or 0),
        clips_per_minute=_number(values.get("clips_per_minute")) or 0.0,
        eta_seconds=_number(values.get("eta_seconds")),
        message=message[:_MAX_MESSAGE] if isinstance(message, str) else "",
        code=_code(values.get("code")),
    )


def _number(value: object) -> float | None:
    """A number that is not negative, None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < 1e15 and math.isfinite(value) else None


def _code(value: object) -> ErrorCode | None:
    return ErrorCode(value) if isinstance(value, str) and value in set(ErrorCode) else None
