"""The table of jobs in SQLite: reading and writing one row. Transactions are the caller's."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from blender_addon.client.messages import JobState, JobStatus, ResultKind
from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.request import RenderRequest

SCHEMA_VERSION = 1
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


def prepare(database: sqlite3.Connection, path: Path) -> None:
    """Make the table where it is missing. Raises JobStoreError on a list of another schema."""
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version not in (0, SCHEMA_VERSION):
        raise JobStoreError(
            f"The job list {path} was written by another version of FlexTraj (schema {version}): "
            "update FlexTraj or choose another --data-dir.",
            ErrorCode.BACKEND_VERSION,
        )
    database.executescript(_SCHEMA)
    database.execute("BEGIN IMMEDIATE")
    known = {column["name"] for column in database.execute("PRAGMA table_info(jobs)")}
    for name, kind in _LATER_COLUMNS.items():
        if name not in known:
            database.execute(f"ALTER TABLE jobs ADD COLUMN {name} {kind}")
    database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    database.execute("COMMIT")


def row_of(database: sqlite3.Connection, job_id: str) -> sqlite3.Row:
    """A job's row. Raises UnknownJob."""
    row = database.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
    if row is None:
        raise UnknownJob(job_id)
    return row


def job_with_key(
    database: sqlite3.Connection, request: RenderRequest, idempotency_key: str
) -> JobStatus | None:
    """The job of a key, None where there is none. Raises KeyReused where it has another request."""
    row = database.execute("SELECT * FROM jobs WHERE idempotency_key = ?", (idempotency_key,)).fetchone()
    if row is None:
        return None
    if row["request"] != request.to_json():
        raise KeyReused
    return status_of(row)


def write_end(
    database: sqlite3.Connection,
    job_id: str,
    state: JobState,
    error: FlexTrajError | None = None,
    label: str = "",
    warnings: Sequence[str] = (),
    results: Sequence[ResultKind] = (),
) -> None:
    """Note how a job ended."""
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


def status_of(row: sqlite3.Row) -> JobStatus:
    """The message that describes a row."""
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


def requeue(database: sqlite3.Connection, job_id: str, owner: str) -> None:
    """Queue a job as new, for another owner."""
    database.execute(
        "UPDATE jobs SET state = ?, owner = ?, phase = '', step = 0, steps = 1, eta_seconds = NULL,"
        " finished = NULL, error = NULL, error_code = NULL, label = '', warnings = '[]', results = '[]'"
        " WHERE id = ?",
        (JobState.QUEUED, owner, job_id),
    )
