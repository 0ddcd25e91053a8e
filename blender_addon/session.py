"""The run-time state of the add-on: one job runner, the last reports, and the timer that collects them.

Main thread only. The truth is here in plain Python; `WindowManager.flextraj` is a copy of it for the panels,
made anew whenever a report comes or another file is loaded.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import bpy

from .bridge.blend_file import read_blend_file, stamp_blend_file
from .client.backend_link import BackendHandle
from .client.backend_process import BackendPhase
from .client.estimates import EstimateDesk, EstimateQuestion, EstimateReport
from .client.fit_runner import FitOrder, FitReport
from .client.job_records import JobRecords
from .client.job_reports import (
    BackendReport,
    BlendFile,
    JobReport,
    JobStage,
    RenderOrder,
    Report,
    TroubleReport,
    UnsavedReport,
)
from .client.job_runner import JobRunner
from .client.managed_backend import ManagedBackend
from .client.messages import EngineInfo
from .core.errors import ErrorCode, FlexTrajError
from .core.trajectories import TrajectorySet
from .deferred import Alert, load_frames, notify
from .job_rows import fill_rows
from .pairs_desk import PAIRS_KEY, PairsDesk, PairsNews
from .preferences import backend_settings, user_folder
from .properties import runtime_state
from .sampling_slot import SamplingSlot
from .sidebar import redraw_panels

_BUSY_SECONDS = 0.2
_IDLE_SECONDS = 1.0
_HEADLESS_WAIT_SECONDS = 0.5


class Session(SamplingSlot):
    """All that runs for one enabled add-on.

    Args:
        backend: starts and stops the backend.
        records: the job list on the disk.
    """

    def __init__(self, backend: BackendHandle, records: JobRecords) -> None:
        super().__init__()
        self.runner = JobRunner(backend, records)
        self.jobs: dict[str, JobReport] = {}
        self.backend = BackendReport(BackendPhase.STOPPED)
        self.engines: tuple[EngineInfo, ...] = ()
        self.error: FlexTrajError | None = None
        self.error_job = ""
        self.unsaved_jobs = 0
        self.awaited_frames: set[str] = set()
        self.alerts: list[Alert] = []
        self.estimates = EstimateDesk()
        self.fits: dict[str, FitReport] = {}
        self.pairs = PairsDesk()
        self._backend = backend
        self._file: BlendFile | None = None
        self._forgotten: set[str] = set()

    def engine(self, name: str) -> EngineInfo | None:
        """What the backend said about an engine, None where it has not or knows none of that name."""
        return next((engine for engine in self.engines if engine.name == name), None)

    # Jobs and backend

    @property
    def file(self) -> BlendFile:
        """The open .blend file."""
        if self._file is None:
            self._file = read_blend_file()
        return self._file

    def is_own(self, report: JobReport) -> bool:
        """Whether a job belongs to the open file, or to one that it was saved from."""
        return report.order.file.is_same(self.file)

    def is_made_here(self, report: JobReport) -> bool:
        """Whether a job was made in the open file itself: with Save As, a file and its copy share a past."""
        path = report.order.file.path
        return self.is_own(report) and (path in ("", self.file.path) or not self.file.path)

    def leave_file(self) -> None:
        """Another file is open now: only its own jobs and those that still run stay on the list."""
        self._file = read_blend_file()
        self.awaited_frames.clear()
        self.jobs = {
            key: report
            for key, report in self.jobs.items()
            if not report.stage.is_finished or self.is_own(report)
        }

    def enter_file(self) -> None:
        """Show the jobs of the file that is open now, also those of earlier days."""
        self.leave_file()
        self.configure_backend()
        self.runner.find(self.file)
        ensure_timer()

    def prepare_save(self) -> None:
        """Let a file that has jobs carry the identity by which it finds them again."""
        if any(map(self.is_own, self.jobs.values())):
            stamp_blend_file(self.file)

    def follow_save(self) -> None:
        """A file that was saved for the first time, or in the place of its old self, takes its jobs along."""
        path, before = bpy.data.filepath, self.file
        if path == before.path:
            return
        keys = frozenset(key for key, report in self.jobs.items() if self.is_made_here(report))
        self._file = replace(before, path=path)
        if before.path and Path(before.path).exists():
            # Save As: the jobs stay with the file in which they were made.
            show_session()
            return
        if keys:
            self.runner.move(keys, self._file)
            ensure_timer()

    def adopt_unsaved(self) -> None:
        """Take over the jobs of files that were never saved."""
        stamp_blend_file(self.file)
        self.configure_backend()
        self.runner.adopt_unsaved(self.file)
        ensure_timer()

    def submit(self, order: RenderOrder, trajectories: TrajectorySet) -> None:
        """Hand a job to the worker thread."""
        stamp_blend_file(self.file)
        self.configure_backend()
        self.forget_error()
        self.runner.submit(replace(order, file=self.file), trajectories)
        self.take_reports(self.runner.drain())
        show_session()
        ensure_timer()

    def retry(self, key: str) -> None:
        """Get the results of a job that did not end well, rendering it again if need be."""
        self.configure_backend()
        self.forget_error()
        self.jobs[key] = replace(self.jobs[key], stage=JobStage.WAITING, message="", code=None)
        self.runner.retry(key)
        show_session()
        ensure_timer()

    def fetch_frames(self, key: str) -> None:
        """Get the pictures of a video, to be loaded when they are there."""
        self.configure_backend()
        self.awaited_frames.add(key)
        self.runner.fetch_frames(key)
        ensure_timer()

    def forget_job(self, key: str) -> None:
        """Take a job that has ended off the list."""
        del self.jobs[key]
        self._forgotten.add(key)
        self.runner.forget(key)
        if self.error_job == key:
            self.forget_error()
        show_session()

    def configure_backend(self) -> None:
        """Give the current preferences to the backend that the add-on manages."""
        if isinstance(self._backend, ManagedBackend):
            self._backend.configure(backend_settings())

    def forget_error(self) -> None:
        """Take the error away that the panel shows."""
        self.error, self.error_job = None, ""

    def take_reports(self, reports: Sequence[Report | FitReport | EstimateReport]) -> list[Alert]:
        """Store reports; return what went wrong with them while nobody waited for it."""
        alerts: list[Alert] = []
        for report in reports:
            match report:
                case JobReport():
                    alerts += self._take_job(report)
                case BackendReport():
                    if report.phase is not self.backend.phase:
                        self.estimates = EstimateDesk()
                    self.backend = report
                    self.engines = report.engines or self.engines
                    if report.phase is BackendPhase.FAILED:
                        self.error = FlexTrajError(report.message, report.code or ErrorCode.BACKEND)
                        self.error_job = ""
                case TroubleReport(key, message, code):
                    self.awaited_frames.discard(key)
                    alerts.append(Alert(FlexTrajError(message, code), key))
                case FitReport():
                    self.fits[report.key] = report
                case EstimateReport():
                    self.estimates.take(report)
                case UnsavedReport(count):
                    self.unsaved_jobs = count
        for alert in alerts:
            self.error, self.error_job = alert.error, alert.key
        return alerts

    def take_pairs(self, news: PairsNews) -> list[Alert]:
        """Show why the generation of pairs failed; return it as an alert."""
        if news.error is None:
            return []
        self.error, self.error_job = news.error, PAIRS_KEY
        return [Alert(news.error, PAIRS_KEY)]

    def _take_job(self, report: JobReport) -> list[Alert]:
        before = self.jobs.get(report.key)
        if report.key in self._forgotten:
            return []
        self.jobs[report.key] = report
        # What a loaded file tells of yesterday's jobs is no news.
        has_ended = before is not None and not before.stage.is_finished and report.stage.is_finished
        if has_ended and report.stage.can_be_retried and report.code is not None:
            return [Alert(FlexTrajError(report.message, report.code), report.key)]
        return []

    def estimate_of(self, question: EstimateQuestion) -> EstimateReport | None:
        """What a job will take, None as long as the backend has not said it; it is asked soon."""
        if self.backend.phase is not BackendPhase.RUNNING:
            return None
        self.estimates.want(question, time.monotonic())
        if self.estimates.is_busy:
            ensure_timer()
        return self.estimates.report_on(question)

    def ask_estimates(self) -> None:
        """Send the question that is due."""
        question = self.estimates.take_due(time.monotonic())
        if question is not None:
            self.runner.estimate(question)

    def submit_fit(self, order: FitOrder) -> None:
        """Have a motion placed on a photo by the worker thread; `fits` gets the report."""
        self.configure_backend()
        self.runner.fit(order)
        ensure_timer()

    def wait_for_fit(self, key: str) -> FitReport:
        """Wait for the end of a fit (headless runs)."""
        while key not in self.fits:
            self.take_reports(self.runner.wait(_HEADLESS_WAIT_SECONDS))
        return self.fits.pop(key)

    def wait_for(self, key: str) -> JobReport:
        """Wait until a job has ended (headless runs); Ctrl-C cancels it."""
        try:
            while not (key in self.jobs and self.jobs[key].stage.is_finished):
                self.take_reports(self.runner.wait(_HEADLESS_WAIT_SECONDS))
        except KeyboardInterrupt:
            self.runner.cancel(key)
            raise
        finally:
            show_session()
        return self.jobs[key]

    def wait_for_backend(self) -> BackendReport:
        """Wait until a start or stop that was asked for has ended (headless runs)."""
        while True:
            reports = self.runner.wait(_HEADLESS_WAIT_SECONDS)
            self.take_reports(reports)
            settled = [
                report
                for report in reports
                if isinstance(report, BackendReport) and report.phase is not BackendPhase.STARTING
            ]
            if settled:
                show_session()
                return settled[-1]

    def wait_for_frames(self, key: str) -> JobReport:
        """Wait for the pictures that `fetch_frames` asked for (headless runs)."""
        self.wait_until_idle()
        self.awaited_frames.discard(key)
        return self.jobs[key]

    def wait_until_idle(self) -> None:
        """Wait until everything that was asked for has ended (headless runs)."""
        while self.runner.has_work:
            self.take_reports(self.runner.wait(_HEADLESS_WAIT_SECONDS))
        show_session()

    def close(self) -> None:
        """End sampling, the worker thread, the generation of pairs and the backend."""
        self.end_sampling()
        self.pairs.close()
        self.runner.close()


_session: Session | None = None


def current_session() -> Session:
    """The session of the enabled add-on."""
    assert _session is not None, "the add-on is not registered"
    return _session


def replace_session(session: Session) -> Session:
    """Put another session in place (tests use a backend of their own); return the one before, not closed."""
    global _session
    before = current_session()
    _session = session
    return before


def poll_once() -> float | None:
    """Collect what the worker reported and show it.

    Returns:
        Seconds until the next call, None when there is nothing left to wait for.
    """
    session = current_session()
    session.ask_estimates()
    reports = session.runner.drain()
    pairs = session.pairs.collect()
    if reports or pairs.has_news:
        alerts = session.take_reports(reports) + session.take_pairs(pairs)
        show_session()
        session.alerts += alerts
    if session.sampling is None:
        # An undo step made while a shot is sampled would hold the scene as sampling has turned it over.
        _act(session)
    if (
        session.runner.has_work
        or session.pairs.has_work
        or session.estimates.is_busy
        or session.awaited_frames
        or session.alerts
        or session.backend.phase is BackendPhase.STARTING
    ):
        return _BUSY_SECONDS
    return _IDLE_SECONDS if session.backend.phase is BackendPhase.RUNNING or reports else None


def _act(session: Session) -> None:
    """Do in the user's name what the reports ask for."""
    while session.alerts:
        notify(session.alerts.pop(0))
    session.awaited_frames -= load_frames(
        {key for key in session.awaited_frames if (job := session.jobs.get(key)) and job.frames}
    )


