"""The worker thread that talks to the backend, so that Blender's main thread never waits for it.

Contract: the main thread calls `submit`, `cancel`, `start_backend`, `stop_backend` (they only put a message
into a queue) and collects the reports with `drain`. The worker gets frozen messages and never touches bpy.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from ..core.errors import ErrorCode, FlexTrajError
from ..core.request import RenderRequest
from .backend_process import BackendPhase
from .job_folder import TRAJECTORIES, discard, write_inputs
from .job_reports import BackendReport, JobReport, JobStage, RenderOrder, Report
from .messages import EngineInfo, JobState, JobStatus, ResultKind

_MAX_FAILED_CALLS = 4
_STAGE_OF_STATE = {
    JobState.QUEUED: JobStage.QUEUED,
    JobState.RUNNING: JobStage.RUNNING,
    JobState.CANCELLING: JobStage.CANCELLING,
}


class RenderService(Protocol):
    """The calls of `BackendClient` that the worker needs."""

    def engines(self) -> tuple[EngineInfo, ...]: ...

    def upload(self, source: Path | bytes, give_up: Callable[[], bool]) -> str: ...

    def submit(self, request: RenderRequest, idempotency_key: str) -> JobStatus: ...

    def job(self, job_id: str) -> JobStatus: ...

    def cancel(self, job_id: str) -> JobStatus: ...

    def download(self, job_id: str, kind: ResultKind, destination: Path) -> Path: ...


class BackendHandle(Protocol):
    """Starts, watches and stops the backend; used by the worker thread, and by `close` after it has ended."""

    def connect(self, give_up: Callable[[], bool]) -> RenderService:
        """Start the backend unless it runs; return when it answers. Raises FlexTrajError."""
        ...

    def failure(self) -> FlexTrajError | None:
        """Why the backend is gone, None while it runs; does not wait."""
        ...

    def stop(self) -> None: ...


@dataclass(frozen=True)
class _Submit:
    order: RenderOrder


@dataclass(frozen=True)
class _Cancel:
    key: str


class _StartBackend:
    pass


class _StopBackend:
    pass


_Command = _Submit | _Cancel | _StartBackend | _StopBackend


@dataclass
class _ActiveJob:
    """A job that the backend has; `report` is the last one sent."""

    order: RenderOrder
    id: str
    report: JobReport
    failed_calls: int = 0
    is_told_to_stop: bool = False


class _GiveUp(Exception):
    """The user cancelled the job, or Blender closes."""


class JobRunner:
    """Runs render orders on one worker thread.

    Args:
        backend: starts and stops the backend.
        poll_seconds: how often a running job is asked for its progress.
    """

    def __init__(self, backend: BackendHandle, poll_seconds: float = 0.25) -> None:
        self._backend = backend
        self._poll_seconds = poll_seconds
        self._commands: queue.Queue[_Command] = queue.Queue()
        self._reports: queue.Queue[Report] = queue.Queue()
        self._closing = threading.Event()
        self._cancelled: set[str] = set()
        self._unfinished: set[str] = set()
        self._active: dict[str, _ActiveJob] = {}
        self._service: RenderService | None = None
        self._thread: threading.Thread | None = None

    # Main thread

    @property
    def has_work(self) -> bool:
        """Whether a job is under way."""
        return bool(self._unfinished)

    def submit(self, order: RenderOrder) -> None:
        """Queue a job; its reports carry `order.key`."""
        self._unfinished.add(order.key)
        self._reports.put(_first_report(order))
        self._send(_Submit(order))

    def cancel(self, key: str) -> None:
        """Ask a job to stop; it ends as CANCELLED unless it was faster."""
        if key in self._unfinished:
            self._cancelled.add(key)
            self._send(_Cancel(key))

    def start_backend(self) -> None:
        """Start the backend unless it runs."""
        self._send(_StartBackend())

    def stop_backend(self) -> None:
        """Stop the backend; jobs under way fail."""
        self._send(_StopBackend())

    def drain(self) -> list[Report]:
        """Return the reports that came since the last call, oldest first; never waits."""
        reports: list[Report] = []
        with contextlib.suppress(queue.Empty):
            while True:
                reports.append(self._reports.get_nowait())
        return reports

    def wait(self, timeout: float) -> list[Report]:
        """Like `drain`, but wait up to `timeout` seconds for the first report (headless runs and tests)."""
        try:
            first = self._reports.get(timeout=timeout)
        except queue.Empty:
            return []
        return [first, *self.drain()]

    def close(self, timeout: float = 5.0) -> None:
        """End the worker and the backend. Blocks for `timeout` seconds at most, plus the backend's stop."""
        self._closing.set()
        self._commands.put(_StopBackend())
        if self._thread is not None:
            self._thread.join(timeout)
        self._backend.stop()

    def _send(self, command: _Command) -> None:
        if self._thread is None:
            # A daemon: were Blender to crash in its own shutdown, the thread must not keep the process alive.
            self._thread = threading.Thread(target=self._work, name="FlexTraj jobs", daemon=True)
            self._thread.start()
        self._commands.put(command)

    # Worker thread

    def _work(self) -> None:
        while not self._closing.is_set():
            try:
                command = self._commands.get(timeout=self._poll_seconds)
            except queue.Empty:
                self._watch()
                continue
            match command:
                case _Submit(order):
                    self._begin(order)
                case _Cancel(key):
                    self._cancel_active(key)
                case _StartBackend():
                    with contextlib.suppress(FlexTrajError, _GiveUp):
                        self._connect(self._closing.is_set)
                case _StopBackend():
                    self._stop()

    def _watch(self) -> None:
        if self._service is not None and (failure := self._backend.failure()) is not None:
            self._service = None
            self._reports.put(BackendReport(BackendPhase.FAILED, failure.message, failure.code))
            self._fail_active(failure.message)
        for job in list(self._active.values()):
            self._follow(job)

    def _connect(self, give_up: Callable[[], bool]) -> RenderService:
        if self._service is not None and self._backend.failure() is None:
            return self._service
        self._reports.put(BackendReport(BackendPhase.STARTING))
        try:
            service = self._backend.connect(give_up)
            engines = service.engines()
        except FlexTrajError as error:
            if give_up():
                self._reports.put(BackendReport(BackendPhase.STOPPED))
                raise _GiveUp from error
            self._reports.put(BackendReport(BackendPhase.FAILED, error.message, error.code))
            raise
        self._service = service
        self._reports.put(BackendReport(BackendPhase.RUNNING, engines=engines))
        return service

    def _stop(self) -> None:
        self._service = None
        self._backend.stop()
        self._reports.put(BackendReport(BackendPhase.STOPPED))
        self._fail_active("The backend was stopped while the job ran: press Generate to run it again.")

    def _fail_active(self, sentence: str) -> None:
        for job in list(self._active.values()):
            self._finish(replace(job.report, stage=JobStage.FAILED, message=sentence, code=ErrorCode.BACKEND))

    def _begin(self, order: RenderOrder) -> None:
        """Start the backend, upload, submit. Every way out leaves the job active or finished."""
        report = _first_report(order)

        def give_up() -> bool:
            return self._closing.is_set() or order.key in self._cancelled

        def enter(stage: JobStage) -> None:
            nonlocal report
            if give_up():
                raise _GiveUp
            report = replace(report, stage=stage)
            self._reports.put(report)

        try:
            enter(JobStage.WAITING)
            report = replace(report, folder=write_inputs(order))
            enter(JobStage.STARTING)
            service = self._connect(give_up)
            enter(JobStage.UPLOADING)
            status = self._hand_over(service, order, give_up)
        except _GiveUp:
            self._end_cancelled(report)
        except FlexTrajError as error:
            self._finish(replace(report, stage=JobStage.FAILED, message=error.message, code=error.code))
        else:
            job = _ActiveJob(order, status.id, report)
            self._active[order.key] = job
            self._take(job, status)

    def _hand_over(
        self, service: RenderService, order: RenderOrder, give_up: Callable[[], bool]
    ) -> JobStatus:
        def upload(source: Path) -> str:
            try:
                sha256 = service.upload(source, give_up)
            except FlexTrajError as error:
                if give_up():
                    raise _GiveUp from error
                raise
            if give_up():
                raise _GiveUp
            return sha256

        request = RenderRequest(
            trajectories=upload(order.folder / TRAJECTORIES),
            image=upload(order.photo),
            mask=None if order.mask is None else upload(order.mask),
            engine=order.engine,
            prompt=order.prompt,
            seed=order.seed,
            fit=order.fit,
            title=order.title,
        )
        return service.submit(request, order.key)

    def _cancel_active(self, key: str) -> None:
        job = self._active.get(key)
        if job is not None:
            job.report = replace(job.report, stage=JobStage.CANCELLING)
            self._reports.put(job.report)
            self._follow(job)

    def _follow(self, job: _ActiveJob) -> None:
        """Ask where a job stands; tell it to stop until the backend has heard it."""
        if self._service is None:
            return
        try:
            if job.order.key in self._cancelled and not job.is_told_to_stop:
                status = self._service.cancel(job.id)
                job.is_told_to_stop = True
            else:
                status = self._service.job(job.id)
        except FlexTrajError as error:
            # A machine that is busy rendering may answer late once; a backend that is gone never does.
            job.failed_calls += 1
            if job.failed_calls >= _MAX_FAILED_CALLS:
                self._finish(
                    replace(job.report, stage=JobStage.FAILED, message=error.message, code=error.code)
                )
            return
        job.failed_calls = 0
        self._take(job, status)

    def _take(self, job: _ActiveJob, status: JobStatus) -> None:
        """Turn the backend's answer into a report; fetch the files of a finished job."""
        report = replace(
            job.report,
            phase=status.phase,
            step=status.step,
            steps=status.steps,
            eta_seconds=status.eta_seconds,
            label=status.label,
            warnings=status.warnings,
        )
        if status.state is JobState.SUCCEEDED:
            self._fetch(job, report, status)
        elif status.state is JobState.CANCELLED:
            self._end_cancelled(report)
        elif status.state.is_finished:
            sentence = status.error or "The job was interrupted: press Generate to run it again."
            self._finish(replace(report, stage=JobStage.FAILED, message=sentence, code=ErrorCode.ENGINE))
        else:
            stage = _STAGE_OF_STATE[status.state]
            if job.order.key in self._cancelled:
                stage = JobStage.CANCELLING
            report = replace(report, stage=stage)
            if report != job.report:
                job.report = report
                self._reports.put(report)

    def _fetch(self, job: _ActiveJob, report: JobReport, status: JobStatus) -> None:
        assert self._service is not None
        report = replace(report, stage=JobStage.DOWNLOADING, phase="", step=0, steps=1, eta_seconds=None)
        self._reports.put(report)
        folder = job.order.folder
        try:
            for kind in status.results:
                self._service.download(job.id, kind, folder / kind.file_name)
        except FlexTrajError as error:
            self._finish(replace(report, stage=JobStage.FAILED, message=error.message, code=error.code))
            return
        video = folder / ResultKind.VIDEO.file_name
        if video.is_file():
            self._finish(replace(report, stage=JobStage.DONE, video=video))
        else:
            sentence = "The job ended without a video: look into the backend's log and run it again."
            self._finish(replace(report, stage=JobStage.FAILED, message=sentence, code=ErrorCode.BACKEND))

    def _end_cancelled(self, report: JobReport) -> None:
        if report.folder is not None:
            discard(report.folder)
        self._finish(replace(report, stage=JobStage.CANCELLED, folder=None))

    def _finish(self, report: JobReport) -> None:
        self._active.pop(report.key, None)
        self._cancelled.discard(report.key)
        self._unfinished.discard(report.key)
        self._reports.put(report)


def _first_report(order: RenderOrder) -> JobReport:
    frames = order.trajectories.meta.source_frames
    return JobReport(order.key, order.title, JobStage.WAITING, first_frame=frames[0], last_frame=frames[-1])
