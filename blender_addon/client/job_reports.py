"""What the worker thread is told and what it tells the main thread: frozen messages only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ..core.errors import ErrorCode
from ..core.request import RenderRequest
from .backend_process import BackendPhase
from .messages import DeviceInfo, EngineInfo, ResultKind

NOT_UPLOADED = "0" * 64
"""Stands for the SHA-256 of an asset in the request of a job that has not been sent yet."""


class JobStage(StrEnum):
    """Life of a job as the user sees it."""

    WAITING = "waiting"
    STARTING = "starting"
    """The backend is being started for it."""
    UPLOADING = "uploading"
    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    DOWNLOADING = "downloading"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    """Blender or the backend ended while it ran, or does not answer."""
    LOST = "lost"
    """Its files are gone, or the backend does not know it any more."""

    @property
    def is_finished(self) -> bool:
        return self in _ENDS

    @property
    def can_be_retried(self) -> bool:
        return self in _TROUBLES


_TROUBLES = frozenset({JobStage.FAILED, JobStage.INTERRUPTED, JobStage.LOST})
_ENDS = _TROUBLES | {JobStage.DONE, JobStage.CANCELLED}


@dataclass(frozen=True)
class BlendFile:
    """Which .blend file a job belongs to.

    Attributes:
        path: absolute path, empty as long as the file was never saved.
        ids: identities kept inside of the file, which it takes along when it is renamed or recovered.
    """

    path: str = ""
    ids: frozenset[str] = frozenset()

    def is_same(self, other: BlendFile) -> bool:
        """Whether both are one file, by an identity or by its path."""
        return bool(self.ids & other.ids) or bool(self.path and self.path == other.path)


@dataclass(frozen=True)
class RenderOrder:
    """One render job as the main thread hands it over; nothing in it belongs to Blender.

    Attributes:
        key: name of the job inside Blender, also its idempotency key at the backend.
        title: shown to the user.
        photo, mask: image files; mask is None where the user gave none.
        folder: where the job's files go; made by the worker.
        request: what is rendered, with NOT_UPLOADED in the place of each asset.
        first_frame, last_frame: scene frames that the video's first and last picture show.
        created: Unix time in seconds.
        file: the .blend file that it was made in.
    """

    key: str
    title: str
    photo: Path
    mask: Path | None
    folder: Path
    request: RenderRequest
    first_frame: float
    last_frame: float
    created: float
    file: BlendFile = BlendFile()


@dataclass(frozen=True)
class JobReport:
    """Where a job stands.

    Attributes:
        order: what was ordered.
        stage: see `JobStage`.
        job_id: the backend's name of the job, empty before it was sent.
        phase: the backend's phase such as 'fitting', may be empty.
        step, steps: progress within the phase.
        eta_seconds: estimated time left, None where unknown.
        message: one sentence where the job failed, else empty.
        code: kind of failure, None where there is none.
        label: what to call the video to be honest, such as 'motion draft'; empty for a final.
        warnings: sentences for the user.
        folder: the job's folder once it exists.
        video, thumbnail: the finished video, and a small picture of it.
        frames: folder with the video's pictures where they were asked for.
    """

    order: RenderOrder
    stage: JobStage
    job_id: str = ""
    phase: str = ""
    step: int = 0
    steps: int = 1
    eta_seconds: float | None = None
    message: str = ""
    code: ErrorCode | None = None
    label: str = ""
    warnings: tuple[str, ...] = ()
    folder: Path | None = None
    video: Path | None = None
    thumbnail: Path | None = None
    frames: Path | None = None

    @property
    def key(self) -> str:
        return self.order.key

    @property
    def title(self) -> str:
        return self.order.title

    @property
    def fraction(self) -> float:
        """Progress within the phase, 0 to 1."""
        return min(max(self.step / self.steps, 0.0), 1.0) if self.steps > 0 else 0.0

    def result(self, kind: ResultKind) -> Path:
        """Where a result lies in the job's folder, whether it is there or not."""
        return self.order.folder / kind.file_name


@dataclass(frozen=True)
class BackendReport:
    """How the backend is.

    Attributes:
        message, code: one sentence where it failed, and the kind of failure.
        version: of the backend's package, empty until it runs.
        engines: what it can render with, empty until it runs.
        device: what its models run on, None where unknown.
        log: the last lines that it wrote.
    """

    phase: BackendPhase
    message: str = ""
    code: ErrorCode | None = None
    version: str = ""
    engines: tuple[EngineInfo, ...] = ()
    device: DeviceInfo | None = None
    log: tuple[str, ...] = ()


@dataclass(frozen=True)
class TroubleReport:
    """Something that was asked for cannot be had, although its job is as it was."""

    key: str
    message: str
    code: ErrorCode


@dataclass(frozen=True)
class UnsavedReport:
    """How many jobs of files that were never saved wait to be taken over by another."""

    count: int


Report = JobReport | BackendReport | TroubleReport | UnsavedReport
