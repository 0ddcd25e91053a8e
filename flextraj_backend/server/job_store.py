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
from uuid import uuid4

import psutil

from blender_addon.client.messages import JobState, JobStatus, ResultKind
from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.request import RenderRequest

SCHEMA_VERSION = 1
INTERRUPTED = FlexTrajError("The backend stopped while this job ran: retry it.", ErrorCode.BACKEND)
_BUSY_SECONDS = 10.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    idempotency_key TEXT UNIQUE,
    owner TEXT NOT NULL,
    request TEXT NOT NULL,
    engine TEXT NOT NULL,
    title TEXT NOT NULL,
    state TEXT NOT NULL,
    phase TEXT NOT NULL DEFAULT '',
    step INTEGER NOT NULL DEFAULT 0,
    steps INTEGER NOT NULL DEFAULT 1,
    eta_seconds REAL,
    created REAL NOT NULL,
    finished REAL,
    error TEXT,
    error_code TEXT,
    label TEXT NOT NULL DEFAULT '',
    warnings TEXT NOT NULL DEFAULT '[]',
    results TEXT NOT NULL DEFAULT '[]'
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, sequence);
"""
_LATER_COLUMNS = {"error_code": "TEXT"}
"""Added to a list of an earlier program, which goes on without them: no reason for another schema version."""
_RETRIABLE = (JobState.INTERRUPTED, JobState.FAILED, JobState.CANCELLED)


class JobStoreError(FlexTrajError):
    """A job cannot be stored or is not there."""

    def __init__(self, message: str, code: ErrorCode = ErrorCode.REQUEST) -> None:
        super().__init__(message, code)


class UnknownJob(JobStoreError):
    """No job has this name."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"There is no job '{job_id[:80]}': pick one from the list of jobs.")


class KeyReused(JobStoreError):
    """An idempotency key came back with another request."""

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key belongs to another request: make a new key for each job.")


@dataclass(frozen=True)
class Owner:
    """A server process; the start time tells it from a later process with the same number."""

    pid: int
    started: float

    @classmethod
    def this_process(cls) -> Owner:
        process = psutil.Process()
        return cls(process.pid, process.create_time())

    @classmethod
    def from_text(cls, text: str) -> Owner:
        pid, started = text.split(":")
        return cls(int(pid), float(started))

    def __str__(self) -> str:
        return f"{self.pid}:{self.started!r}"

    def is_alive(self) -> bool:
        try:
            process = psutil.Process(self.pid)
            return process.create_time() == self.started and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True


