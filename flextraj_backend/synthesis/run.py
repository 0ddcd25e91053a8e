"""Makes a data set: workers make clips, this process stores them and reports."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.synthesis.clip_maker import ClipWorker, FailedClip, WorkerGoneError, WorkerLauncher
from flextraj_backend.synthesis.dataset_folder import DatasetFolder
from flextraj_backend.synthesis.plan import clip_key
from flextraj_backend.synthesis.shards import PackedClip

_ATTEMPTS = 2
_HOPELESS = 10
"""A run whose first clips all fail is stopped: something is wrong with more than a clip."""
_WAIT_SECONDS = 0.2


@dataclass(frozen=True)
class SynthesisProgress:
    """How far a run is.

    Attributes:
        done: clips of the data set that are finished, those of earlier runs included.
        failed: clips that could not be made in this run.
        clips: that were asked for.
        clips_per_minute: of this run since its first worker was ready; 0 before the first clip.
        eta_seconds: until the end at this rate, or None before the first clip.
    """

    done: int
    failed: int
    clips: int
    clips_per_minute: float
    eta_seconds: float | None


Report = Callable[[SynthesisProgress], None]


@dataclass(frozen=True)
class _Made:
    index: int
    clip: PackedClip | FailedClip


@dataclass(frozen=True)
class _Broken:
    """Workers cannot be started."""

    error: FlexTrajError


class _Crew:
    """Worker threads, one for each worker process; each takes the next number and delivers its clip."""

    def __init__(self, launcher: WorkerLauncher, indices: Sequence[int], size: int) -> None:
        self.results: queue.SimpleQueue[_Made | _Broken] = queue.SimpleQueue()
        self.started: float | None = None
        self._launcher = launcher
        self._indices: Iterator[int] = iter(indices)
        self._lock = threading.Lock()
        self._workers: set[ClipWorker] = set()
        self._is_dismissed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"clips {number}", daemon=True) for number in range(size)
        ]
        for thread in self._threads:
            thread.start()

    def dismiss(self) -> None:
        """End all workers, whatever they do."""
        with self._lock:
            self._is_dismissed = True
            workers = tuple(self._workers)
        for worker in workers:
            worker.close()

    def _work(self) -> None:
        try:
            worker = self._launch()
            while (index := self._next()) is not None:
                result, worker = self._make(worker, index)
                self.results.put(_Made(index, result))
            self._release(worker)
        except FlexTrajError as error:
            self.results.put(_Broken(error))
        except Exception as error:
            self.results.put(
                _Broken(FlexTrajError(f"The clip workers broke down ({error}).", ErrorCode.DEFECT))
            )

    def _make(self, worker: ClipWorker, index: int) -> tuple[PackedClip | FailedClip, ClipWorker]:
        """Make a clip, again where that fails, by a new worker where the old one is gone."""
        sentence = ""
        for _ in range(_ATTEMPTS):
            try:
                return worker.make(index), worker
            except WorkerGoneError as error:
                sentence = error.message
                self._release(worker)
                worker = self._launch()
            except FlexTrajError as error:
                sentence = error.message
        return FailedClip(clip_key(index), sentence), worker

    def _launch(self) -> ClipWorker:
        with self._lock:
            if self._is_dismissed:
                raise WorkerGoneError("The run is over.")
        worker = self._launcher.launch()
        with self._lock:
            self._workers.add(worker)
            is_late = self._is_dismissed
            self.started = self.started or time.monotonic()
        if is_late:
            self._release(worker)
            raise WorkerGoneError("The run is over.")
        return worker

    def _release(self, worker: ClipWorker) -> None:
        worker.close()
        with self._lock:
            self._workers.discard(worker)

    def _next(self) -> int | None:
        with self._lock:
            return None if self._is_dismissed else next(self._indices, None)


class StoppedError(FlexTrajError):
    """The run was stopped from outside; what is done is kept."""

    def __init__(self, done: int, clips: int) -> None:
        super().__init__(
            f"Stopped: {done} of {clips} clips are done and kept; run the same command again to go on.",
            ErrorCode.REQUEST,
        )


def make_dataset(
    folder: DatasetFolder, launcher: WorkerLauncher, workers: int, report: Report, stop: threading.Event
) -> SynthesisProgress:
    """Make the clips that a folder misses; the result does not depend on the number of workers.

    A clip that fails, or whose worker dies, is tried once more, then noted in the folder's failures.

    Args:
        folder: of the data set; it is not finished here.
        launcher: starts workers.
        workers: that make clips at the same time.
        report: called at the start and after each clip.
        stop: set from outside (a signal, the parent's end) to end the run; it may be a signal handler.

    Raises:
        StoppedError: `stop` was set.
        FlexTrajError: no worker can be started, the first clips all failed, or the disk is full.
    """
    missing = folder.missing()
    made = 0
    crew = _Crew(launcher, missing, min(workers, len(missing)))

    def progress() -> SynthesisProgress:
        seconds = 0.0 if crew.started is None else time.monotonic() - crew.started
        rate = made / seconds if made and seconds > 0 else 0.0
        left = len(missing) - made - len(folder.failures)
        return SynthesisProgress(
            folder.done, len(folder.failures), folder.clips, 60 * rate, left / rate if rate else None
        )

    try:
        report(progress())
        while made + len(folder.failures) < len(missing):
            if stop.is_set():
                raise StoppedError(folder.done, folder.clips)
            with contextlib.suppress(queue.Empty):
                result = crew.results.get(timeout=_WAIT_SECONDS)
                if isinstance(result, _Broken):
                    raise result.error
                if isinstance(result.clip, FailedClip):
                    folder.add_failure(result.index, result.clip)
                    _give_up_if_hopeless(folder, made)
                else:
                    folder.add(result.index, result.clip)
                    made += 1
                report(progress())
    finally:
        crew.dismiss()
        folder.note_failures()
    return progress()


def _give_up_if_hopeless(folder: DatasetFolder, made: int) -> None:
    # Where clips were made before, the failed ones are only the first that a resumed run tries again.
    if made == 0 and folder.done == 0 and len(folder.failures) >= _HOPELESS:
        first = min(folder.failures.values(), key=lambda failure: failure.key)
        raise FlexTrajError(
            f"The first {_HOPELESS} clips all failed; {first.key}: {first.sentence}", ErrorCode.DEFECT
        )
