"""Runs the queued jobs, by default one at a time: a GPU and its memory are for one job."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from blender_addon.client.messages import JobState
from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.server.eta import EtaEstimator
from flextraj_backend.server.job_folder import JobFolder
from flextraj_backend.server.job_store import INTERRUPTED, JobStore
from flextraj_backend.server.launcher import Launcher, Worker
from flextraj_backend.server.worker_messages import Advanced, Estimated, Failed, Stopped, Succeeded

_LISTEN_SECONDS = 0.1
_IDLE_SECONDS = 1.0
_STORE_RETRY_SECONDS = 1.0
STOP_GRACE_SECONDS = 0.8
"""After this long, a worker that was asked to stop is killed."""

_log = logging.getLogger("flextraj.scheduler")


@dataclass(frozen=True)
class _End:
    """How a job ended."""

    state: JobState
    error: FlexTrajError | None = None
    label: str = ""
    warnings: tuple[str, ...] = ()


class Scheduler:
    """Claims jobs from the store and follows their workers.

    Args:
        jobs_folder: has one folder a job.
        worker_count: jobs that run at the same time.
    """

    def __init__(self, store: JobStore, jobs_folder: Path, launcher: Launcher, worker_count: int = 1) -> None:
        self._store, self._jobs_folder, self._launcher = store, jobs_folder, launcher
        self._stopping = threading.Event()
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"job runner {number}", daemon=True)
            for number in range(worker_count)
        ]

    def start(self) -> None:
        """Start to run jobs."""
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """There may be a new job: look now."""
        self._bell.put(None)

    def stop(self) -> None:
        """Stop; running jobs become interrupted, queued ones stay queued."""
        self._stopping.set()
        for _ in self._threads:
            self.wake()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                job_id = self._store.claim_next()
            except FlexTrajError as error:
                _log.error("%s", error.message)
                self._stopping.wait(_STORE_RETRY_SECONDS)
                continue
            if job_id is None:
                with contextlib.suppress(queue.Empty):
                    self._bell.get(timeout=_IDLE_SECONDS)
            else:
                self._run(job_id)

    def _run(self, job_id: str) -> None:
        folder = JobFolder(self._jobs_folder / job_id)
        try:
            folder.discard_outputs()
            worker = self._launcher.launch(folder)
        except FlexTrajError as error:
            self._finish(job_id, folder, _End(JobState.FAILED, error))
            return
        except OSError as error:
            sentence = f"The job's process cannot be started ({error.strerror or error}): try again."
            self._finish(job_id, folder, _End(JobState.FAILED, FlexTrajError(sentence, ErrorCode.BACKEND)))
            return
        except Exception as error:
            # No memory, no thread, Ray's own errors: what ends this job must not end all jobs to come.
            _log.exception("Job %s", job_id)
            sentence = f"The job cannot be started ({type(error).__name__}: {error}): try again."
            self._finish(job_id, folder, _End(JobState.FAILED, FlexTrajError(sentence, ErrorCode.BACKEND)))
            return
        try:
            end = self._follow(job_id, worker)
        except Exception as error:
            # A defect of ours must end this job, not all jobs to come.
            _log.exception("Job %s", job_id)
            sentence = f"The backend made a mistake ({type(error).__name__}): report it."
            end = _End(JobState.FAILED, FlexTrajError(sentence, ErrorCode.DEFECT))
        finally:
            worker.close()
        self._finish(job_id, folder, end)

    def _follow(self, job_id: str, worker: Worker) -> _End:
        """Listen to a worker until it ends, is cancelled or the server stops."""
        eta = EtaEstimator()
        asked_at: float | None = None
        while True:
            match worker.receive(_LISTEN_SECONDS):
                case Estimated(seconds):
                    eta.expect(seconds)
                case Advanced(phase, step, steps):
                    with contextlib.suppress(FlexTrajError):
                        # Progress is not worth a job: the store may be writable again later.
                        self._store.record_progress(
                            job_id, phase, step, steps, eta.advance(phase, step, steps)
                        )
                case Succeeded(label, warnings):
                    return _End(JobState.SUCCEEDED, None, label, warnings)
                case Failed(message, code):
                    return _End(JobState.FAILED, FlexTrajError(message, code))
                case Stopped():
                    return _End(JobState.INTERRUPTED, INTERRUPTED)
                case None:
                    if (death := worker.death()) is not None:
                        if self._stopping.is_set():
                            return _End(JobState.INTERRUPTED, INTERRUPTED)
                        return _End(JobState.FAILED, death)
            if asked_at is None:
                if self._stopping.is_set() or self._is_cancelling(job_id):
                    worker.ask_to_stop()
                    asked_at = time.monotonic()
            elif time.monotonic() - asked_at > STOP_GRACE_SECONDS:
                return _End(JobState.INTERRUPTED, INTERRUPTED)

    def _is_cancelling(self, job_id: str) -> bool:
        try:
            return self._store.is_cancelling(job_id)
        except FlexTrajError:
            return False

    def _finish(self, job_id: str, folder: JobFolder, end: _End) -> None:
        results = folder.results() if end.state is JobState.SUCCEEDED else ()
        while True:
            try:
                status = self._store.finish(job_id, end.state, end.error, end.label, end.warnings, results)
                break
            except FlexTrajError as error:
                # On a full disk the end of a job waits for room; the next start would call it interrupted.
                _log.error("%s", error.message)
                if self._stopping.wait(_STORE_RETRY_SECONDS):
                    return
        if status.state is not JobState.SUCCEEDED:
            with contextlib.suppress(OSError):
                folder.discard_outputs()
        try:
            folder.write_status(status)
        except FlexTrajError as error:
            _log.error("%s", error.message)
