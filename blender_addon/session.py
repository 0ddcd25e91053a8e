"""The run-time state of the add-on: one job runner, the last reports, and the timer that collects them.

Main thread only. The truth is here in plain Python; `WindowManager.flextraj` is a copy of it for the panels,
made anew whenever a report comes or another file is loaded.
"""

from __future__ import annotations

import threading
from collections.abc import Generator

import bpy

from .bridge.compat import open_windows
from .client.backend_process import BackendPhase
from .client.job_reports import BackendReport, JobReport, JobStage, RenderOrder, Report
from .client.job_runner import BackendHandle, JobRunner
from .client.job_texts import progress_fraction, progress_text
from .client.managed_backend import ManagedBackend
from .client.messages import EngineInfo
from .core.errors import ErrorCode, FlexTrajError
from .core.sample_settings import SampleProgress
from .core.trajectories import TrajectorySet
from .preferences import backend_settings
from .properties import FlexTrajJobRow, runtime_state

_BUSY_SECONDS = 0.2
_IDLE_SECONDS = 1.0
_HEADLESS_WAIT_SECONDS = 0.5
_END_OF_SAMPLING_SECONDS = 2.0

Sampling = Generator[SampleProgress, None, TrajectorySet]


class Session:
    """All that runs for one enabled add-on.

    Args:
        backend: starts and stops the backend.
    """

    def __init__(self, backend: BackendHandle) -> None:
        self.runner = JobRunner(backend)
        self.jobs: dict[str, JobReport] = {}
        self.backend = BackendReport(BackendPhase.STOPPED)
        self.engines: tuple[EngineInfo, ...] = ()
        self.error: FlexTrajError | None = None
        self.sampling: Sampling | None = None
        self._backend = backend
        self._sampling_has_ended = threading.Event()
        self._is_sampling_unwanted = False

    def engine(self, name: str) -> EngineInfo | None:
        """What the backend said about an engine, None where it has not or knows none of that name."""
        return next((engine for engine in self.engines if engine.name == name), None)

    # Sampling: at most one at a time, stepped by the operator that started it

    def begin_sampling(self, sampling: Sampling) -> None:
        """Remember what samples now, so that undo, loading a file or disabling can end it first."""
        self._sampling_has_ended.clear()
        self._is_sampling_unwanted = False
        self.sampling = sampling

    @property
    def is_sampling_unwanted(self) -> bool:
        """Whether another thread waits for the end of sampling."""
        return self._is_sampling_unwanted

    def end_sampling(self) -> None:
        """Close the generator, which gives the scene its frame back; harmless where nothing samples."""
        sampling, self.sampling = self.sampling, None
        if sampling is not None:
            sampling.close()
        self._sampling_has_ended.set()
        show_sampling(None)

    def end_sampling_from_any_thread(self) -> None:
        """End sampling before something else reads the scene.

        Blender calls the handlers of a render in the render's own thread, where the scene that the main
        thread samples must not be touched: ask the main thread to end it, and wait a moment for that.
        """
        if self.sampling is None:
            return
        if threading.current_thread() is threading.main_thread():
            self.end_sampling()
            return
        self._is_sampling_unwanted = True
        self._sampling_has_ended.wait(_END_OF_SAMPLING_SECONDS)

    # Jobs and backend

    def submit(self, order: RenderOrder) -> None:
        """Hand a job to the worker thread."""
        self.configure_backend()
        self.error = None
        self.runner.submit(order)
        self.take_reports(self.runner.drain())
        show_session()
        ensure_timer()

    def configure_backend(self) -> None:
        """Give the current preferences to the backend that the add-on manages."""
        if isinstance(self._backend, ManagedBackend):
            self._backend.configure(backend_settings())

    def take_reports(self, reports: list[Report]) -> list[JobReport]:
        """Store reports; return the jobs that ended with them."""
        ended: list[JobReport] = []
        for report in reports:
            if isinstance(report, BackendReport):
                self.backend = report
                self.engines = report.engines or self.engines
                if report.phase is BackendPhase.FAILED:
                    self.error = FlexTrajError(report.message, report.code or ErrorCode.BACKEND)
                continue
            self.jobs[report.key] = report
            if report.stage.is_finished:
                ended.append(report)
                if report.stage is JobStage.FAILED:
                    self.error = FlexTrajError(report.message, report.code or ErrorCode.BACKEND)
        return ended

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

    def close(self) -> None:
        """End sampling, the worker thread and the backend."""
        self.end_sampling()
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
    reports = session.runner.drain()
    if reports:
        ended = session.take_reports(reports)
        show_session()
        for report in ended:
            if report.stage is JobStage.FAILED:
                _notify(report.message)
    if session.runner.has_work or session.backend.phase is BackendPhase.STARTING:
        return _BUSY_SECONDS
    return _IDLE_SECONDS if session.backend.phase is BackendPhase.RUNNING or reports else None


def ensure_timer() -> None:
    """Let Blender call `poll_once` from now on; background mode has no event loop and needs none."""
    if not bpy.app.background and not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick, first_interval=_BUSY_SECONDS, persistent=True)


def show_session() -> None:
    """Copy the session into the run-time properties and redraw the panels."""
    session, state = current_session(), runtime_state()
    state.backend_phase = session.backend.phase.value
    state.backend_text = session.backend.message
    state.error_text = "" if session.error is None else session.error.message
    state.error_code = "" if session.error is None else session.error.code.value
    known = len(state.jobs)
    reports = list(session.jobs.values())
    if [row.key for row in state.jobs] != [report.key for report in reports]:
        state.jobs.clear()
        for report in reports:
            state.jobs.add().key = report.key
        if len(reports) > known:
            state.job_index = len(reports) - 1
    for row, report in zip(state.jobs, reports, strict=True):
        _fill_row(row, report)
    state.job_index = min(state.job_index, max(len(reports) - 1, 0))
    redraw_panels()


def _fill_row(row: FlexTrajJobRow, report: JobReport) -> None:
    row.title = report.title
    row.stage = report.stage.value
    row.text = progress_text(report)
    row.factor = progress_fraction(report)
    row.message = report.message
    row.label = report.label
    row.warnings = "\n".join(report.warnings)
    row.folder = "" if report.folder is None else str(report.folder)
    row.video = "" if report.video is None else str(report.video)
    row.first_frame = report.first_frame


def show_error(error: FlexTrajError | None) -> None:
    """Show an error in the panel, or take the shown one away."""
    current_session().error = error
    show_session()


def show_sampling(progress: SampleProgress | None) -> None:
    """Show how far sampling is; None = it does not run."""
    state = runtime_state()
    state.is_sampling = progress is not None
    if progress is not None:
        state.sampling_factor = progress.done / max(progress.total, 1)
        state.sampling_text = f"Sampling frame {progress.done} of {progress.total}"
    redraw_panels()


def redraw_panels() -> None:
    """Redraw the sidebars that show FlexTraj."""
    for window in open_windows():
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                for region in area.regions:
                    if region.type == "UI":
                        region.tag_redraw()


def _tick() -> float | None:
    return poll_once()


def _notify(message: str) -> None:
    windows = open_windows()
    if bpy.app.background or not windows:
        return
    with bpy.context.temp_override(window=windows[0]):
        bpy.ops.flextraj.notify("INVOKE_DEFAULT", message=message)  # pyright: ignore[reportAttributeAccessIssue]


def register() -> None:
    global _session
    _session = Session(ManagedBackend())


def unregister() -> None:
    global _session
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    if _session is not None:
        _session.close()
        _session = None
