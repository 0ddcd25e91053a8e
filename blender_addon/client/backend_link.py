"""The worker thread's connection to the backend: starts it on demand and tells the panel how it is."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from ..core.errors import FlexTrajError
from ..core.request import RenderRequest
from .backend_process import BackendPhase
from .estimates import EstimateAnswer, EstimateQuestion
from .http_client import BackendError
from .job_reports import BackendReport, Report
from .messages import BackendHealth, DeviceInfo, EngineInfo, FitAnswer, JobStatus, ResultKind

_LOG_SECONDS = 2.0
_DEVICE_SECONDS = 1.0
_ENGINES_SECONDS = 150.0
"""The first list of engines may wait for a slow driver and for torch."""


class RenderService(Protocol):
    """The calls of `BackendClient` that the worker needs."""

    def health(self) -> BackendHealth: ...

    def engines(self) -> tuple[EngineInfo, ...]: ...

    def device(self) -> DeviceInfo: ...

    def upload(self, source: Path | bytes, give_up: Callable[[], bool]) -> str: ...

    def fit(self, request: RenderRequest, give_up: Callable[[], bool]) -> FitAnswer: ...

    def estimate(self, question: EstimateQuestion) -> EstimateAnswer: ...

    def submit(self, request: RenderRequest, idempotency_key: str) -> JobStatus: ...

    def job(self, job_id: str) -> JobStatus: ...

    def cancel(self, job_id: str) -> JobStatus: ...

    def retry(self, job_id: str) -> JobStatus: ...

    def download(self, job_id: str, kind: ResultKind, destination: Path) -> Path: ...

    def download_frames(self, job_id: str, destination: Path) -> Path: ...

    def log(self, job_id: str) -> str: ...


class BackendHandle(Protocol):
    """Starts, watches and stops the backend; used by the worker thread, and by `close` after it has ended."""

    def connect(self, give_up: Callable[[], bool]) -> RenderService:
        """Start the backend unless it runs; return when it answers. Raises FlexTrajError."""
        ...

    def failure(self) -> FlexTrajError | None:
        """Why the backend is gone, None while it runs; does not wait."""
        ...

    def log_lines(self) -> tuple[str, ...]:
        """The last lines that the backend wrote, also after its end."""
        ...

    def stop(self) -> None: ...


class GiveUp(Exception):
    """The user cancelled the job, or Blender closes."""


class BackendLink:
    """One backend; all methods belong to the worker thread.

    Args:
        handle: starts and stops the backend.
        tell: takes the reports.
    """

    def __init__(self, handle: BackendHandle, tell: Callable[[Report], None]) -> None:
        self._handle, self._tell = handle, tell
        self._report = BackendReport(BackendPhase.STOPPED)
        self._service: RenderService | None = None
        self._next_log = 0.0
        self._next_device: float | None = None

    @property
    def service(self) -> RenderService | None:
        """The backend where it is connected."""
        return self._service

    def connect(self, give_up: Callable[[], bool]) -> RenderService:
        """Start the backend unless it runs.

        Raises:
            GiveUp: `give_up()` turned True. FlexTrajError: it cannot be reached.
        """
        if self._service is not None and self._handle.failure() is None:
            return self._service
        self._service = None
        self._say(BackendReport(BackendPhase.STARTING))
        try:
            service = self._handle.connect(give_up)
            health = service.health()
            engines = self._ask_engines(service, give_up)
        except FlexTrajError as error:
            if give_up():
                self._say(BackendReport(BackendPhase.STOPPED))
                raise GiveUp from error
            self._say(BackendReport(BackendPhase.FAILED, error.message, error.code, log=self._log()))
            raise
        self._service = service
        self._say(BackendReport(BackendPhase.RUNNING, version=health.version, engines=engines))
        self.look_at_device()
        return service

    def stop(self) -> None:
        """Stop the backend."""
        self._service = None
        self._handle.stop()
        self._say(BackendReport(BackendPhase.STOPPED, log=self._log()))

    def find_failure(self) -> FlexTrajError | None:
        """Why the backend has gone since the last call, None where it has not."""
        if self._service is None or (failure := self._handle.failure()) is None:
            return None
        self._service = None
        self._say(BackendReport(BackendPhase.FAILED, failure.message, failure.code, log=self._log()))
        return failure

    def look_at_device(self) -> None:
        """Show the free memory as it is now."""
        self._next_device = time.monotonic()

    def refresh(self) -> None:
        """Show new lines of the log, and the answer to `look_at_device`."""
        now = time.monotonic()
        if self._service is None:
            return
        if now >= self._next_log:
            self._next_log = now + _LOG_SECONDS
            self._say(replace(self._report, log=self._log()))
        if self._next_device is not None and now >= self._next_device:
            self._next_device = None
            with contextlib.suppress(FlexTrajError):
                device = self._service.device()
                self._say(replace(self._report, device=device))
                if device.is_being_asked:
                    self._next_device = now + _DEVICE_SECONDS

    def _ask_engines(self, service: RenderService, give_up: Callable[[], bool]) -> tuple[EngineInfo, ...]:
        until = time.monotonic() + _ENGINES_SECONDS
        while True:
            try:
                return service.engines()
            except BackendError as error:
                is_late = isinstance(error.__cause__, TimeoutError) and time.monotonic() < until
                if not is_late or give_up() or self._handle.failure() is not None:
                    raise

    def _log(self) -> tuple[str, ...]:
        return self._handle.log_lines()

    def _say(self, report: BackendReport) -> None:
        if report != self._report:
            self._report = report
            self._tell(report)