def ensure_timer() -> None:
    """Let Blender call `poll_once` from now on; background mode has no event loop and needs none."""
    if not bpy.app.background and not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick, first_interval=_BUSY_SECONDS, persistent=True)


def show_session() -> None:
    """Copy the session into the run-time properties and redraw the panels."""
    session, state = current_session(), runtime_state()
    state.backend_phase = session.backend.phase.value
    state.backend_text = session.backend.message
    state.backend_version = session.backend.version
    state.unsaved_jobs = session.unsaved_jobs
    state.error_text = "" if session.error is None else session.error.message
    state.error_code = "" if session.error is None else session.error.code.value
    state.error_job = session.error_job
    fill_rows(state, session.jobs.values(), session.is_made_here)
    redraw_panels()


def show_error(error: FlexTrajError | None, key: str = "") -> None:
    """Show an error (of a job) in the panel, or take the shown one away."""
    session = current_session()
    session.error, session.error_job = error, key
    show_session()


def _tick() -> float | None:
    try:
        return poll_once()
    except Exception:
        # Blender would drop the timer, and the panel would stay as it is until the next click.
        traceback.print_exc()
        return _BUSY_SECONDS


def register() -> None:
    global _session
    _session = Session(ManagedBackend(), JobRecords(user_folder("jobs")))


def unregister() -> None:
    global _session
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    if _session is not None:
        _session.close()
        _session = None
