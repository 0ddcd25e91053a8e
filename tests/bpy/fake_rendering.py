"""A backend made of plain Python that answers every job with one small real video."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from blender_addon.client.estimates import EstimateAnswer, EstimateQuestion
from blender_addon.client.messages import (
    BackendHealth,
    DeviceInfo,
    EngineInfo,
    FitAnswer,
    JobState,
    JobStatus,
    ResultKind,
)
from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.grey_png import encode_mask
from blender_addon.core.request import RenderRequest
from blender_addon.core.version import PROTOCOL_VERSION
from flextraj_backend.image_io import write_image
from flextraj_backend.video_io import write_video

FRAMES = 5
SUBJECT = np.zeros((480, 720), bool)
SUBJECT[100:380, 300:500] = True
FIT = FitAnswer(
    (1.5, 0.0, -20.0, 0.0, 1.5, 30.0),
    0.62,
    ("Rig and subject differ.",),
    base64.b64encode(encode_mask(SUBJECT)).decode(),
)


SUCCEEDED = JobStatus(
    "job1",
    JobState.SUCCEEDED,
    "preview",
    label="motion draft",
    warnings=("The rig does not line up with the photo.",),
    results=(ResultKind.THUMBNAIL, ResultKind.VIDEO),
)


def _frames() -> np.ndarray:
    """Pictures whose red tells their number: (T, 32, 48, 3) uint8."""
    frames = np.zeros((FRAMES, 32, 48, 3), np.uint8)
    frames[:, :, :, 0] = np.arange(FRAMES)[:, None, None] * 40
    return frames


class FakeRenderService:
    def __init__(self) -> None:
        self.requests: list[RenderRequest] = []
        self.questions: list[EstimateQuestion] = []
        self.estimate_answer = EstimateAnswer(12.0, 3 << 30, 5 << 30, "One model at a time.")
        self.uploads: list[Path] = []
        self.sent: list[bytes] = []
        self.fits: list[RenderRequest] = []
        self.fit_outcome: FitAnswer | FlexTrajError = FIT
        self.retried: list[str] = []
        self.outcome = SUCCEEDED
        self.job_error: FlexTrajError | None = None

    def health(self) -> BackendHealth:
        return BackendHealth(PROTOCOL_VERSION, "1.2.3", 0.0)

    def device(self) -> DeviceInfo:
        return DeviceInfo("GPU", "GPU memory", 24 << 30, 20 << 30)

    def engines(self) -> tuple[EngineInfo, ...]:
        missing = EngineInfo(
            "wan", "Wan 2.2", False, "The weights are missing: run 'flextraj weights'.", ErrorCode.WEIGHTS
        )
        return EngineInfo("preview", "Preview", True, max_frames=1000, max_side=2048), missing

    def upload(self, source: Path | bytes, give_up: Callable[[], bool] = lambda: False) -> str:
        if isinstance(source, bytes):
            self.sent.append(source)
        else:
            self.uploads.append(source)
        return f"{len(self.uploads) + len(self.sent):064x}"

    def fit(self, request: RenderRequest, give_up: Callable[[], bool]) -> FitAnswer:
        self.fits.append(request)
        if isinstance(self.fit_outcome, FlexTrajError):
            raise self.fit_outcome
        return self.fit_outcome

    def estimate(self, question: EstimateQuestion) -> EstimateAnswer:
        self.questions.append(question)
        return self.estimate_answer

    def submit(self, request: RenderRequest, idempotency_key: str) -> JobStatus:
        self.requests.append(request)
        return JobStatus("job1", JobState.QUEUED, request.engine)

    def job(self, job_id: str) -> JobStatus:
        if self.job_error is not None:
            raise self.job_error
        return self.outcome

    def retry(self, job_id: str) -> JobStatus:
        self.retried.append(job_id)
        self.outcome = SUCCEEDED
        return JobStatus(job_id, JobState.QUEUED, "preview")

    def log(self, job_id: str) -> str:
        return "first line\nlast line"

    def cancel(self, job_id: str) -> JobStatus:
        self.outcome = JobStatus(job_id, JobState.CANCELLED, "preview")
        return self.outcome

    def download(self, job_id: str, kind: ResultKind, destination: Path) -> Path:
        if kind is ResultKind.THUMBNAIL:
            return write_image(destination, _frames()[FRAMES // 2])
        return write_video(destination, _frames(), 24)

    def download_frames(self, job_id: str, destination: Path) -> Path:
        with zipfile.ZipFile(destination, "w") as archive:
            for number, frame in enumerate(_frames(), 1):
                png = io.BytesIO()
                Image.fromarray(frame).save(png, "PNG")
                archive.writestr(f"{number:04}.png", png.getvalue())
        return destination


class FakeBackend:
    def __init__(self) -> None:
        self.service = FakeRenderService()
        self.connect_error: FlexTrajError | None = None
        self.stops = 0

    def connect(self, give_up: Callable[[], bool]) -> FakeRenderService:
        if self.connect_error is not None:
            raise self.connect_error
        return self.service

    def failure(self) -> FlexTrajError | None:
        return None

    def log_lines(self) -> tuple[str, ...]:
        return ("It listens.", "It renders.")

    def stop(self) -> None:
        self.stops += 1
