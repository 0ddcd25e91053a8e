"""The worker thread between Blender and the backend, against a backend made of plain Python."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from job_fakes import (
    PATIENCE,
    SUCCEEDED,
    UNKNOWN,
    FakeBackend,
    FakeService,
    order_in,
    running,
    tiny_set,
    until_finished,
    wait_until,
)

from blender_addon.client.backend_process import BackendPhase
from blender_addon.client.http_client import BackendError
from blender_addon.client.job_records import JobRecords
from blender_addon.client.job_reports import BackendReport, JobReport, JobStage, RenderOrder
from blender_addon.client.job_runner import JobRunner
from blender_addon.client.job_texts import (
    duration_text,
    memory_text,
    origin_text,
    progress_fraction,
    progress_text,
)
from blender_addon.client.messages import DeviceInfo, JobState, JobStatus, ResultKind
from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.request import FitMode


def test_a_finished_job_leaves_its_videos_and_a_sidecar_in_its_folder(start, order: RenderOrder) -> None:
    service = FakeService(running(1), running(3), SUCCEEDED)
    runner = start(FakeBackend(service))
    runner.submit(order, tiny_set())
    reports = until_finished(runner)
    last = reports[-1]
    assert last.stage is JobStage.DONE
    assert last.video == order.folder / "video.mp4"
    assert last.thumbnail == order.folder / "thumbnail.png"
    assert (last.label, last.warnings) == ("motion draft", ("The fit is rough.",))
    found = {path.name for path in order.folder.iterdir()}
    assert found == {"trajectories.npz", *(kind.file_name for kind in ResultKind)}
    # The sidecar is the backend's own, which alone knows fit, hashes and versions.
    assert (order.folder / "job.json").read_text() == ResultKind.SIDECAR.value
    assert not runner.has_work


def test_the_panel_sees_every_stage_of_a_job_in_order(start, order: RenderOrder) -> None:
    runner = start(FakeBackend(FakeService(running(1), running(3), SUCCEEDED)))
    runner.submit(order, tiny_set())
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
    chosen = replace(order.request, engine="wan", prompt="a dancer", fit=FitMode.NONE, keep_points=0.5)
    runner.submit(replace(order, mask=mask, request=chosen), tiny_set())
    until_finished(runner)
    request = service.requests[0]
    assert (request.engine, request.prompt, request.seed) == ("wan", "a dancer", 3)
    assert (request.trajectories, request.image, request.mask) == tuple(f"{n:064x}" for n in (1, 2, 3))
    assert request.keep_points == 0.5
    assert (request.fit, request.title) == (FitMode.NONE, "Cube")
    assert service.uploads[1:] == [b"photo", b"mask"]
    assert service.keys == [order.key]


def test_cancelling_a_running_job_reaches_the_backend_and_leaves_no_folder(start, order: RenderOrder) -> None:
    service = FakeService(running(1))
    runner = start(FakeBackend(service))
    runner.submit(order, tiny_set())
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
    runner.submit(order, tiny_set())
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
    runner.submit(order, tiny_set())
    wait_until(lambda: bool(service.requests))
    runner.cancel(order.key)
    last = until_finished(runner)[-1]
    assert (last.stage, last.message) == (JobStage.INTERRUPTED, "It does not answer.")
    assert last.stage.can_be_retried


def test_cancelling_during_the_upload_submits_nothing(start, order: RenderOrder) -> None:
    service = FakeService(running(1))
    runner = start(FakeBackend(service))
    service.before_upload = lambda: runner.cancel(order.key)
    runner.submit(order, tiny_set())
    assert until_finished(runner)[-1].stage is JobStage.CANCELLED
    assert not service.uploads
    assert not service.requests
    assert not order.folder.exists()


def test_cancelling_while_the_backend_starts_does_not_wait_for_it(start, order: RenderOrder) -> None:
    backend = FakeBackend(FakeService(running(1)))
    backend.slow_start.clear()
    runner = start(backend)
    runner.submit(order, tiny_set())
    wait_until(lambda: bool(backend.starts))
    runner.cancel(order.key)
    assert until_finished(runner)[-1].stage is JobStage.CANCELLED
    assert not order.folder.exists()


def test_cancelling_does_not_remove_a_folder_that_was_there_before(start, order: RenderOrder) -> None:
    order.folder.mkdir(parents=True)
    (order.folder / "mine.txt").write_text("keep")
    runner = start(FakeBackend(FakeService(running(1))))
    runner.submit(order, tiny_set())
    runner.cancel(order.key)
    assert until_finished(runner)[-1].stage in (JobStage.FAILED, JobStage.CANCELLED)
    assert (order.folder / "mine.txt").read_text() == "keep"


def test_a_failed_job_shows_the_backends_sentence_and_keeps_the_trajectories(
    start, order: RenderOrder
) -> None:
    failed = JobStatus(
        "job1",
        JobState.FAILED,
        "preview",
        error="The photo is too small: use a larger one.",
        error_code=ErrorCode.IMAGE,
    )
    runner = start(FakeBackend(FakeService(failed)))
    runner.submit(order, tiny_set())
    last = until_finished(runner)[-1]
    assert (last.stage, last.message) == (JobStage.FAILED, "The photo is too small: use a larger one.")
    assert last.code is ErrorCode.IMAGE
    assert (order.folder / "trajectories.npz").is_file()
    assert (order.folder / "log.txt").read_text() == "what the job wrote"


def test_a_refused_upload_ends_the_job_with_its_sentence(start, order: RenderOrder) -> None:
    service = FakeService(SUCCEEDED)
    service.upload_error = FlexTrajError("The file is too large: use a smaller one.", ErrorCode.REQUEST)
    runner = start(FakeBackend(service))
    runner.submit(order, tiny_set())
    last = until_finished(runner)[-1]
    assert (last.message, last.code) == ("The file is too large: use a smaller one.", ErrorCode.REQUEST)


def test_a_missing_backend_ends_the_job_with_the_sentence_that_tells_how_to_install_it(
    start, order: RenderOrder
) -> None:
    backend = FakeBackend(FakeService(SUCCEEDED))
    backend.connect_error = FlexTrajError("Not installed: run it.", ErrorCode.BACKEND_MISSING)
    runner = start(backend)
    runner.submit(order, tiny_set())
    last = until_finished(runner)[-1]
    assert (last.stage, last.code) == (JobStage.FAILED, ErrorCode.BACKEND_MISSING)


def test_a_late_answer_of_a_busy_backend_does_not_end_a_job(start, order: RenderOrder) -> None:
    service = FakeService(running(1), SUCCEEDED)
    service.poll_errors = [FlexTrajError("late", ErrorCode.BACKEND)] * 3
    runner = start(FakeBackend(service))
    runner.submit(order, tiny_set())
    assert until_finished(runner)[-1].stage is JobStage.DONE


def test_a_backend_that_never_answers_again_ends_the_job(start, order: RenderOrder) -> None:
    service = FakeService(running(1))
    service.poll_errors = [FlexTrajError("It does not answer.", ErrorCode.BACKEND)] * 50
    runner = start(FakeBackend(service))
    runner.submit(order, tiny_set())
    assert until_finished(runner)[-1].message == "It does not answer."


def test_a_killed_backend_ends_its_jobs_with_a_reason_and_the_next_job_starts_it_again(
    start, order: RenderOrder
) -> None:
    service = FakeService(running(1))
    backend = FakeBackend(service)
    runner = start(backend)
    runner.submit(order, tiny_set())
    wait_until(lambda: bool(service.requests))
    backend.failure_now = FlexTrajError("The backend stopped (exit code -9).", ErrorCode.BACKEND)
    killed = until_finished(runner)[-1]
    assert (killed.stage, killed.message) == (
        JobStage.INTERRUPTED,
        "The backend stopped (exit code -9).",
    )
    backend.failure_now, service.states = None, [SUCCEEDED]
    runner.submit(replace(order, key="n" * 32, folder=order.folder.with_name("next")), tiny_set())
    assert until_finished(runner)[-1].stage is JobStage.DONE
    assert backend.starts == 2


def test_an_output_folder_that_cannot_be_made_is_named(start, order: RenderOrder, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    runner = start(FakeBackend(FakeService(SUCCEEDED)))
    runner.submit(replace(order, folder=tmp_path / "file" / "job"), tiny_set())
    last = until_finished(runner)[-1]
    assert last.code is ErrorCode.DISK
    assert str(tmp_path / "file" / "job") in last.message


def test_stopping_the_backend_ends_its_jobs_and_says_so(start, order: RenderOrder) -> None:
    service = FakeService(running(1))
    backend = FakeBackend(service)
    runner = start(backend)
    runner.submit(order, tiny_set())
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
    # A slow machine has more to say of a backend that runs: its device, its log.
    assert list(dict.fromkeys(report.phase for report in reports)) == [
        BackendPhase.STARTING,
        BackendPhase.RUNNING,
    ]
    assert reports[-1].engines[0].name == "preview"
    assert reports[-1].version == "1.2.3"


def test_the_panel_shows_free_memory_and_log_and_follows_both(start) -> None:
    service = FakeService(SUCCEEDED)
    now = DeviceInfo("GPU", "GPU memory", 100, 60)
    service.devices = [DeviceInfo(is_being_asked=True), now]
    backend = FakeBackend(service)
    runner = start(backend)
    runner.start_backend()
    reports: list[BackendReport] = []

    def look() -> BackendReport | None:
        reports.extend(item for item in runner.drain() if isinstance(item, BackendReport))
        return reports[-1] if reports else None

    wait_until(lambda: (report := look()) is not None and report.device == now)
    assert reports[-1].log == ("It listens.",)
    backend.log = ("It listens.", "It renders.")
    wait_until(lambda: (report := look()) is not None and report.log == backend.log)
    assert reports[-1].device == now
    service.devices = [DeviceInfo("GPU", "GPU memory", 100, 20)]
    runner.look_at_device()
    wait_until(lambda: (report := look()) is not None and report.device == service.devices[0])


def test_a_backend_whose_driver_is_slow_to_name_its_engines_is_waited_for(start) -> None:
    service = FakeService(SUCCEEDED)
    late = BackendError("It did not answer within 10 s.")
    late.__cause__ = TimeoutError()
    service.engine_errors = [late, late]
    runner = start(FakeBackend(service))
    runner.start_backend()
    wait_until(
        lambda: any(
            isinstance(item, BackendReport) and item.phase is BackendPhase.RUNNING for item in runner.wait(1)
        )
    )


def test_a_defect_of_ours_ends_its_job_and_not_the_thread_of_all_others(start, order: RenderOrder) -> None:
    service = FakeService(SUCCEEDED)
    service.before_upload = lambda: (_ for _ in ()).throw(ZeroDivisionError)
    runner = start(FakeBackend(service))
    runner.submit(order, tiny_set())
    last = until_finished(runner)[-1]
    assert (last.stage, last.code) == (JobStage.FAILED, ErrorCode.DEFECT)
    assert "ZeroDivisionError" in last.message
    service.before_upload = lambda: None
    runner.submit(replace(order, key="n" * 32, folder=order.folder.with_name("next")), tiny_set())
    assert until_finished(runner)[-1].stage is JobStage.DONE
    assert not runner.has_work


def test_a_defect_while_a_job_is_followed_does_not_end_the_thread_either(start, order: RenderOrder) -> None:
    service = FakeService(running(1))
    runner = start(FakeBackend(service))
    runner.submit(order, tiny_set())
    wait_until(lambda: bool(service.requests))
    good, failures = service.job, iter([ZeroDivisionError(), MemoryError()])

    def job(job_id: str) -> JobStatus:
        failure = next(failures, None)
        if failure is not None:
            raise failure
        return good(job_id)

    service.job, service.states = job, [SUCCEEDED]
    assert until_finished(runner)[-1].stage is JobStage.DONE


def test_a_job_does_not_hang_when_its_backend_dies_and_cannot_start_again(start, order: RenderOrder) -> None:
    service = FakeService(running(1))
    backend = FakeBackend(service)
    runner = start(backend)
    runner.submit(order, tiny_set())
    wait_until(lambda: bool(service.requests))
    backend.failure_now = FlexTrajError("It was killed.", ErrorCode.BACKEND)
    backend.connect_error = FlexTrajError("There is no Python.", ErrorCode.BACKEND)
    runner.submit(replace(order, key="n" * 32, folder=order.folder.with_name("next")), tiny_set())
    ended = {}

    def have_ended() -> bool:
        reports = (report for report in runner.drain() if isinstance(report, JobReport))
        ended.update({report.key: report.stage for report in reports if report.stage.is_finished})
        return len(ended) == 2

    wait_until(have_ended)
    assert ended == {order.key: JobStage.INTERRUPTED, "n" * 32: JobStage.FAILED}


def test_a_job_that_the_backend_has_forgotten_is_lost_and_says_so(start, order: RenderOrder) -> None:
    service = FakeService(running(1))
    runner = start(FakeBackend(service))
    runner.submit(order, tiny_set())
    wait_until(lambda: bool(service.requests))
    service.poll_errors = [UNKNOWN]
    last = until_finished(runner)[-1]
    assert last.stage is JobStage.LOST and last.stage.can_be_retried
    assert "does not know this job" in last.message


def test_asking_the_worker_never_blocks_blender_while_the_backend_is_slow(start, order: RenderOrder) -> None:
    blocked = threading.Event()
    service = FakeService(SUCCEEDED)

    def hang() -> None:
        blocked.wait(PATIENCE)

    service.before_upload = hang
    runner = start(FakeBackend(service))
    runner.submit(order, tiny_set())
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
    runner = JobRunner(backend, JobRecords(order.folder.parent / "jobs"), poll_seconds=0.01)
    runner.submit(order, tiny_set())
    runner.close(10.0)
    assert backend.stops >= 1
    assert not [thread for thread in threading.enumerate() if thread.name == "FlexTraj jobs"]


def test_closing_does_not_wait_for_a_backend_that_starts_for_ever(order: RenderOrder) -> None:
    backend = FakeBackend(FakeService(running(1)))
    backend.slow_start.clear()
    runner = JobRunner(backend, JobRecords(order.folder.parent / "jobs"), poll_seconds=0.01)
    runner.submit(order, tiny_set())
    wait_until(lambda: bool(backend.starts))
    runner.close(10.0)
    assert not [thread for thread in threading.enumerate() if thread.name == "FlexTraj jobs"]


def test_disabling_the_addon_does_not_wait_for_a_backend_that_ends_slowly(order: RenderOrder) -> None:
    backend = FakeBackend(FakeService(running(1)))
    may_end, has_ended = threading.Event(), threading.Event()

    def end_slowly() -> None:
        may_end.wait(PATIENCE)
        has_ended.set()

    backend.stop = end_slowly  # type: ignore[method-assign]
    runner = JobRunner(backend, JobRecords(order.folder.parent / "jobs"), poll_seconds=0.01)
    runner.start_backend()
    runner.close(0.01)
    assert not has_ended.is_set()
    may_end.set()
    assert has_ended.wait(PATIENCE), "the backend was forgotten"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (60, "1 min"), (125, "2 min 5 s"), (4200, "1 h 10 min")],
)
def test_the_time_left_is_readable(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_the_progress_row_names_phase_step_and_time_left(tmp_path: Path) -> None:
    report = JobReport(order_in(tmp_path), JobStage.RUNNING, "job1", "fitting", 12, 49, 8.2)
    assert progress_text(report) == "Fitting 12 / 49, 8 s left"
    assert progress_fraction(report) == pytest.approx(12 / 49)
    assert progress_text(replace(report, stage=JobStage.UPLOADING)) == "Sending photo and trajectories"
    assert progress_fraction(replace(report, stage=JobStage.DONE)) == 1.0
    assert progress_fraction(replace(report, stage=JobStage.FAILED)) == 0.0


def test_free_memory_is_readable() -> None:
    assert (
        memory_text(DeviceInfo("GPU", "GPU memory", 24 << 30, (201 << 30) // 10)) == "20.1 of 24.0 GiB free"
    )
    assert memory_text(DeviceInfo("GPU")) == ""


def test_jobs_of_one_subject_can_be_told_apart(tmp_path: Path) -> None:
    made = time.mktime((2026, 3, 4, 14, 5, 0, 0, 0, -1))
    report = JobReport(replace(order_in(tmp_path), created=made), JobStage.DONE)
    assert origin_text(report, now=made + 60) == "preview, seed 3, 14:05"
    yesterday = origin_text(report, "other.blend", now=made + 86_400)
    assert yesterday == "preview, seed 3, 2026-03-04 14:05, made in other.blend"
