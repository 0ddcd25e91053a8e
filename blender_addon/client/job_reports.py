"""What the worker thread is told and what it tells the main thread: frozen messages only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ..core.errors import ErrorCode
from ..core.request import FitMode
from ..core.trajectories import TrajectorySet
from .backend_process import BackendPhase
from .messages import EngineInfo


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

    @property
    def is_finished(self) -> bool:
        return self in (JobStage.DONE, JobStage.FAILED, JobStage.CANCELLED)


@dataclass(frozen=True, eq=False)
class RenderOrder:
    """One render job as the main thread hands it over; nothing in it belongs to Blender.

    Attributes:
        key: name of the job inside this Blender, also its idempotency key at the backend.
        title: shown to the user.
        trajectories: the sampled set.
        photo, mask: image files; mask is None where the user gave none.
        folder: where the job's files go; made by the worker.
        engine, prompt, seed, fit: as in `RenderRequest`.
    """

    key: str
    title: str
    trajectories: TrajectorySet
    photo: Path
    mask: Path | None
    folder: Path
    engine: str
    prompt: str
    seed: int
    fit: FitMode


@dataclass(frozen=True)
class JobReport:
    """Where a job stands.

    Attributes:
        key, title: of the order.
        stage: see `JobStage`.
        phase: the backend's phase such as 'fitting', may be empty.
        step, steps: progress within the phase.
        eta_seconds: estimated time left, None where unknown.
        message: one sentence where the job failed, else empty.
        code: kind of failure, None where there is none.
        label: what to call the video to be honest, such as 'motion draft'; empty for a final.
        warnings: sentences for the user.
        folder: the job's folder once it exists.
        video: the finished video.
        first_frame, last_frame: scene frames that the video's first and last picture show.
    """

    key: str
    title: str
    stage: JobStage
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
    first_frame: float = 1.0
    last_frame: float = 1.0

    @property
    def fraction(self) -> float:
        """Progress within the phase, 0 to 1."""
        return min(max(self.step / self.steps, 0.0), 1.0) if self.steps > 0 else 0.0


@dataclass(frozen=True)
class BackendReport:
    """How the backend is; `message` is one sentence where it failed. `engines` is empty until it runs."""

    phase: BackendPhase
    message: str = ""
    code: ErrorCode | None = None
    engines: tuple[EngineInfo, ...] = ()


Report = JobReport | BackendReport
