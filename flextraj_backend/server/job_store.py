"""The jobs, in SQLite (write-ahead log): they survive a crash of the server.

Several servers (two Blender windows) may share one store. Each job belongs to the server that took it in;
when it is gone, the next to start adopts its queued jobs and marks its running ones as interrupted.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil

from blender_addon.client.messages import JobState, JobStatus, ResultKind
from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.request import RenderRequest
from flextraj_backend.server.job_table import (
    JobStoreError,
    job_with_key,
    prepare,
    requeue,
    row_of,
    status_of,
    write_end,
)

INTERRUPTED = FlexTrajError("The backend stopped while this job ran: retry it.", ErrorCode.BACKEND)
_BUSY_SECONDS = 10.0
_RETRIABLE = (JobState.INTERRUPTED, JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True)
class Owner:
    """A server process; the start time tells it from a later process with the same number."""

    pid: int
    started: float

    @classmethod
    def this_process(cls) -> Owner:
        return cls.of(psutil.Process())

    @classmethod
    def of(cls, process: psutil.Process) -> Owner:
        """A running process. Raises psutil.NoSuchProcess where it is gone."""
        return cls(process.pid, _started(process))

    @classmethod
    def from_text(cls, text: str) -> Owner:
        pid, started = text.split(":")
        return cls(int(pid), float(started))

    def __str__(self) -> str:
        return f"{self.pid}:{self.started!r}"

    def is_alive(self) -> bool:
        try:
            process = psutil.Process(self.pid)
            return _started(process) == self.started and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True


def _started(process: psutil.Process) -> float:
    """When a process started, on Linux in ticks since the boot, which no setting of the clock changes."""
    try:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        return float(fields[19])
    except (OSError, IndexError, ValueError):
        return process.create_time()


class JobStore:
    """All jobs of a data folder. Safe to share between threads.

    Args:
        path: the database file.
        owner: the server that works with it.

    Raises:
        JobStoreError: the file is damaged, of another version, or cannot be written.
    """

    def __init__(self, path: Path, owner: Owner) -> None:
        self._path, self._owner = path, str(owner)
        self._lock = threading.Lock()
        with self._sentences():
            self._database = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._database.row_factory = sqlite3.Row
            try:
                prepare(self._database, path)
            except BaseException:
                self._database.close()
                raise

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._database.close()

    def find(self, request: RenderRequest, idempotency_key: str) -> JobStatus | None:
        """The job that was queued with this key, None where there is none. Raises KeyReused."""
        with self._reading() as database:
            return job_with_key(database, request, idempotency_key)

    def add(self, job_id: str, request: RenderRequest, idempotency_key: str | None) -> JobStatus:
        """Queue a job; with a known key, return the job that has it. Raises KeyReused."""
        with self._transaction() as database:
            if idempotency_key is not None:
                known = job_with_key(database, request, idempotency_key)
                if known is not None:
                    return known
            database.execute(
                "INSERT INTO jobs (id, idempotency_key, owner, request, engine, title, state, created)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    job_id,
                    idempotency_key,
                    self._owner,
                    request.to_json(),
                    request.engine,
                    request.title,
                    JobState.QUEUED,
                    time.time(),
                ),
            )
            return status_of(row_of(database, job_id))

    def get(self, job_id: str) -> JobStatus:
        """One job. Raises UnknownJob."""
        with self._reading() as database:
            return status_of(row_of(database, job_id))

    def list(self, limit: int = 1000) -> tuple[JobStatus, ...]:
        """The newest jobs, newest first."""
        with self._reading() as database:
            rows = database.execute("SELECT * FROM jobs ORDER BY sequence DESC LIMIT ?", (limit,)).fetchall()
            return tuple(map(status_of, rows))

    def claim_next(self) -> str | None:
        """Take this server's oldest queued job; it is running from now on. None where there is none.

        Its request is not read here: one that a later program does not understand fails in its own worker.
        """
        with self._transaction() as database:
            row = database.execute(
                "SELECT id FROM jobs WHERE state = ? AND owner = ? ORDER BY sequence LIMIT 1",
                (JobState.QUEUED, self._owner),
            ).fetchone()
            if row is None:
                return None
            database.execute("UPDATE jobs SET state = ? WHERE id = ?", (JobState.RUNNING, row["id"]))
            return row["id"]

    def record_progress(
        self, job_id: str, phase: str, step: int, steps: int, eta_seconds: float | None
    ) -> None:
        """Note where a running job stands."""
        with self._transaction() as database:
            database.execute(
                "UPDATE jobs SET phase = ?, step = ?, steps = ?, eta_seconds = ? WHERE id = ?",
                (phase, step, steps, eta_seconds, job_id),
            )

    def request_cancel(self, job_id: str) -> JobStatus:
        """Cancel a queued job, ask a running one to stop; a finished one stays. Raises UnknownJob."""
        with self._transaction() as database:
            self._end_if_left_behind(database, job_id)
            state = JobState(row_of(database, job_id)["state"])
            if state is JobState.QUEUED:
                write_end(database, job_id, JobState.CANCELLED)
            elif state is JobState.RUNNING:
                database.execute(
                    "UPDATE jobs SET state = ?, eta_seconds = NULL WHERE id = ?",
                    (JobState.CANCELLING, job_id),
                )
            return status_of(row_of(database, job_id))

    def is_cancelling(self, job_id: str) -> bool:
        """Whether somebody asked this running job to stop."""
        with self._reading() as database:
            return row_of(database, job_id)["state"] == JobState.CANCELLING

    def finish(
        self,
        job_id: str,
        state: JobState,
        error: FlexTrajError | None = None,
        label: str = "",
        warnings: Sequence[str] = (),
        results: Sequence[ResultKind] = (),
    ) -> JobStatus:
        """Note how a job ended; one that the user cancelled is cancelled, even where its end was faster."""
        with self._transaction() as database:
            if row_of(database, job_id)["state"] == JobState.CANCELLING:
                state, error, label, warnings, results = JobState.CANCELLED, None, "", (), ()
            write_end(database, job_id, state, error, label, warnings, results)
            return status_of(row_of(database, job_id))

    def retry(self, job_id: str) -> JobStatus:
        """Queue an interrupted, failed or cancelled job again, as this server's. Raises JobStoreError."""
        with self._transaction() as database:
            self._end_if_left_behind(database, job_id)
            state = JobState(row_of(database, job_id)["state"])
            if state not in _RETRIABLE:
                raise JobStoreError(f"The job is {state}: only a job that did not succeed can be retried.")
            requeue(database, job_id, self._owner)
            return status_of(row_of(database, job_id))

    def finished(self) -> dict[str, float]:
        """Jobs that have ended, and when (Unix time in seconds)."""
        with self._reading() as database:
            rows = database.execute("SELECT id, finished FROM jobs WHERE finished IS NOT NULL").fetchall()
            return {row["id"]: row["finished"] for row in rows}

    def unfinished(self) -> dict[str, frozenset[str]]:
        """Jobs that are queued or run, of every server, and the SHA-256 of their assets."""
        with self._reading() as database:
            rows = database.execute("SELECT id, request FROM jobs WHERE finished IS NULL").fetchall()
            return {row["id"]: _assets(json.loads(row["request"])) for row in rows}

    def forget(self, job_id: str) -> bool:
        """Take a job that has ended off the list; return False where it is gone or has been queued again."""
        with self._transaction() as database:
            taken = database.execute("DELETE FROM jobs WHERE id = ? AND finished IS NOT NULL", (job_id,))
            return taken.rowcount == 1

    def recover(self) -> None:
        """At a start: adopt the queued jobs of servers that are gone, mark their running ones interrupted."""
        with self._transaction() as database:
            rows = database.execute(
                "SELECT id, owner, state FROM jobs WHERE state IN (?, ?, ?) ORDER BY sequence",
                (JobState.QUEUED, JobState.RUNNING, JobState.CANCELLING),
            ).fetchall()
            for row in rows:
                if not self._is_left_behind(row):
                    continue
                if row["state"] == JobState.QUEUED:
                    requeue(database, row["id"], self._owner)
                else:
                    self._end_if_left_behind(database, row["id"])

    def _is_left_behind(self, row: sqlite3.Row) -> bool:
        """Whether a job belongs to a server that is gone."""
        return row["owner"] != self._owner and not Owner.from_text(row["owner"]).is_alive()

    def _end_if_left_behind(self, database: sqlite3.Connection, job_id: str) -> None:
        """Nobody works on the running job of a server that is gone, and nobody else would end it."""
        row = row_of(database, job_id)
        if row["state"] not in (JobState.RUNNING, JobState.CANCELLING) or not self._is_left_behind(row):
            return
        if row["state"] == JobState.CANCELLING:
            write_end(database, job_id, JobState.CANCELLED)
        else:
            write_end(database, job_id, JobState.INTERRUPTED, INTERRUPTED)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._sentences():
            yield self._database

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._sentences():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise JobStoreError(
                f"The job list {self._path} cannot be written ({error}): "
                "check that its folder is writable and has free space.",
                ErrorCode.DISK,
            ) from error
        except sqlite3.DatabaseError as error:
            raise JobStoreError(
                f"The job list {self._path} is damaged ({error}): move it away and start again, "
                "the job folders beside it stay readable.",
                ErrorCode.BACKEND,
            ) from error


def new_job_id() -> str:
    """A name that sorts by time and cannot be guessed, such as '20260131-174502-3f9c0a1b2d4e'."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{uuid4().hex[:12]}"


def _assets(request: dict[str, Any]) -> frozenset[str]:
    return frozenset(sha for name in ("trajectories", "image", "mask") if (sha := request.get(name)))
