"""Blenders one after another, as far as their jobs see them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from job_fakes import FakeBackend

    from blender_addon.client.job_records import JobRecords
    from blender_addon.client.job_reports import RenderOrder
    from blender_addon.client.job_runner import JobRunner


@pytest.fixture
def records(tmp_path: Path) -> JobRecords:
    from blender_addon.client.job_records import JobRecords

    return JobRecords(tmp_path / "records")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[FakeBackend], JobRunner]]:
    """Starts workers that share the records on the disk."""
    from blender_addon.client.job_records import JobRecords
    from blender_addon.client.job_runner import JobRunner

    runners: list[JobRunner] = []

    def make(backend: FakeBackend) -> JobRunner:
        runners.append(JobRunner(backend, JobRecords(tmp_path / "records"), poll_seconds=0.01))
        return runners[-1]

    yield make
    for runner in runners:
        runner.close(10.0)


@pytest.fixture
def order(tmp_path: Path) -> RenderOrder:
    """A job of a tiny shot whose photo exists."""
    from job_fakes import order_in

    return order_in(tmp_path)
