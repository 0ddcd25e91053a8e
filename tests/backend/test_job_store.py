"""The job list: which jobs a user would lose after a crash, a second Blender or a damaged file."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from blender_addon.client.messages import JobState, ResultKind
from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.request import RenderRequest
from flextraj_backend.server.eta import EtaEstimator
from flextraj_backend.server.job_store import JobStore, Owner, new_job_id
from flextraj_backend.server.job_table import JobStoreError, KeyReused, UnknownJob

REQUEST = RenderRequest("a" * 64, "b" * 64, title="Dance")
DEAD = Owner(2**22 + 1, 1.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[JobStore]:
    opened = JobStore(path, Owner.this_process())
    yield opened
    opened.close()


def test_jobs_run_in_the_order_in_which_they_came(store: JobStore) -> None:
    for name in ("first", "second"):
        assert store.add(name, REQUEST, None).state is JobState.QUEUED
    assert store.claim_next() == "first"
    assert store.claim_next() == "second"
    assert store.claim_next() is None
    assert [job.id for job in store.list()] == ["second", "first"]


def test_two_runners_never_get_the_same_job(store: JobStore) -> None:
    for number in range(20):
        store.add(str(number), REQUEST, None)
    claimed: list[str] = []

    def claim() -> None:
        while (job := store.claim_next()) is not None:
            claimed.append(job)

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed, key=int) == [str(number) for number in range(20)]


def test_a_key_finds_its_job_again_and_refuses_another_request(store: JobStore) -> None:
    assert store.find(REQUEST, "key") is None
    first = store.add("first", REQUEST, "key")
    assert store.add("second", REQUEST, "key") == first
    assert store.find(REQUEST, "key") == first
    with pytest.raises(KeyReused):
        store.add("third", RenderRequest("a" * 64, "c" * 64), "key")
    assert len(store.list()) == 1


def test_what_a_job_made_and_said_is_kept(store: JobStore) -> None:
    store.add("job", REQUEST, None)
    store.claim_next()
    store.record_progress("job", "rendering", 3, 9, 12.5)
    running = store.get("job")
    assert (running.phase, running.step, running.steps, running.eta_seconds) == ("rendering", 3, 9, 12.5)
    store.finish("job", JobState.SUCCEEDED, None, "draft", ["Beware."], [ResultKind.VIDEO])
    done = store.get("job")
    assert (done.label, done.warnings, done.results) == ("draft", ("Beware.",), (ResultKind.VIDEO,))
    assert done.fraction == 1.0 and done.eta_seconds is None and done.finished is not None


def test_why_a_job_failed_is_kept_until_it_is_retried(store: JobStore) -> None:
    store.add("job", REQUEST, None)
    store.claim_next()
    store.finish("job", JobState.FAILED, FlexTrajError("No room: use less.", ErrorCode.GPU_MEMORY))
    failed = store.get("job")
    assert (failed.error, failed.error_code) == ("No room: use less.", ErrorCode.GPU_MEMORY)
    store.retry("job")
    assert (store.get("job").error, store.get("job").error_code) == (None, None)


def test_a_job_list_of_the_first_release_opens_and_that_release_can_still_read_it(path: Path) -> None:
    JobStore(path, DEAD).close()
    with sqlite3.connect(path) as database:
        database.execute("ALTER TABLE jobs DROP COLUMN error_code")
        database.execute(
            "INSERT INTO jobs (id, owner, request, engine, title, state, created)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            ("old", str(DEAD), REQUEST.to_json(), "preview", "Dance", JobState.QUEUED, 1.0),
        )
    database.close()
    opened = JobStore(path, Owner.this_process())
    assert opened.get("old").error_code is None
    opened.close()
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (1,)
    database.close()


def test_a_cancel_wins_over_an_end_that_came_at_the_same_moment(store: JobStore) -> None:
    store.add("job", REQUEST, None)
    store.claim_next()
    assert store.request_cancel("job").state is JobState.CANCELLING
    assert store.is_cancelling("job")
    ended = store.finish("job", JobState.SUCCEEDED, None, "draft", [], [ResultKind.VIDEO])
    assert (ended.state, ended.results) == (JobState.CANCELLED, ())
    assert store.request_cancel("job").state is JobState.CANCELLED


def test_a_cancelled_job_in_the_queue_never_runs(store: JobStore) -> None:
    store.add("job", REQUEST, None)
    assert store.request_cancel("job").state is JobState.CANCELLED
    assert store.claim_next() is None


def test_after_a_crash_nothing_is_lost_and_nothing_pretends_to_run(path: Path, store: JobStore) -> None:
    crashed = JobStore(path, DEAD)
    for name in ("running", "cancelling", "queued"):
        crashed.add(name, REQUEST, None)
    crashed.claim_next()
    crashed.claim_next()
    crashed.request_cancel("cancelling")
    crashed.close()
    assert store.claim_next() is None
    store.recover()
    interrupted = store.get("running")
    assert interrupted.state is JobState.INTERRUPTED
    assert interrupted.error is not None and "retry" in interrupted.error
    assert store.get("cancelling").state is JobState.CANCELLED
    assert store.claim_next() == "queued"
    assert store.retry("running").state is JobState.QUEUED
    assert store.get("running").error is None


def test_a_job_of_a_backend_that_was_killed_can_be_cancelled_and_retried_by_another(
    path: Path, store: JobStore
) -> None:
    killed = JobStore(path, DEAD)
    for name in ("first", "second"):
        killed.add(name, REQUEST, None)
        killed.claim_next()
    killed.close()
    assert store.request_cancel("first").state is JobState.INTERRUPTED
    assert store.retry("second").state is JobState.QUEUED
    assert store.claim_next() == "second"


def test_jobs_of_another_living_backend_are_left_alone(path: Path, store: JobStore) -> None:
    parent = psutil.Process(os.getppid())
    other = JobStore(path, Owner.of(parent))
    other.add("running", REQUEST, None)
    other.claim_next()
    other.add("queued", REQUEST, None)
    store.recover()
    assert store.get("running").state is JobState.RUNNING
    assert store.claim_next() is None
    assert other.claim_next() == "queued"
    other.close()


def test_a_process_number_that_was_given_again_is_not_taken_for_the_old_backend() -> None:
    mine = Owner.this_process()
    assert mine.is_alive()
    assert Owner.from_text(str(mine)) == mine
    assert not Owner(mine.pid, mine.started - 100).is_alive()
    assert not DEAD.is_alive()


@pytest.mark.parametrize("state", [JobState.SUCCEEDED])
def test_a_job_that_succeeded_is_not_rendered_again(store: JobStore, state: JobState) -> None:
    store.add("job", REQUEST, None)
    with pytest.raises(JobStoreError, match="queued"):
        store.retry("job")
    store.claim_next()
    store.finish("job", state)
    with pytest.raises(JobStoreError, match="did not succeed"):
        store.retry("job")


def test_an_unknown_job_is_a_sentence(store: JobStore) -> None:
    for call in (store.get, store.request_cancel, store.retry, store.is_cancelling):
        with pytest.raises(UnknownJob, match="no job 'x'"):
            call("x")


def test_a_damaged_job_list_is_named_and_not_overwritten(path: Path) -> None:
    path.write_bytes(b"this is not a database" * 100)
    with pytest.raises(JobStoreError, match="move it away"):
        JobStore(path, Owner.this_process())
    assert path.read_bytes().startswith(b"this is not a database")


def test_a_job_list_of_a_newer_program_is_left_untouched(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(JobStoreError, match="another version") as caught:
        JobStore(path, Owner.this_process())
    assert caught.value.code is ErrorCode.BACKEND_VERSION


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(FlexTrajError, match="cannot be written"):
        JobStore(tmp_path / "missing" / "jobs.sqlite", Owner.this_process())


def test_job_names_are_unique_and_safe_as_folder_names() -> None:
    names = {new_job_id() for _ in range(1000)}
    assert len(names) == 1000
    assert all(name.replace("-", "").isalnum() for name in names)


def test_the_time_left_follows_the_real_pace_once_it_is_known() -> None:
    now = 0.0
    eta = EtaEstimator(lambda: now)
    assert eta.advance("fitting", 0, 1) is None
    eta.expect(100.0)
    now = 10.0
    assert eta.advance("fitting", 0, 1) == 90.0
    assert eta.advance("rendering", 0, 10) == 90.0
    now = 20.0
    assert eta.advance("rendering", 5, 10) == 10.0
    now = 300.0
    assert eta.advance("encoding", 0, 0) == 0.0
