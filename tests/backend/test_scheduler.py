"""The job runner: what one job's trouble must not do to the others."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from blender_addon.client.messages import JobState
from blender_addon.core.errors import ErrorCode
from blender_addon.core.request import RenderRequest
from flextraj_backend.server.job_store import JobStore, Owner
from flextraj_backend.server.scheduler import Scheduler

REQUEST = RenderRequest("a" * 64, "b" * 64, title="Dance")


class BrokenLauncher:
    """Fails as Ray, a full memory or a machine without threads do."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def launch(self, folder: Any) -> Any:
        raise self._error


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError(), Exception("full")])
def test_a_job_that_cannot_be_started_ends_and_the_next_ones_are_tried(
    tmp_path: Path, error: Exception
) -> None:
    store = JobStore(tmp_path / "jobs.sqlite", Owner.this_process())
    for name in ("first", "second"):
        (tmp_path / "jobs" / name).mkdir(parents=True)
        store.add(name, REQUEST, None)
    scheduler = Scheduler(store, tmp_path / "jobs", BrokenLauncher(error))
    scheduler.start()
    try:
        until = time.monotonic() + 20
        while store.unfinished() and time.monotonic() < until:
            time.sleep(0.02)
        for name in ("first", "second"):
            status = store.get(name)
            assert status.state is JobState.FAILED
            assert status.error is not None and type(error).__name__ in status.error
            assert status.error_code is ErrorCode.BACKEND
    finally:
        scheduler.stop()
        store.close()
