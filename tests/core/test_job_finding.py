"""Jobs after Blender was closed or killed: which a user would lose, pay for twice or never see end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from job_fakes import (
    FILE,
    SUCCEEDED,
    UNKNOWN,
    FakeBackend,
    FakeService,
    die,
    found_by,
    order_in,
    running,
    tiny_set,
    until_finished,
    wait_until,
)

from blender_addon.client.job_reports import (
    BlendFile,
    JobReport,
    JobStage,
    RenderOrder,
    UnsavedReport,
)
from blender_addon.client.job_runner import JobRunner
from blender_addon.client.messages import JobState, JobStatus
from blender_addon.core.errors import ErrorCode, FlexTrajError

Start = Callable[[FakeBackend], JobRunner]
OTHER_FILE = BlendFile("/shots/other.blend", frozenset({"f2"}))


def run_until(start: Start, order: RenderOrder, stage: JobStage, service: FakeService) -> None:
    """A Blender that dies while its job is in this stage."""
    runner = start(FakeBackend(service))
    runner.submit(order, tiny_set())
    seen: list[JobStage] = []

    def look() -> bool:
        seen.extend(report.stage for report in runner.drain() if isinstance(report, JobReport))
        return stage in seen

    wait_until(look)
    die(runner)


# What is found


def test_a_finished_job_is_in_the_list_of_its_file_and_of_no_other(start: Start, order: RenderOrder) -> None:
    runner = start(FakeBackend(FakeService(SUCCEEDED)))
    runner.submit(order, tiny_set())
    before = until_finished(runner)[-1]
    die(runner)
    backend = FakeBackend(FakeService())
    assert found_by(start(backend)) == {order.key: before}
    assert found_by(start(backend), OTHER_FILE) == {}
    # Nothing has to be asked, so no backend is started for a file that is only looked at.
    assert backend.starts == 0


@pytest.mark.parametrize(
    "file",
    [
        BlendFile("/shots/renamed.blend", FILE.ids),
        BlendFile(FILE.path, frozenset({"saved before the first job"})),
        BlendFile("", FILE.ids | {"a second scene"}),
    ],
)
def test_a_file_finds_its_jobs_by_its_identity_or_its_path(
    start: Start, order: RenderOrder, file: BlendFile
) -> None:
    run_until(start, order, JobStage.DONE, FakeService(SUCCEEDED))
    assert list(found_by(start(FakeBackend(FakeService())), file)) == [order.key]


def test_jobs_come_in_the_order_in_which_they_were_made(start: Start, tmp_path: Path) -> None:
    for number in (3, 1, 2):
        made = order_in(tmp_path, f"key{number}", created=number)
        run_until(start, made, JobStage.DONE, FakeService(SUCCEEDED))
    assert list(found_by(start(FakeBackend(FakeService())))) == ["key1", "key2", "key3"]


def test_a_failed_job_keeps_its_sentence_and_its_kind(start: Start, order: RenderOrder) -> None:
    failed = JobStatus("job1", JobState.FAILED, "preview", error="No room.", error_code=ErrorCode.GPU_MEMORY)
    run_until(start, order, JobStage.FAILED, FakeService(failed))
    found = found_by(start(FakeBackend(FakeService())))[order.key]
    assert (found.stage, found.message, found.code) == (JobStage.FAILED, "No room.", ErrorCode.GPU_MEMORY)


def test_a_cancelled_job_does_not_come_back(start: Start, order: RenderOrder) -> None:
    service = FakeService(running(1))
    runner = start(FakeBackend(service))
    runner.submit(order, tiny_set())
    wait_until(lambda: bool(service.requests))
    runner.cancel(order.key)
    until_finished(runner)
    assert found_by(start(FakeBackend(FakeService()))) == {}


def test_a_job_taken_off_the_list_stays_off_and_keeps_its_files(start: Start, order: RenderOrder) -> None:
    runner = start(FakeBackend(FakeService(SUCCEEDED)))
    runner.submit(order, tiny_set())
    video = until_finished(runner)[-1].video
    runner.forget(order.key)
    wait_until(lambda: not runner.has_work)
    assert found_by(start(FakeBackend(FakeService()))) == {}
    assert video is not None and video.is_file()


# What is picked up


def test_a_job_that_still_runs_is_picked_up_and_its_video_fetched(start: Start, order: RenderOrder) -> None:
    run_until(start, order, JobStage.RUNNING, FakeService(running(1)))
    service = FakeService(running(2), SUCCEEDED)
    found = found_by(start(FakeBackend(service)))[order.key]
    assert (found.stage, found.label) == (JobStage.DONE, "motion draft")
    assert found.video is not None and found.video.is_file()
    assert not service.requests and not service.uploads


def test_a_job_that_ended_while_blender_was_closed_is_fetched(start: Start, order: RenderOrder) -> None:
    run_until(start, order, JobStage.QUEUED, FakeService(JobStatus("job1", JobState.QUEUED, "preview")))
    assert found_by(start(FakeBackend(FakeService(SUCCEEDED))))[order.key].stage is JobStage.DONE


def test_a_job_that_the_end_of_blender_interrupted_is_rendered_again_by_retry_without_sending_it_again(
    start: Start, order: RenderOrder
) -> None:
    run_until(start, order, JobStage.RUNNING, FakeService(running(1)))
    interrupted = JobStatus("job1", JobState.INTERRUPTED, "preview", error="The backend stopped: retry it.")
    service = FakeService(interrupted)
    runner = start(FakeBackend(service))
    found = found_by(runner)[order.key]
    assert (found.stage, found.message) == (JobStage.INTERRUPTED, "The backend stopped: retry it.")
    runner.retry(order.key)
    assert until_finished(runner)[-1].stage is JobStage.DONE
    assert service.retried == ["job1"]
    assert not service.uploads


def test_a_job_that_the_backend_does_not_know_any_more_is_lost_and_retry_sends_it_again(
    start: Start, order: RenderOrder
) -> None:
    run_until(start, order, JobStage.RUNNING, FakeService(running(1)))
    service = FakeService(SUCCEEDED)
    service.poll_errors = [UNKNOWN, UNKNOWN]
    runner = start(FakeBackend(service))
    found = found_by(runner)[order.key]
    assert found.stage is JobStage.LOST
    assert "does not know this job any more: retry it" in found.message
    runner.retry(order.key)
    assert until_finished(runner)[-1].stage is JobStage.DONE
    assert [request.seed for request in service.requests] == [3]
    assert service.uploads[1] == b"photo"


def test_a_job_whose_upload_blender_did_not_survive_is_sent_by_retry_and_not_rendered_twice(
    start: Start, order: RenderOrder
) -> None:
    dying = FakeService()
    runner = start(FakeBackend(dying))
    dying.before_upload = runner._closing.set
    runner.submit(order, tiny_set())
    wait_until(lambda: runner._thread is not None and not runner._thread.is_alive())
    service = FakeService(SUCCEEDED)
    # The backend got the job all the same, and it failed since.
    service.submitted = JobStatus("job1", JobState.INTERRUPTED, "preview")
    runner = start(FakeBackend(service))
    found = found_by(runner)[order.key]
    assert (found.stage, found.job_id) == (JobStage.INTERRUPTED, "")
    assert "closed before this job was sent" in found.message
    runner.retry(order.key)
    assert until_finished(runner)[-1].stage is JobStage.DONE
    assert service.keys == [order.key]
    assert service.retried == ["job1"]


def test_a_job_that_was_told_to_stop_before_blender_died_is_not_continued(
    start: Start, order: RenderOrder
) -> None:
    service = FakeService(running(1))
    service.cancel_errors = [FlexTrajError("late", ErrorCode.BACKEND)] * 3
    runner = start(FakeBackend(service))
    runner.submit(order, tiny_set())
    wait_until(lambda: bool(service.requests))
    runner.cancel(order.key)
    wait_until(lambda: len(service.cancel_errors) < 3)
    die(runner)
    service = FakeService(running(1))
    assert found_by(start(FakeBackend(service)))[order.key].stage is JobStage.CANCELLED
    assert service.cancelled == ["job1"]


def test_a_backend_that_cannot_be_started_is_asked_once_for_all_jobs_and_again_the_next_day(
    start: Start, tmp_path: Path
) -> None:
    for number in range(3):
        run_until(start, order_in(tmp_path, f"key{number}"), JobStage.RUNNING, FakeService(running(1)))
    backend = FakeBackend(FakeService())
    backend.connect_error = FlexTrajError("Not installed: run it.", ErrorCode.BACKEND_MISSING)
    found = found_by(start(backend))
    assert {(job.stage, job.message, job.code) for job in found.values()} == {
        (JobStage.INTERRUPTED, "Not installed: run it.", ErrorCode.BACKEND_MISSING)
    }
    assert backend.starts == 1
    found = found_by(start(FakeBackend(FakeService(SUCCEEDED))))
    assert {job.stage for job in found.values()} == {JobStage.DONE}


def test_the_same_file_opened_again_does_not_disturb_a_job_that_runs(
    start: Start, order: RenderOrder
) -> None:
    service = FakeService(running(1))
    runner = start(FakeBackend(service))
    runner.submit(order, tiny_set())
    wait_until(lambda: bool(service.requests))
    runner.find(FILE)
    service.states = [SUCCEEDED]
    assert until_finished(runner)[-1].stage is JobStage.DONE
    assert len(service.requests) == 1


def test_a_defect_while_jobs_are_picked_up_leaves_none_waiting_for_ever(
    start: Start, order: RenderOrder
) -> None:
    run_until(start, order, JobStage.RUNNING, FakeService(running(1)))
    service = FakeService(SUCCEEDED)
    service.poll_errors = [ZeroDivisionError()]  # type: ignore[list-item]
    runner = start(FakeBackend(service))
    found = found_by(runner)[order.key]
    assert (found.stage, found.code) == (JobStage.INTERRUPTED, ErrorCode.DEFECT)
    runner.retry(order.key)
    assert until_finished(runner)[-1].stage is JobStage.DONE


# Files that are gone


def test_a_finished_job_whose_video_was_deleted_is_lost_and_retry_fetches_it(
    start: Start, order: RenderOrder
) -> None:
    run_until(start, order, JobStage.DONE, FakeService(SUCCEEDED))
    video = order.folder / "video.mp4"
    video.unlink()
    service = FakeService(SUCCEEDED)
    runner = start(FakeBackend(service))
    found = found_by(runner)[order.key]
    assert (found.stage, found.code) == (JobStage.LOST, ErrorCode.VIDEO)
    assert video.parent.name in found.message
    runner.retry(order.key)
    assert until_finished(runner)[-1].stage is JobStage.DONE
    assert video.is_file()
    assert not service.requests and not service.retried


@pytest.mark.parametrize(
    ("gone", "words", "code"),
    [
        ("trajectories.npz", "trajectories are not in .* press Generate", ErrorCode.DISK),
        ("photo", "The photo .* is not there any more", ErrorCode.NO_PHOTO),
    ],
)
def test_a_lost_job_whose_inputs_are_gone_says_which(
    start: Start, order: RenderOrder, gone: str, words: str, code: ErrorCode
) -> None:
    run_until(start, order, JobStage.RUNNING, FakeService(running(1)))
    (order.photo if gone == "photo" else order.folder / gone).unlink()
    service = FakeService(SUCCEEDED)
    service.poll_errors = [UNKNOWN, UNKNOWN]
    runner = start(FakeBackend(service))
    found_by(runner)
    runner.retry(order.key)
    last = until_finished(runner)[-1]
    assert (last.stage, last.code) == (JobStage.FAILED, code)
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(last.message)


def test_what_the_user_put_into_a_jobs_folder_survives_its_cancel(start: Start, order: RenderOrder) -> None:
    service = FakeService(running(1))
    runner = start(FakeBackend(service))
    runner.submit(order, tiny_set())
    wait_until(lambda: bool(service.requests))
    (order.folder / "notes.txt").write_text("mine")
    runner.cancel(order.key)
    until_finished(runner)
    assert [path.name for path in order.folder.iterdir()] == ["notes.txt"]


# Files that were never saved


def test_jobs_of_a_file_that_was_never_saved_are_counted_and_taken_over_on_request(
    start: Start, tmp_path: Path
) -> None:
    unsaved = order_in(tmp_path, "unsaved", file=BlendFile("", frozenset({"gone"})))
    run_until(start, unsaved, JobStage.RUNNING, FakeService(running(1)))
    runner = start(FakeBackend(FakeService(SUCCEEDED)))
    runner.find(FILE)
    wait_until(lambda: not runner._commands.unfinished_tasks)
    assert runner.drain() == [UnsavedReport(1)]
    runner.adopt_unsaved(FILE)
    last = until_finished(runner)[-1]
    assert (last.stage, last.order.file) == (JobStage.DONE, FILE)
    die(runner)
    assert list(found_by(start(FakeBackend(FakeService())))) == ["unsaved"]


def test_a_recovered_file_finds_its_jobs_without_being_asked(start: Start, tmp_path: Path) -> None:
    unsaved = BlendFile("", frozenset({"kept in the recovered file"}))
    run_until(start, order_in(tmp_path, file=unsaved), JobStage.DONE, FakeService(SUCCEEDED))
    runner = start(FakeBackend(FakeService()))
    runner.find(unsaved)
    wait_until(lambda: not runner._commands.unfinished_tasks)
    reports = runner.drain()
    assert UnsavedReport(0) in reports
    assert [report.stage for report in reports if isinstance(report, JobReport)] == [JobStage.DONE]


def test_saving_under_a_new_name_takes_finished_and_running_jobs_along(start: Start, tmp_path: Path) -> None:
    before, after = BlendFile("", frozenset({"a"})), BlendFile("/shots/saved.blend", frozenset({"a"}))
    service = FakeService(SUCCEEDED)
    runner = start(FakeBackend(service))
    runner.submit(order_in(tmp_path, "done", file=before), tiny_set())
    until_finished(runner)
    service.states = [running(1)]
    runner.submit(order_in(tmp_path, "runs", file=before), tiny_set())
    wait_until(lambda: len(service.requests) == 2)
    runner.move(frozenset({"done", "runs"}), after)
    service.states = [SUCCEEDED]
    wait_until(lambda: not runner._jobs.unfinished)
    die(runner)
    by_path = BlendFile(after.path, frozenset({"the identity was not saved"}))
    assert set(found_by(start(FakeBackend(FakeService())), by_path)) == {"done", "runs"}