@dataclass(frozen=True)
class ClaimedJob:
    """A job that this server now runs."""

    id: str
    request: RenderRequest


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
                self._prepare()
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
            return _with_key(database, request, idempotency_key)

    def add(self, job_id: str, request: RenderRequest, idempotency_key: str | None) -> JobStatus:
        """Queue a job; with a known key, return the job that has it. Raises KeyReused."""
        with self._transaction() as database:
            if idempotency_key is not None:
                known = _with_key(database, request, idempotency_key)
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
            return _status(_row(database, job_id))

    def get(self, job_id: str) -> JobStatus:
        """One job. Raises UnknownJob."""
        with self._reading() as database:
            return _status(_row(database, job_id))

    def list(self, limit: int = 1000) -> tuple[JobStatus, ...]:
        """The newest jobs, newest first."""
        with self._reading() as database:
            rows = database.execute("SELECT * FROM jobs ORDER BY sequence DESC LIMIT ?", (limit,)).fetchall()
            return tuple(map(_status, rows))

    def claim_next(self) -> ClaimedJob | None:
        """Take this server's oldest queued job; it is running from now on. None where there is none."""
        with self._transaction() as database:
            row = database.execute(
                "SELECT id, request FROM jobs WHERE state = ? AND owner = ? ORDER BY sequence LIMIT 1",
                (JobState.QUEUED, self._owner),
            ).fetchone()
            if row is None:
                return None
            database.execute("UPDATE jobs SET state = ? WHERE id = ?", (JobState.RUNNING, row["id"]))
            return ClaimedJob(row["id"], RenderRequest.from_json(row["request"]))

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
            state = JobState(_row(database, job_id)["state"])
            if state is JobState.QUEUED:
                _finish(database, job_id, JobState.CANCELLED)
            elif state is JobState.RUNNING:
                database.execute(
                    "UPDATE jobs SET state = ?, eta_seconds = NULL WHERE id = ?",
                    (JobState.CANCELLING, job_id),
                )
            return _status(_row(database, job_id))

    def is_cancelling(self, job_id: str) -> bool:
        """Whether somebody asked this running job to stop."""
        with self._reading() as database:
            return _row(database, job_id)["state"] == JobState.CANCELLING

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
            if _row(database, job_id)["state"] == JobState.CANCELLING:
                state, error, label, warnings, results = JobState.CANCELLED, None, "", (), ()
            _finish(database, job_id, state, error, label, warnings, results)
            return _status(_row(database, job_id))

    def retry(self, job_id: str) -> JobStatus:
        """Queue an interrupted, failed or cancelled job again, as this server's. Raises JobStoreError."""
        with self._transaction() as database:
            state = JobState(_row(database, job_id)["state"])
            if state not in _RETRIABLE:
                raise JobStoreError(f"The job is {state}: only a job that did not succeed can be retried.")
            self._requeue(database, job_id)
            return _status(_row(database, job_id))

    def recover(self) -> None:
        """At a start: adopt the queued jobs of servers that are gone, mark their running ones interrupted."""
        with self._transaction() as database:
            rows = database.execute(
                "SELECT id, owner, state FROM jobs WHERE state IN (?, ?, ?) ORDER BY sequence",
                (JobState.QUEUED, JobState.RUNNING, JobState.CANCELLING),
            ).fetchall()
            for row in rows:
                if row["owner"] == self._owner or Owner.from_text(row["owner"]).is_alive():
                    continue
                if row["state"] == JobState.QUEUED:
                    self._requeue(database, row["id"])
                elif row["state"] == JobState.CANCELLING:
                    _finish(database, row["id"], JobState.CANCELLED)
                else:
                    _finish(database, row["id"], JobState.INTERRUPTED, INTERRUPTED)

    def _requeue(self, database: sqlite3.Connection, job_id: str) -> None:
        database.execute(
            "UPDATE jobs SET state = ?, owner = ?, phase = '', step = 0, steps = 1, eta_seconds = NULL,"
            " finished = NULL, error = NULL, error_code = NULL, label = '', warnings = '[]', results = '[]'"
            " WHERE id = ?",
            (JobState.QUEUED, self._owner, job_id),
        )

    def _prepare(self) -> None:
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        version = self._database.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, SCHEMA_VERSION):
            raise JobStoreError(
                f"The job list {self._path} was written by another version of FlexTraj (schema {version}): "
                "update FlexTraj or choose another --data-dir.",
                ErrorCode.BACKEND_VERSION,
            )
        self._database.executescript(_SCHEMA)
        self._database.execute("BEGIN IMMEDIATE")
        known = {row["name"] for row in self._database.execute("PRAGMA table_info(jobs)")}
        for name, kind in _LATER_COLUMNS.items():
            if name not in known:
                self._database.execute(f"ALTER TABLE jobs ADD COLUMN {name} {kind}")
        self._database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self._database.execute("COMMIT")

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


def _row(database: sqlite3.Connection, job_id: str) -> sqlite3.Row:
    row = database.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
    if row is None:
        raise UnknownJob(job_id)
    return row


def _with_key(database: sqlite3.Connection, request: RenderRequest, idempotency_key: str) -> JobStatus | None:
    row = database.execute("SELECT * FROM jobs WHERE idempotency_key = ?", (idempotency_key,)).fetchone()
    if row is None:
        return None
    if row["request"] != request.to_json():
        raise KeyReused
    return _status(row)


def _finish(
    database: sqlite3.Connection,
    job_id: str,
    state: JobState,
    error: FlexTrajError | None = None,
    label: str = "",
    warnings: Sequence[str] = (),
    results: Sequence[ResultKind] = (),
) -> None:
    database.execute(
        "UPDATE jobs SET state = ?, finished = ?, error = ?, error_code = ?, label = ?, warnings = ?,"
        " results = ?, eta_seconds = NULL WHERE id = ?",
        (
            state,
            time.time(),
            None if error is None else error.message,
            None if error is None else error.code,
            label,
            json.dumps(list(warnings)),
            json.dumps(list(results)),
            job_id,
        ),
    )
    if state is JobState.SUCCEEDED:
        # The worker's last step may have been too quick to be reported.
        database.execute("UPDATE jobs SET step = steps WHERE id = ?", (job_id,))


def _status(row: sqlite3.Row) -> JobStatus:
    return JobStatus(
        id=row["id"],
        state=JobState(row["state"]),
        engine=row["engine"],
        title=row["title"],
        phase=row["phase"],
        step=row["step"],
        steps=row["steps"],
        eta_seconds=row["eta_seconds"],
        created=row["created"],
        finished=row["finished"],
        error=row["error"],
        error_code=None if row["error_code"] is None else ErrorCode(row["error_code"]),
        label=row["label"],
        warnings=tuple(json.loads(row["warnings"])),
        results=tuple(map(ResultKind, json.loads(row["results"]))),
    )
