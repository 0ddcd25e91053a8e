"""The worker thread that talks to the backend, so that Blender's main thread never waits for it.

Contract: the main thread calls `submit`, `cancel`, `retry` and the like, which only put a command into a
queue, and collects the reports with `drain`. The worker gets frozen messages and never touches bpy.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import traceback
from collections.abc import Callable
from functools import partial

from ..core.errors import ErrorCode, FlexTrajError
from ..core.trajectories import TrajectorySet
from .backend_link import BackendHandle, BackendLink, GiveUp
from .estimate_runner import EstimateRunner
from .estimates import EstimateQuestion, EstimateReport
from .fit_runner import FitOrder, FitReport, FitRunner
from .job_follower import JobFollower
from .job_records import JobRecords
from .job_reports import BlendFile, JobReport, JobStage, RenderOrder, Report, TroubleReport

_GONE = "The backend ended while this job ran: retry it."
_STOPPED = "The backend was stopped while this job ran: retry it."

_WORKER_SECONDS = 5.0
"""The worker looks up from a call of the backend within this time."""

_Command = Callable[[], None]


class JobRunner:
    """Runs render orders on one worker thread.

    Args:
        backend: starts and stops the backend.
        records: the job list on the disk.
        poll_seconds: how often a running job is asked for its progress.
    """

    def __init__(self, backend: BackendHandle, records: JobRecords, poll_seconds: float = 0.25) -> None:
        self._backend = backend
        self._poll_seconds = poll_seconds
        self._commands: queue.Queue[_Command] = queue.Queue()
        self._reports: queue.Queue[Report | FitReport | EstimateReport] = queue.Queue()
        self._closing = threading.Event()
        self._link = BackendLink(backend, self._reports.put)
        self._jobs = JobFollower(self._link, records, self._reports.put, self._closing.is_set)
        self._fits = FitRunner(self._link, self._reports.put, self._closing.is_set)
        self._estimates = EstimateRunner(self._link, self._reports.put)
        self._thread: threading.Thread | None = None

    # Main thread

    @property
    def has_work(self) -> bool:
        """Whether a job is under way, a command waits, or a report has not been collected."""
        is_busy = self._jobs.unfinished or self._fits.unfinished or self._commands.unfinished_tasks
        return bool(is_busy) or not self._reports.empty()

    def submit(self, order: RenderOrder, trajectories: TrajectorySet) -> None:
        """Queue a job; its reports carry `order.key`."""
        self._jobs.unfinished.add(order.key)
        self._reports.put(JobReport(order, JobStage.WAITING))
        self._send(partial(self._jobs.begin, order, trajectories))

    def cancel(self, key: str) -> None:
        """Ask a job to stop; it ends as CANCELLED unless it was faster."""
        if key in self._jobs.unfinished:
            self._jobs.cancelled.add(key)
            self._send(partial(self._jobs.cancel, key))

    def fit(self, order: FitOrder) -> None:
        """Have a motion placed on a photo; the report carries `order.key`."""
        self._fits.unfinished.add(order.key)
        self._send(partial(self._fits.begin, order))

    def cancel_fit(self, key: str) -> None:
        """Wait no longer for a fit; its report comes nevertheless."""
        if key in self._fits.unfinished:
            self._fits.cancelled.add(key)

    def retry(self, key: str) -> None:
        """Get the results of a job that did not end well: from the backend, or by rendering it again."""
        self._jobs.unfinished.add(key)
        self._send(partial(self._jobs.retry, key))

    def fetch_frames(self, key: str) -> None:
        """Get the pictures of a finished video as files."""
        self._jobs.unfinished.add(key)
        self._send(partial(self._jobs.fetch_frames, key))

    def find(self, file: BlendFile) -> None:
        """Report the jobs of a .blend file, and pick up those that had not ended."""
        self._send(partial(self._jobs.find, file))

    def adopt_unsaved(self, file: BlendFile) -> None:
        """Give the jobs of files that were never saved to this one, and report them."""
        self._send(partial(self._jobs.adopt_unsaved, file))

    def move(self, keys: frozenset[str], file: BlendFile) -> None:
        """These jobs belong to another file from now on."""
        self._send(partial(self._jobs.move, keys, file))

    def forget(self, key: str) -> None:
        """Take a job that has ended off the list; its files stay."""
        self._send(partial(self._jobs.forget, key))

    def estimate(self, question: EstimateQuestion) -> None:
        """Ask a running backend what a job would take; the report carries the question."""
        self._send(partial(self._estimates.ask, question))

    def start_backend(self) -> None:
        """Start the backend unless it runs."""
        self._send(self._start)

    def stop_backend(self) -> None:
        """Stop the backend; jobs under way are interrupted."""
        self._send(self._stop)

    def look_at_device(self) -> None:
        """Ask a running backend for its free memory."""
        self._send(self._link.look_at_device)

    def drain(self) -> list[Report | FitReport | EstimateReport]:
        """Return the reports that came since the last call, oldest first; never waits."""
        reports: list[Report | FitReport | EstimateReport] = []
        with contextlib.suppress(queue.Empty):
            while True:
                reports.append(self._reports.get_nowait())
        return reports

    def wait(self, timeout: float) -> list[Report | FitReport | EstimateReport]:
        """Like `drain`, but wait up to `timeout` seconds for the first report (headless runs and tests)."""
        try:
            first = self._reports.get(timeout=timeout)
        except queue.Empty:
            return []
        return [first, *self.drain()]

    def close(self, timeout: float = 0.3) -> None:
        """End the worker and the backend.

        Waits for `timeout` seconds at most. A backend that takes longer is stopped behind; were Blender to
        end meanwhile, the backend would notice that and end by itself.
        """
        self._closing.set()
        self._commands.put(lambda: None)
        ending = threading.Thread(target=self._end, name="FlexTraj end", daemon=True)
        ending.start()
        ending.join(timeout)

    def _end(self) -> None:
        if self._thread is not None:
            self._thread.join(_WORKER_SECONDS)
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
                self._do(self._watch)
                continue
            self._do(command)
            self._commands.task_done()

    def _do(self, command: _Command) -> None:
        try:
            command()
        except Exception as error:
            # A defect of ours must not end the thread: nothing would ever be rendered or told again.
            traceback.print_exc()
            sentence = f"The add-on made a mistake ({type(error).__name__}): report Blender's console."
            self._reports.put(TroubleReport("", sentence, ErrorCode.DEFECT))
            self._jobs.drop_strays(FlexTrajError(sentence, ErrorCode.DEFECT))

    def _watch(self) -> None:
        failure = self._link.find_failure()
        if failure is not None:
            self._jobs.interrupt_all(failure.message)
        elif self._link.service is None:
            # It was gone before, and did not start again for another job.
            self._jobs.interrupt_all(_GONE)
        self._jobs.follow_all()
        self._link.refresh()

    def _start(self) -> None:
        with contextlib.suppress(FlexTrajError, GiveUp):
            self._link.connect(self._closing.is_set)

    def _stop(self) -> None:
        self._link.stop()
        self._jobs.interrupt_all(_STOPPED)
