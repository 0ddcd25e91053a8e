"""The worker thread between Blender and the backend, against a backend made of plain Python."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from blender_addon.client.backend_process import BackendPhase
from blender_addon.client.job_reports import BackendReport, JobReport, JobStage, RenderOrder
from blender_addon.client.job_runner import JobRunner
from blender_addon.client.job_texts import duration_text, progress_fraction, progress_text
from blender_addon.client.messages import EngineInfo, JobState, JobStatus, ResultKind
from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.request import FitMode, RenderRequest
from blender_addon.core.trajectories import Segment, TrajectoryMeta, TrajectorySet

PATIENCE = 10.0


class FakeService:
    """Answers a job with the given states, one a poll; the last one stays."""

    def __init__(self, *states: JobStatus) -> None:
        self.states = list(states)
        self.uploads: list[bytes] = []
        self.requests: list[RenderRequest] = []
        self.keys: list[str] = []
        self.cancelled: list[str] = []
        self.upload_error: FlexTrajError | None = None
        self.poll_errors: list[FlexTrajError] = []
        self.cancel_errors: list[FlexTrajError] = []
        self.before_upload: Callable[[], None] = lambda: None

    def engines(self) -> tuple[EngineInfo, ...]:
        return (EngineInfo("preview", "Preview", True),)

    def upload(self, source: Path | bytes, give_up: Callable[[], bool]) -> str:
        self.before_upload()
        if give_up():
            raise FlexTrajError("The upload was cancelled.", ErrorCode.BACKEND)
        if self.upload_error is not None:
            raise self.upload_error
        self.uploads.append(source if isinstance(source, bytes) else source.read_bytes())
        return f"{len(self.uploads):064x}"

    def submit(self, request: RenderRequest, idempotency_key: str) -> JobStatus:
        self.requests.append(request)
        self.keys.append(idempotency_key)
        return JobStatus("job1", JobState.QUEUED, request.engine)

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

    def download(self, job_id: str, kind: ResultKind, destination: Path) -> Path:
        destination.write_bytes(kind.value.encode())
        return destination


class FakeBackend:
    def __init__(self, service: FakeService) -> None:
        self.service = service
        self.connect_error: FlexTrajError | None = None
        self.failure_now: FlexTrajError | None = None
        self.starts = 0
        self.stops = 0
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

    def stop(self) -> None:
        self.stops += 1


def running(step: int) -> JobStatus:
    return JobStatus("job1", JobState.RUNNING, "preview", phase="rendering", step=step, steps=4)


SUCCEEDED = JobStatus(
    "job1",
    JobState.SUCCEEDED,
    "preview",
    label="motion draft",
    warnings=("The fit is rough.",),
    results=tuple(ResultKind),
)


@pytest.fixture
def order(tmp_path: Path) -> RenderOrder:
    meta = TrajectoryMeta(8, 6, 24.0, (5.0, 6.0), (Segment(0, "Cube"),))
    trajectories = TrajectorySet(
        np.ones((2, 1, 3), np.float32),
        np.ones((2, 1), bool),
        np.zeros(1, np.uint16),
        np.zeros(1, np.uint16),
        meta,
    )
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"photo")
    return RenderOrder(
        key="k" * 32,
        title="Cube",
        trajectories=trajectories,
        photo=photo,
        mask=None,
        folder=tmp_path / "results" / "job",
        engine="preview",
        prompt="",
        seed=3,
        fit=FitMode.AUTO,
    )


@pytest.fixture
def start():
    runners: list[JobRunner] = []

    def make(backend: FakeBackend) -> JobRunner:
        runners.append(JobRunner(backend, poll_seconds=0.01))
        return runners[-1]

    yield make
    for runner in runners:
        runner.close()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)


def until_finished(runner: JobRunner) -> list[JobReport]:
    reports: list[JobReport] = []
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        reports += [item for item in runner.wait(0.1) if isinstance(item, JobReport)]
        if reports and reports[-1].stage.is_finished:
            return reports
    raise AssertionError(f"the job did not end: {[report.stage for report in reports]}")


def test_a_finished_job_leaves_its_videos_and_a_sidecar_in_its_folder(start, order: RenderOrder) -> None:
    service = FakeService(running(1), running(3), SUCCEEDED)
    runner = start(FakeBackend(service))
    runner.submit(order)
    reports = until_finished(runner)
    last = reports[-1]
    assert last.stage is JobStage.DONE
    assert last.video == order.folder / "video.mp4"
    assert (last.label, last.warnings, last.first_frame) == ("motion draft", ("The fit is rough.",), 5.0)
    found = {path.name for path in order.folder.iterdir()}
    assert found == {"trajectories.npz", "video.mp4", "id.mp4", "color.mp4", "job.json"}
    # The sidecar is the backend's own, which alone knows fit, hashes and versions.
    assert (order.folder / "job.json").read_text() == ResultKind.SIDECAR.value
    assert not runner.has_work


def test_the_panel_sees_every_stage_of_a_job_in_order(start, order: RenderOrder) -> None:
    runner = start(FakeBackend(FakeService(running(1), running(3), SUCCEEDED)))
    runner.submit(order)
    stages = list(dict.fromkeys(report.stage for report in until_finished(runner)))
    assert stages == [
        JobStage.WAITING,
        JobStage.STARTING,
        JobStage.UPLOADING,
        JobStage.QUEUED,
        JobStage.RUNNING,
        JobStage.DOWNLOADING,
        JobStage.DONE,
    ]


def test_the_request_carries_what_the_user_chose(start, order: RenderOrder, tmp_path: Path) -> None:
    mask = tmp_path / "mask.png"
    mask.write_bytes(b"mask")
    service = FakeService(SUCCEEDED)
    runner = start(FakeBackend(service))
    runner.submit(replace(order, mask=mask, engine="wan", prompt="a dancer", fit=FitMode.NONE))
    until_finished(runner)
    request = service.requests[0]
    assert (request.engine, request.prompt, request.seed) == ("wan", "a dancer", 3)
    assert (request.fit, request.title) == (FitMode.NONE, "Cube")
    assert service.uploads[1:] == [b"photo", b"mask"]
    assert service.keys == [order.key]


def test_cancelling_a_running_job_reaches_the_backend_and_leaves_no_folder(start, order: RenderOrder) -> None:
    service = FakeService(running(1))
    runner = start(FakeBackend(service))
    runner.submit(order)
    wait_until(lambda: bool(service.requests))
    runner.cancel(order.key)
    assert until_finished(runner)[-1].stage is JobStage.CANCELLED
    assert service.cancelled == ["job1"]
    assert not order.folder.exists()


def test_a_cancel_that_the_busy_backend_missed_is_said_again_until_it_heard(
    start, order: RenderOrder
) -> None:
    service = FakeService(running(1))
    service.cancel_errors = [FlexTrajError("It did not answer within 10 s.", ErrorCode.BACKEND)] * 3
    runner = start(FakeBackend(service))
    runner.submit(order)
    wait_until(lambda: bool(service.requests))
    runner.cancel(order.key)
    reports = until_finished(runner)
    assert reports[-1].stage is JobStage.CANCELLED
    assert reports[-2].stage is JobStage.CANCELLING
    assert service.cancelled == ["job1"]


def test_a_cancel_that_no_backend_hears_ends_with_its_sentence(start, order: RenderOrder) -> None:
    service = FakeService(running(1))
    service.cancel_errors = [FlexTrajError("It does not answer.", ErrorCode.BACKEND)] * 50
    runner = start(FakeBackend(service))
    runner.submit(order)
    wait_until(lambda: bool(service.requests))
    runner.cancel(order.key)
    last = until_finished(runner)[-1]
    assert (last.stage, last.message) == (JobStage.FAILED, "It does not answer.")


def test_cancelling_during_the_upload_submits_nothing(start, order: RenderOrder) -> None:
    service = FakeService(running(1))
    runner = start(FakeBackend(service))
    service.before_upload = lambda: runner.cancel(order.key)
    runner.submit(order)
    assert until_finished(runner)[-1].stage is JobStage.CANCELLED
    assert not service.uploads
    assert not service.requests
    assert not order.folder.exists()


def test_cancelling_while_the_backend_starts_does_not_wait_for_it(start, order: RenderOrder) -> None:
    backend = FakeBackend(FakeService(running(1)))
    backend.slow_start.clear()
    runner = start(backend)
    runner.submit(order)
    wait_until(lambda: bool(backend.starts))
    runner.cancel(order.key)
    assert until_finished(runner)[-1].stage is JobStage.CANCELLED
    assert not order.folder.exists()


def test_cancelling_does_not_remove_a_folder_that_was_there_before(start, order: RenderOrder) -> None:
    order.folder.mkdir(parents=True)
    (order.folder / "mine.txt").write_text("keep")
    runner = start(FakeBackend(FakeService(running(1))))
    runner.submit(order)
    runner.cancel(order.key)
    assert until_finished(runner)[-1].stage in (JobStage.FAILED, JobStage.CANCELLED)
    assert (order.folder / "mine.txt").read_text() == "keep"


def test_a_failed_job_shows_the_backends_sentence_and_keeps_the_trajectories(
    start, order: RenderOrder
) -> None:
    failed = JobStatus("job1", JobState.FAILED, "preview", error="The photo is too small: use a larger one.")
    runner = start(FakeBackend(FakeService(failed)))
    runner.submit(order)
    last = until_finished(runner)[-1]
    assert (last.stage, last.message) == (JobStage.FAILED, "The photo is too small: use a larger one.")
    assert (order.folder / "trajectories.npz").is_file()


def test_a_refused_upload_ends_the_job_with_its_sentence(start, order: RenderOrder) -> None:
    service = FakeService(SUCCEEDED)
    service.upload_error = FlexTrajError("The file is too large: use a smaller one.", ErrorCode.REQUEST)
    runner = start(FakeBackend(service))
    runner.submit(order)
    last = until_finished(runner)[-1]
    assert (last.message, last.code) == ("The file is too large: use a smaller one.", ErrorCode.REQUEST)


def test_a_missing_backend_ends_the_job_with_the_sentence_that_tells_how_to_install_it(
    start, order: RenderOrder
) -> None:
    backend = FakeBackend(FakeService(SUCCEEDED))
    backend.connect_error = FlexTrajError("Not installed: run it.", ErrorCode.BACKEND_MISSING)
    runner = start(backend)
    runner.submit(order)
    last = until_finished(runner)[-1]
    assert (last.stage, last.code) == (JobStage.FAILED, ErrorCode.BACKEND_MISSING)


def test_a_late_answer_of_a_busy_backend_does_not_end_a_job(start, order: RenderOrder) -> None:
    service = FakeService(running(1), SUCCEEDED)
    service.poll_errors = [FlexTrajError("late", ErrorCode.BACKEND)] * 3
    runner = start(FakeBackend(service))
    runner.submit(order)
    assert until_finished(runner)[-1].stage is JobStage.DONE


def test_a_backend_that_never_answers_again_ends_the_job(start, order: RenderOrder) -> None:
    service = FakeService(running(1))
    service.poll_errors = [FlexTrajError("It does not answer.", ErrorCode.BACKEND)] * 50
    runner = start(FakeBackend(service))
    runner.submit(order)
    assert until_finished(runner)[-1].message == "It does not answer."


def test_a_killed_backend_ends_its_jobs_with_a_reason_and_the_next_job_starts_it_again(
    start, order: RenderOrder
) -> None:
    service = FakeService(running(1))
    backend = FakeBackend(service)
    runner = start(backend)
    runner.submit(order)
    wait_until(lambda: bool(service.requests))
    backend.failure_now = FlexTrajError("The backend stopped (exit code -9).", ErrorCode.BACKEND)
    assert until_finished(runner)[-1].message == "The backend stopped (exit code -9)."
    backend.failure_now, service.states = None, [SUCCEEDED]
    runner.submit(replace(order, key="n" * 32, folder=order.folder.with_name("next")))
    assert until_finished(runner)[-1].stage is JobStage.DONE
    assert backend.starts == 2


def test_an_output_folder_that_cannot_be_made_is_named(start, order: RenderOrder, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    runner = start(FakeBackend(FakeService(SUCCEEDED)))
    runner.submit(replace(order, folder=tmp_path / "file" / "job"))
    last = until_finished(runner)[-1]
    assert last.code is ErrorCode.DISK
    assert str(tmp_path / "file" / "job") in last.message


def test_stopping_the_backend_ends_its_jobs_and_says_so(start, order: RenderOrder) -> None:
    service = FakeService(running(1))
    backend = FakeBackend(service)
    runner = start(backend)
    runner.submit(order)
    wait_until(lambda: bool(service.requests))
    runner.stop_backend()
    assert "stopped" in until_finished(runner)[-1].message
    assert backend.stops == 1


def test_starting_the_backend_reports_its_engines(start) -> None:
    runner = start(FakeBackend(FakeService(SUCCEEDED)))
    runner.start_backend()
    reports: list[BackendReport] = []
    while not reports or reports[-1].phase is BackendPhase.STARTING:
        reports += [item for item in runner.wait(PATIENCE) if isinstance(item, BackendReport)]
    assert [report.phase for report in reports] == [BackendPhase.STARTING, BackendPhase.RUNNING]
    assert reports[-1].engines[0].name == "preview"


def test_asking_the_worker_never_blocks_blender_while_the_backend_is_slow(start, order: RenderOrder) -> None:
    blocked = threading.Event()
    service = FakeService(SUCCEEDED)

    def hang() -> None:
        blocked.wait(PATIENCE)

    service.before_upload = hang
    runner = start(FakeBackend(service))
    runner.submit(order)
    wait_until(lambda: bool(runner.has_work))
    # The worker hangs in the upload; the calls of the main thread return all the same.
    assert runner.has_work
    runner.cancel(order.key)
    runner.drain()
    assert threading.active_count() >= 2
    blocked.set()
    assert until_finished(runner)[-1].stage is JobStage.CANCELLED


def test_closing_ends_the_worker_thread_and_the_backend(order: RenderOrder) -> None:
    backend = FakeBackend(FakeService(running(1)))
    runner = JobRunner(backend, poll_seconds=0.01)
    runner.submit(order)
    runner.close()
    assert backend.stops >= 1
    assert not [thread for thread in threading.enumerate() if thread.name == "FlexTraj jobs"]


def test_closing_does_not_wait_for_a_backend_that_starts_for_ever(order: RenderOrder) -> None:
    backend = FakeBackend(FakeService(running(1)))
    backend.slow_start.clear()
    runner = JobRunner(backend, poll_seconds=0.01)
    runner.submit(order)
    wait_until(lambda: bool(backend.starts))
    runner.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "FlexTraj jobs"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (60, "1 min"), (125, "2 min 5 s"), (4200, "1 h 10 min")],
)
def test_the_time_left_is_readable(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_the_progress_row_names_phase_step_and_time_left() -> None:
    report = JobReport("k", "t", JobStage.RUNNING, "fitting", 12, 49, 8.2)
    assert progress_text(report) == "Fitting 12 / 49, 8 s left"
    assert progress_fraction(report) == pytest.approx(12 / 49)
    assert progress_text(replace(report, stage=JobStage.UPLOADING)) == "Sending photo and trajectories"
    assert progress_fraction(replace(report, stage=JobStage.DONE)) == 1.0
    assert progress_fraction(replace(report, stage=JobStage.FAILED)) == 0.0
