"""What the backend says: frozen messages, strict about types, tolerant of settings newer than this add-on."""

from __future__ import annotations

import base64
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import ErrorCode, FlexTrajError
from ..core.grey_png import decode_mask
from .answer_reader import AnswerReader


class JobState(StrEnum):
    """Life of a job: queued, running, one of four ends; a running job asked to stop is cancelling."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    """The backend died while the job ran; it can be retried."""

    @property
    def is_finished(self) -> bool:
        return self not in (JobState.QUEUED, JobState.RUNNING, JobState.CANCELLING)


class ResultKind(StrEnum):
    """A file that a job made; the value is its place below `/v1/jobs/{id}/`."""

    VIDEO = "video"
    ID_VIDEO = "conditions/id"
    COLOR_VIDEO = "conditions/color"
    SIDECAR = "sidecar"
    """How the video was made (JSON): request, hashes of the inputs, fit, times, versions."""
    THUMBNAIL = "thumbnail"
    """A small picture (PNG) of the video's middle frame."""

    @property
    def file_name(self) -> str:
        """Name of the file in a folder that holds one job."""
        return _FILE_NAMES[self]


_FILE_NAMES = {
    ResultKind.VIDEO: "video.mp4",
    ResultKind.ID_VIDEO: "id.mp4",
    ResultKind.COLOR_VIDEO: "color.mp4",
    ResultKind.SIDECAR: "job.json",
    ResultKind.THUMBNAIL: "thumbnail.png",
}


@dataclass(frozen=True)
class JobStatus:
    """Where a job stands.

    Attributes:
        id: name of the job, also of its folder.
        state: see `JobState`.
        engine: engine that renders it.
        title: what the user called it, may be empty.
        phase: such as 'fitting', 'rendering', 'encoding'; empty before the job runs.
        step, steps: progress within the phase, 0 <= step <= steps.
        eta_seconds: estimated time left, None where unknown.
        created, finished: Unix time in seconds; finished is None until the job has ended.
        error: one sentence where the job failed or was interrupted, else None.
        error_code: kind of failure where there is one that the add-on knows.
        label: what to call the video to be honest, such as 'motion draft'; empty for a final.
        warnings: sentences for the user.
        results: files that can be downloaded.
    """

    id: str
    state: JobState
    engine: str
    title: str = ""
    phase: str = ""
    step: int = 0
    steps: int = 1
    eta_seconds: float | None = None
    created: float = 0.0
    finished: float | None = None
    error: str | None = None
    error_code: ErrorCode | None = None
    label: str = ""
    warnings: tuple[str, ...] = ()
    results: tuple[ResultKind, ...] = ()

    @property
    def fraction(self) -> float:
        """Progress within the phase, 0 to 1."""
        return min(max(self.step / self.steps, 0.0), 1.0) if self.steps > 0 else 0.0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> JobStatus:
        """Read a job. Raises FlexTrajError (BACKEND_VERSION): a setting is missing or of a wrong type."""
        answer = AnswerReader(values, "job")
        return cls(
            id=answer.text("id"),
            state=answer.member("state", JobState),
            engine=answer.text("engine"),
            title=answer.text("title"),
            phase=answer.text("phase"),
            step=answer.count("step"),
            steps=answer.count("steps"),
            eta_seconds=answer.optional_number("eta_seconds"),
            created=answer.number("created"),
            finished=answer.optional_number("finished"),
            error=answer.optional_text("error"),
            error_code=answer.optional_member("error_code", ErrorCode),
            label=answer.text("label"),
            warnings=answer.texts("warnings"),
            # A newer backend may offer files that this add-on does not know; they are left out.
            results=tuple(ResultKind(name) for name in answer.texts("results") if name in set(ResultKind)),
        )


