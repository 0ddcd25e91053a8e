"""A backend made of plain Python for the worker thread, and waiting for what the worker tells."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from blender_addon.client.estimates import EstimateAnswer, EstimateQuestion
from blender_addon.client.http_client import BackendError
from blender_addon.client.job_reports import NOT_UPLOADED, BlendFile, JobReport, RenderOrder
from blender_addon.client.job_runner import JobRunner
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
from blender_addon.core.request import RenderRequest
from blender_addon.core.trajectories import Segment, TrajectoryMeta, TrajectorySet

PATIENCE = 10.0
FILE = BlendFile("/shots/dance.blend", frozenset({"f1"}))
UNKNOWN = BackendError("There is no job 'job1'.", ErrorCode.REQUEST, 404)
SUCCEEDED = JobStatus(
    "job1",
    JobState.SUCCEEDED,
    "preview",
    label="motion draft",
    warnings=("The fit is rough.",),
    results=tuple(ResultKind),
)


def running(step: int) -> JobStatus:
    return JobStatus("job1", JobState.RUNNING, "preview", phase="rendering", step=step, steps=4)


class FakeService:
    """Answers a job with the given states, one a poll; the last one stays."""

    def __init__(self, *states: JobStatus) -> None:
        self.states = list(states)
        self.uploads: list[bytes] = []
        self.requests: list[RenderRequest] = []
        self.questions: list[EstimateQuestion] = []
        self.estimate_answer = EstimateAnswer(12.0, 3 << 30, 5 << 30, "One model at a time.")
        self.keys: list[str] = []
        self.cancelled: list[str] = []
        self.retried: list[str] = []
        self.upload_error: FlexTrajError | None = None
        self.engine_errors: list[FlexTrajError] = []
        self.poll_errors: list[FlexTrajError] = []
        self.cancel_errors: list[FlexTrajError] = []
        self.frames_error: FlexTrajError | None = None
        self.frames: Callable[[Path], None] = lambda archive: None
        self.before_upload: Callable[[], None] = lambda: None
        self.submitted = JobStatus("job1", JobState.QUEUED, "preview")
        self.devices = [DeviceInfo("GPU", "GPU memory", 100, 60)]

    def health(self) -> BackendHealth:
        return BackendHealth(2, "1.2.3", 0.0)

    def engines(self) -> tuple[EngineInfo, ...]:
        if self.engine_errors:
            raise self.engine_errors.pop(0)
        return (EngineInfo("preview", "Preview", True),)

    def device(self) -> DeviceInfo:
        return self.devices.pop(0) if len(self.devices) > 1 else self.devices[0]

    def upload(self, source: Path | bytes, give_up: Callable[[], bool]) -> str:
        self.before_upload()
        if give_up():
            raise FlexTrajError("The upload was cancelled.", ErrorCode.BACKEND)
        if self.upload_error is not None:
            raise self.upload_error
        self.uploads.append(source if isinstance(source, bytes) else source.read_bytes())
        return f"{len(self.uploads):064x}"

    def fit(self, request: RenderRequest, give_up: Callable[[], bool]) -> FitAnswer:
        raise FlexTrajError("This backend fits nothing: place the motion by hand.", ErrorCode.REQUEST)

    def estimate(self, question: EstimateQuestion) -> EstimateAnswer:
        self.questions.append(question)
        return self.estimate_answer

    def submit(self, request: RenderRequest, idempotency_key: str) -> JobStatus:
        self.requests.append(request)
        self.keys.append(idempotency_key)
        return self.submitted

    def job(self, job_id: str) -> JobStatus:
        if self.poll_errors:
            raise self.poll_errors.pop(0)
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def cancel(self, job_id: str) -> JobStatus:
        if self.cancel_errors:
            raise self.cancel_errors.pop(0)
        self.cancelled.append(job_id)
        self.states = [JobStatus(job_id, JobState.CANCELLED, "preview")]
        return JobStatus(job_id, JobState.CANCELLING, "preview")

    def retry(self, job_id: str) -> JobStatus:
        self.retried.append(job_id)
        self.states = [SUCCEEDED]
        return JobStatus(job_id, JobState.QUEUED, "preview")

    def download(self, job_id: str, kind: ResultKind, destination: Path) -> Path:
        destination.write_bytes(kind.value.encode())
        return destination

    def download_frames(self, job_id: str, destination: Path) -> Path:
        if self.frames_error is not None:
            raise self.frames_error
        self.frames(destination)
        return destination

    def log(self, job_id: str) -> str:
        return "what the job wrote"


class FakeBackend:
    def __init__(self, service: FakeService) -> None:
        self.service = service
        self.connect_error: FlexTrajError | None = None
        self.failure_now: FlexTrajError | None = None
        self.starts = 0
        self.stops = 0
        self.log: tuple[str, ...] = ("It listens.",)
        self.slow_start = threading.Event()
        self.slow_start.set()

    def connect(self, give_up: Callable[[], bool]) -> FakeService:
        self.starts += 1
        while not self.slow_start.is_set():
            if give_up():
                raise FlexTrajError("cancelled", ErrorCode.BACKEND)
            time.sleep(0.005)
        if self.connect_error is not None:
            raise self.connect_error
        return self.service

    def failure(self) -> FlexTrajError | None:
        return self.failure_now

    def log_lines(self) -> tuple[str, ...]:
        return self.log

    def stop(self) -> None:
        self.stops += 1


def tiny_set() -> TrajectorySet:
    meta = TrajectoryMeta(8, 6, 24.0, (5.0, 6.0), (Segment(0, "Cube"),))
    return TrajectorySet(
        np.ones((2, 1, 3), np.float32),
        np.ones((2, 1), bool),
        np.zeros(1, np.uint16),
        np.zeros(1, np.uint16),
        meta,
    )


def order_in(folder: Path, key: str = "k" * 32, created: float = 1.0, file: BlendFile = FILE) -> RenderOrder:
    """An order whose photo exists."""
    photo = folder / "photo.png"
    photo.write_bytes(b"photo")
    request = RenderRequest(NOT_UPLOADED, NOT_UPLOADED, seed=3, title="Cube")
    return RenderOrder(key, "Cube", photo, None, folder / "results" / key, request, 5.0, 6.0, created, file)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)


def until_finished(runner: JobRunner) -> list[JobReport]:
    """The reports of a job up to its end."""
    reports: list[JobReport] = []
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        reports += [item for item in runner.wait(0.1) if isinstance(item, JobReport)]
        if reports and reports[-1].stage.is_finished:
            return reports
    raise AssertionError(f"the job did not end: {[report.stage for report in reports]}")


def die(runner: JobRunner) -> None:
    """Blender ends without a word to the job."""
    runner._closing.set()
    if runner._thread is not None:
        runner._thread.join()


def found_by(runner: JobRunner, file: BlendFile = FILE) -> dict[str, JobReport]:
    """The last report of each job once a file has been opened and all is quiet."""
    runner.find(file)
    found: dict[str, JobReport] = {}

    def is_quiet() -> bool:
        for report in runner.drain():
            if isinstance(report, JobReport):
                found[report.key] = report
        return not runner.has_work

    wait_until(is_quiet)
    return found
