"""What a job will take, asked before it is sent; and when to ask while settings change."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from ..core.errors import ErrorCode, FlexTrajError, RequestError
from ..core.request import RenderRequest
from ..core.trajectories import MAX_FRAMES, MAX_SIDE
from .answer_reader import AnswerReader

_QUIET_SECONDS = 0.4
"""Settings that are being dragged are asked about once they rest."""
_STALE_SECONDS = 30.0
"""Free memory changes by itself."""


@dataclass(frozen=True)
class EstimateQuestion:
    """A job before it is sampled.

    Attributes:
        request: how it will be rendered; its assets are not read.
        frames, width, height: of the video.
        aligned: the rig is posed over the photo.

    Raises:
        RequestError: a number is out of range.
    """

    request: RenderRequest
    frames: int
    width: int
    height: int
    aligned: bool = False

    def __post_init__(self) -> None:
        for name, most in (("frames", MAX_FRAMES), ("width", MAX_SIDE), ("height", MAX_SIDE)):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= most:
                raise RequestError(f"The setting '{name}' must be a whole number from 1 to {most}.")
        if not isinstance(self.aligned, bool):
            raise RequestError("The setting 'aligned' must be true or false.")

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> EstimateQuestion:
        """Read a question. Raises RequestError on unknown, missing or wrong settings."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise RequestError(f"The question is not valid JSON: {error}.") from error
        needed = {"request", "frames", "width", "height", "aligned"}
        if not isinstance(values, dict) or set(values) != needed:
            raise RequestError(
                "The question must be a JSON object with 'request', 'frames', 'width', 'height' and "
                "'aligned'."
            )
        request = RenderRequest.from_dict(values.pop("request"))
        return cls(request, **values)


@dataclass(frozen=True)
class EstimateAnswer:
    """What the job will take, or why it cannot be made.

    Attributes:
        seconds: wall time on the backend's machine.
        memory_bytes, vram_bytes: peak of main and of GPU memory, 0 without a GPU.
        note: sentences to show with the figures, such as how the memory is shared.
        refusal, refusal_code: one sentence and its kind where the job cannot be made, else empty.
    """

    seconds: float = 0.0
    memory_bytes: int = 0
    vram_bytes: int = 0
    note: str = ""
    refusal: str = ""
    refusal_code: ErrorCode | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> EstimateAnswer:
        """Read an answer. Raises FlexTrajError like `JobStatus.from_dict`."""
        answer = AnswerReader(values, "estimate")
        return cls(
            seconds=answer.number("seconds"),
            memory_bytes=answer.count("memory_bytes"),
            vram_bytes=answer.count("vram_bytes"),
            note=answer.text("note"),
            refusal=answer.text("refusal"),
            refusal_code=answer.optional_member("refusal_code", ErrorCode),
        )


@dataclass(frozen=True)
class EstimateReport:
    """How a question ended: with an answer, or with an error of the connection."""

    question: EstimateQuestion
    answer: EstimateAnswer | None
    error: FlexTrajError | None = None


class EstimateDesk:
    """Decides when to ask, and keeps the last answer. Main thread only; times are in seconds of any clock."""

    def __init__(self) -> None:
        self._wanted: EstimateQuestion | None = None
        self._wanted_since = 0.0
        self._asked: EstimateQuestion | None = None
        self._asked_at = 0.0
        self._is_waiting = False
        self._report: EstimateReport | None = None

    def want(self, question: EstimateQuestion, now: float) -> None:
        """Somebody looks at the estimate of this job."""
        if question != self._wanted:
            self._wanted, self._wanted_since = question, now
        elif question == self._asked and not self._is_waiting and now - self._asked_at > _STALE_SECONDS:
            self._asked = None

    @property
    def is_busy(self) -> bool:
        """Whether a question has to be asked or an answer will come."""
        return self._is_waiting or (self._wanted is not None and self._wanted != self._asked)

    def take_due(self, now: float) -> EstimateQuestion | None:
        """Return the question to ask now, if any; its report must be brought to `take`."""
        if self._is_waiting or self._wanted == self._asked or now - self._wanted_since < _QUIET_SECONDS:
            return None
        self._asked, self._asked_at, self._is_waiting = self._wanted, now, True
        return self._asked

    def take(self, report: EstimateReport) -> None:
        """Keep a report."""
        self._report, self._is_waiting = report, False

    def report_on(self, question: EstimateQuestion) -> EstimateReport | None:
        """The report on this very job, None as long as there is none."""
        report = self._report
        return report if report is not None and report.question == question else None