@dataclass(frozen=True)
class EngineInfo:
    """What an engine can do on the backend's machine.

    Attributes:
        name: as in `RenderRequest.engine`.
        title: as shown to the user.
        available: False where it cannot run; `reason` then says why and what to do, in one sentence.
        reason_code: kind of the reason, None where the engine is available.
        min_frames, max_frames, frame_step, frame_offset: frame counts are `frame_step * k + frame_offset`.
        side_multiple, max_side: width and height are multiples of the first, at most the second, in pixels.
        fixed_width, fixed_height: the one size that can be made, in pixels; 0 where the size is free.
        seconds, memory_bytes, vram_bytes: estimate for 49 frames at 720x480 or the nearest that the engine
            can make, None where there is none.
        note: one sentence to show with the estimate, such as how the weights share the GPU; may be empty.
        reads: names of the request's settings that its video depends on, beside the assets and the fit.
        loras: names of the LoRAs that it can use.
    """

    name: str
    title: str
    available: bool
    reason: str = ""
    reason_code: ErrorCode | None = None
    min_frames: int = 1
    max_frames: int = 1
    frame_step: int = 1
    frame_offset: int = 0
    side_multiple: int = 2
    max_side: int = 4096
    fixed_width: int = 0
    fixed_height: int = 0
    seconds: float | None = None
    memory_bytes: int | None = None
    vram_bytes: int | None = None
    note: str = ""
    reads: tuple[str, ...] = ()
    loras: tuple[str, ...] = ()

    def refusal(self, frames: int, width: int, height: int) -> FlexTrajError | None:
        """Why the engine cannot make a video of this length and size, None where it can."""
        if not self.available:
            return FlexTrajError(self.reason, self.reason_code or ErrorCode.ENGINE)
        if self.nearest_frames(frames) != frames:
            return FlexTrajError(self._frames_sentence(frames), ErrorCode.FRAME_RANGE)
        if self.nearest_size(width, height) != (width, height):
            return FlexTrajError(self._size_sentence(width, height), ErrorCode.SIZE)
        return None

    def nearest_frames(self, frames: int) -> int:
        """The number of frames nearest to `frames` that the engine can make."""
        step, offset = max(self.frame_step, 1), self.frame_offset
        fewest = offset + -(-(self.min_frames - offset) // step) * step
        most = max(offset + (self.max_frames - offset) // step * step, fewest)
        return min(max(offset + (frames - offset + step // 2) // step * step, fewest), most)

    def nearest_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height near to the given ones, in about their proportions, that the engine can make."""
        if self.fixed_width:
            return self.fixed_width, self.fixed_height
        step = max(self.side_multiple, 1)
        shrink = min(1.0, self.max_side / max(width, height))
        most = max(self.max_side // step, 1)

        def fit(side: int) -> int:
            return min(max(int(side * shrink / step + 0.5), 1), most) * step

        return fit(width), fit(height)

    def _frames_sentence(self, frames: int) -> str:
        if not self.min_frames <= frames <= self.max_frames:
            return (
                f"{self.title} makes {self.min_frames} to {self.max_frames} frames, not {frames}: "
                "change Frames."
            )
        return f"{self.title} cannot make {frames} frames: set Frames to {self.nearest_frames(frames)}."

    def _size_sentence(self, width: int, height: int) -> str:
        if self.fixed_width:
            return (
                f"{self.title} makes {self.fixed_width} × {self.fixed_height} pixels and no other size, "
                f"not {width} × {height}: change the size."
            )
        if max(width, height) > self.max_side:
            return (
                f"{self.title} makes at most {self.max_side} pixels a side, not {width} × {height}: "
                "choose a smaller size."
            )
        return (
            f"{self.title} needs a width and height that are multiples of {self.side_multiple}, "
            f"not {width} × {height}: change the size."
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> EngineInfo:
        """Read an engine. Raises FlexTrajError like `JobStatus.from_dict`."""
        answer = AnswerReader(values, "engine")
        return cls(
            name=answer.text("name"),
            title=answer.text("title"),
            available=answer.truth("available"),
            reason=answer.text("reason"),
            reason_code=answer.optional_member("reason_code", ErrorCode),
            min_frames=answer.count("min_frames"),
            max_frames=answer.count("max_frames"),
            frame_step=answer.count("frame_step"),
            frame_offset=answer.count("frame_offset"),
            side_multiple=answer.count("side_multiple"),
            max_side=answer.count("max_side"),
            fixed_width=answer.count("fixed_width"),
            fixed_height=answer.count("fixed_height"),
            seconds=answer.optional_number("seconds"),
            memory_bytes=answer.optional_count("memory_bytes"),
            vram_bytes=answer.optional_count("vram_bytes"),
            note=answer.text("note"),
            reads=answer.newer_texts("reads"),
            loras=answer.newer_texts("loras"),
        )


@dataclass(frozen=True)
class BackendHealth:
    """Who answers: protocol of the API, version of the package, seconds since it started."""

    protocol: int
    version: str
    uptime_seconds: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> BackendHealth:
        """Read a health answer. Raises FlexTrajError like `JobStatus.from_dict`."""
        answer = AnswerReader(values, "health answer")
        return cls(answer.count("protocol"), answer.text("version"), answer.number("uptime_seconds"))


@dataclass(frozen=True)
class DeviceInfo:
    """What the models would run on, on the backend's machine.

    Attributes:
        name: as its driver calls it, empty where there is none or it is not known yet.
        memory_name: what its memory is called, such as 'GPU memory'.
        total_bytes, free_bytes: its memory, None where unknown.
        reason: one sentence where the models cannot run here, else empty.
        is_being_asked: a newer answer will be there in a few seconds.
    """

    name: str = ""
    memory_name: str = "memory"
    total_bytes: int | None = None
    free_bytes: int | None = None
    reason: str = ""
    is_being_asked: bool = False

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> DeviceInfo:
        """Read a device. Raises FlexTrajError like `JobStatus.from_dict`."""
        answer = AnswerReader(values, "device")
        return cls(
            name=answer.text("name"),
            memory_name=answer.text("memory_name"),
            total_bytes=answer.optional_count("total_bytes"),
            free_bytes=answer.optional_count("free_bytes"),
            reason=answer.text("reason"),
            is_being_asked=answer.truth("is_being_asked"),
        )


@dataclass(frozen=True)
class FitAnswer:
    """How the backend places a motion on a photo.

    Attributes:
        matrix: (2, 3) affine from rig pixels to photo pixels, row-major.
        iou: overlap of the placed rig and the subject, 0 to 1.
        warnings: sentences for the user.
        mask_png: the photo's subject at the shot's raster, as the base64 text of a PNG of
            `core.grey_png`.
    """

    matrix: tuple[float, float, float, float, float, float]
    iou: float
    warnings: tuple[str, ...]
    mask_png: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> FitAnswer:
        """Read a fit. Raises FlexTrajError like `JobStatus.from_dict`."""
        answer = AnswerReader(values, "fit")
        a, b, c, d, e, f = answer.numbers("matrix", 6)
        return cls(
            (a, b, c, d, e, f), answer.number("iou"), answer.texts("warnings"), answer.text("mask_png")
        )

    def mask(self) -> NDArray[np.bool_]:
        """The photo's subject, (H, W) bool. Raises FlexTrajError (MASK)."""
        try:
            data = base64.b64decode(self.mask_png, validate=True)
        except ValueError:
            data = b""
        return decode_mask(data)
