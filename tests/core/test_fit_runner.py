"""Fits on the worker thread: what would leave the button waiting, or the jobs unfollowed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from blender_addon.client.fit_runner import FitOrder, FitReport
from blender_addon.client.http_client import BackendError
from blender_addon.client.job_records import JobRecords
from blender_addon.client.job_reports import NOT_UPLOADED
from blender_addon.client.job_runner import JobRunner
from blender_addon.client.messages import BackendHealth, DeviceInfo, EngineInfo, FitAnswer
from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.request import RenderRequest
from blender_addon.core.version import PROTOCOL_VERSION

ANSWER = FitAnswer((1.0, 0.0, 2.0, 0.0, 1.0, 3.0), 0.5, (), "")
REQUEST = RenderRequest(trajectories=NOT_UPLOADED, image=NOT_UPLOADED)
PATIENCE = 5.0


@dataclass
class FittingService:
    """A backend that fits as it is told to."""

    fitting: Callable[[Callable[[], bool]], FitAnswer]
    requests: list[RenderRequest] = field(default_factory=list)
    uploads: list[Path | bytes] = field(default_factory=list)

    def health(self) -> BackendHealth:
        return BackendHealth(PROTOCOL_VERSION, "1", 0.0)

    def engines(self) -> tuple[EngineInfo, ...]:
        return ()

    def device(self) -> DeviceInfo:
        return DeviceInfo()

    def upload(self, source: Path | bytes, give_up: Callable[[], bool]) -> str:
        self.uploads.append(source)
        return f"{len(self.uploads):064x}"

    def fit(self, request: RenderRequest, give_up: Callable[[], bool]) -> FitAnswer:
        self.requests.append(request)
        return self.fitting(give_up)


class Handle:
    """The backend runs already, or cannot be started."""

    def __init__(self, service: FittingService, error: FlexTrajError | None = None) -> None:
        self._service, self._error = service, error

    def connect(self, give_up: Callable[[], bool]) -> Any:
        if self._error is not None:
            raise self._error
        return self._service

    def failure(self) -> FlexTrajError | None:
        return None

    def log_lines(self) -> tuple[str, ...]:
        return ()

    def stop(self) -> None:
        pass


@pytest.fixture
def runners(tmp_path: Path) -> Iterator[Callable[[Handle], JobRunner]]:
    made: list[JobRunner] = []

    def make(handle: Handle) -> JobRunner:
        made.append(JobRunner(handle, JobRecords(tmp_path / "records"), poll_seconds=0.01))
        return made[-1]

    yield make
    for runner in made:
        runner.close(10.0)


def order(tmp_path: Path) -> FitOrder:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"photo")
    return FitOrder("a fit", b"trajectories", photo, None, REQUEST)


def report_of(runner: JobRunner) -> FitReport:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        for report in runner.wait(0.1):
            if isinstance(report, FitReport):
                return report
    raise AssertionError("the fit has no report")


def wait_until_idle(runner: JobRunner) -> None:
    until = time.monotonic() + PATIENCE
    while runner.has_work:
        runner.drain()
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_fit_is_sent_with_its_files_and_answered(runners: Any, tmp_path: Path) -> None:
    service = FittingService(lambda _: ANSWER)
    runner = runners(Handle(service))
    wanted = order(tmp_path)
    runner.fit(wanted)
    assert runner.has_work
    assert report_of(runner) == FitReport("a fit", ANSWER)
    assert service.uploads == [b"trajectories", wanted.photo]
    assert (service.requests[0].trajectories, service.requests[0].image) == (f"{1:064x}", f"{2:064x}")
    wait_until_idle(runner)


def test_commands_are_obeyed_while_a_fit_takes_its_time(runners: Any, tmp_path: Path) -> None:
    go_on = threading.Event()

    def slow(_: Callable[[], bool]) -> FitAnswer:
        go_on.wait(PATIENCE)
        return ANSWER

    runner = runners(Handle(FittingService(slow)))
    runner.fit(order(tmp_path))
    stopped = threading.Event()
    runner._send(stopped.set)
    assert stopped.wait(PATIENCE)
    go_on.set()
    assert report_of(runner).answer == ANSWER


def test_a_cancelled_fit_ends_at_once_and_frees_the_button(runners: Any, tmp_path: Path) -> None:
    def until_cancelled(give_up: Callable[[], bool]) -> FitAnswer:
        until = time.monotonic() + PATIENCE
        while not give_up():
            assert time.monotonic() < until
            time.sleep(0.01)
        raise BackendError("The call was cancelled: press the button again to repeat it.")

    runner = runners(Handle(FittingService(until_cancelled)))
    runner.fit(order(tmp_path))
    runner.cancel_fit("a fit")
    report = report_of(runner)
    assert report.answer is None and report.error is not None
    wait_until_idle(runner)


def test_a_backend_that_cannot_start_is_told(runners: Any, tmp_path: Path) -> None:
    missing = FlexTrajError("The backend is missing: install it.", ErrorCode.BACKEND_MISSING)
    runner = runners(Handle(FittingService(lambda _: ANSWER), missing))
    runner.fit(order(tmp_path))
    assert report_of(runner).error is missing


def test_a_photo_that_is_gone_is_named(runners: Any, tmp_path: Path) -> None:
    runner = runners(Handle(FittingService(lambda _: ANSWER)))
    wanted = order(tmp_path)
    wanted.photo.unlink()
    runner.fit(wanted)
    error = report_of(runner).error
    assert error is not None and error.code is ErrorCode.NO_PHOTO and "photo.jpg" in error.message


def test_a_mistake_of_ours_does_not_leave_the_button_waiting(runners: Any, tmp_path: Path) -> None:
    def broken(_: Callable[[], bool]) -> FitAnswer:
        raise ZeroDivisionError

    runner = runners(Handle(FittingService(broken)))
    runner.fit(order(tmp_path))
    error = report_of(runner).error
    assert error is not None and error.code is ErrorCode.DEFECT
    wait_until_idle(runner)
