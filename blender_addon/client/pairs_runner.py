"""Runs `flextraj synthesize` as a child process of the backend's Python, so that Blender never waits for it.

Contract: the main thread calls `start`, `cancel` and `look`, which return at once, and collects the reports
with `drain`. One thread reads what the child says, another what it complains about. No bpy here.

The child ends by itself when its standard input closes, which the system does for a Blender that is killed;
where it does not, it is killed with its own children.
"""

from __future__ import annotations

import contextlib
import queue
import subprocess
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from ..core.errors import ErrorCode, FlexTrajError
from ..core.synthesis_progress import MAX_LINE, SynthesisProgress, SynthesisState, read_progress
from ..core.training_pairs import PairsRequest
from .backend_location import INSTALL_COMMAND, find_backend_python
from .child_process import child_environment, end_process, launch
from .dataset_folder import FolderReport, check_folder, check_library, look_at_folder

_MODULE = "flextraj_backend"
_LOG_LINES = 60
_USER_ERROR = 2
_MAX_SENTENCE = 400

NOTHING_SAID = SynthesisProgress(SynthesisState.RUNNING)


class PairsStage(StrEnum):
    """Where the generation of pairs stands."""

    STARTING = "starting"
    RUNNING = "running"
    CANCELLING = "cancelling"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def is_finished(self) -> bool:
        return self in (PairsStage.DONE, PairsStage.CANCELLED, PairsStage.FAILED)


@dataclass(frozen=True)
class PairsOrder:
    """What is generated, as the main thread hands it over.

    Attributes:
        request: the set of pairs.
        python: the backend's interpreter by the preferences, may be empty.
    """

    request: PairsRequest
    python: str = ""


@dataclass(frozen=True)
class PairsReport:
    """How far it is.

    Attributes:
        order: what is generated.
        stage: where it stands.
        progress: the last that the child said.
        error: with FAILED, why.
        log: the last lines that the child wrote beside its progress.
    """

    order: PairsOrder
    stage: PairsStage
    progress: SynthesisProgress = NOTHING_SAID
    error: FlexTrajError | None = None
    log: tuple[str, ...] = ()


class PairsRunner:
    """Generates one set of training pairs at a time.

    Args:
        patience: seconds that a child has for its end after it was asked to, before it is killed.
    """

    def __init__(self, patience: float = 10.0) -> None:
        self._patience = patience
        self._reports: queue.Queue[PairsReport | FolderReport] = queue.Queue()
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._unwanted = threading.Event()
        self._threads: list[threading.Thread] = []
        self._is_running = False

    # Main thread

    @property
    def is_running(self) -> bool:
        """Whether pairs are being generated."""
        return self._is_running

    @property
    def has_work(self) -> bool:
        """Whether a report is still to come or to be collected."""
        return any(thread.is_alive() for thread in self._threads) or not self._reports.empty()

    @property
    def pid(self) -> int | None:
        """Process id of the child, None where none runs."""
        with self._lock:
            return None if self._child is None else self._child.pid

    def start(self, order: PairsOrder) -> None:
        """Begin to generate; not while `is_running`."""
        assert not self._is_running, "one set of pairs at a time"
        self._is_running = True
        self._unwanted.clear()
        self._reports.put(PairsReport(order, PairsStage.STARTING))
        self._begin("FlexTraj pairs", lambda: self._run(order))

    def cancel(self) -> None:
        """Ask for the end of the generation; finished clips stay."""
        if self._is_running and not self._unwanted.is_set():
            self._unwanted.set()
            self._begin("FlexTraj end of pairs", self._end_child)

    def look(self, folder: Path) -> None:
        """Find out what lies in a folder; the report names it."""
        self._begin("FlexTraj folder", lambda: self._reports.put(look_at_folder(folder)))

    def drain(self) -> list[PairsReport | FolderReport]:
        """Return the reports that came since the last call, oldest first; never waits."""
        reports: list[PairsReport | FolderReport] = []
        with contextlib.suppress(queue.Empty):
            while True:
                reports.append(self._reports.get_nowait())
        return reports

    def wait(self, timeout: float) -> list[PairsReport | FolderReport]:
        """Like `drain`, but wait up to `timeout` seconds for the first report (headless runs and tests)."""
        try:
            first = self._reports.get(timeout=timeout)
        except queue.Empty:
            return []
        return [first, *self.drain()]

    def close(self, timeout: float = 0.3) -> None:
        """End the child. Waits for `timeout` seconds at most; a child that takes longer is ended behind."""
        self.cancel()
        until = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0.0))

    def _begin(self, name: str, work: Callable[[], None]) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        # A daemon: were Blender to crash in its own shutdown, it must not keep the process alive.
        self._threads.append(threading.Thread(target=work, name=name, daemon=True))
        self._threads[-1].start()

    # Threads

    def _run(self, order: PairsOrder) -> None:
        try:
            report = self._generate(order)
        except FlexTrajError as error:
            report = PairsReport(order, PairsStage.FAILED, error=error)
        except Exception as error:
            # A defect of ours must not leave the button greyed for ever.
            traceback.print_exc()
            sentence = f"The add-on made a mistake ({type(error).__name__}): report Blender's console."
            report = PairsReport(order, PairsStage.FAILED, error=FlexTrajError(sentence, ErrorCode.DEFECT))
        self._is_running = False
        self._reports.put(report)
        self._reports.put(look_at_folder(order.request.folder))

    def _generate(self, order: PairsOrder) -> PairsReport:
        """Start the child and follow it to its end. Raises FlexTrajError where it cannot be started."""
        check_folder(order.request.folder)
        check_library(order.request.library)
        child = self._spawn(find_backend_python(order.python), order.request)
        with self._lock:
            self._child = child
        log: deque[str] = deque(maxlen=_LOG_LINES)
        complaints = threading.Thread(
            target=_read_complaints, args=(child, log), name="FlexTraj log of pairs", daemon=True
        )
        complaints.start()
        try:
            if self._unwanted.is_set():  # cancelled before there was a child to be told
                self._end_child()
            report = self._follow(child, PairsReport(order, PairsStage.STARTING))
            exit_code = child.wait()
        finally:
            with self._lock:
                self._child = None
            with contextlib.suppress(OSError):
                self._close_input(child)
            # Its own children may hold the pipe a little longer.
            complaints.join(1.0)
        return self._conclude(replace(report, log=tuple(log)), exit_code)

    def _spawn(self, python: Path, request: PairsRequest) -> subprocess.Popen[bytes]:
        try:
            return launch(
                [str(python), "-m", _MODULE, "synthesize", *request.arguments()],
                child_environment(),
                # Not where Blender was started: `-m` imports from there.
                request.folder.parent,
                subprocess.PIPE,
                subprocess.PIPE,
                subprocess.PIPE,
            )
        except OSError as error:
            raise FlexTrajError(
                f"The FlexTraj backend cannot be started with {python} ({error.strerror or error}): "
                "check the backend's Python in the preferences.",
                ErrorCode.BACKEND_MISSING,
            ) from None

    def _follow(self, child: subprocess.Popen[bytes], report: PairsReport) -> PairsReport:
        """Tell each line of progress until the child says no more; return the last."""
        assert child.stdout is not None
        with child.stdout as lines:
            while line := lines.readline(MAX_LINE + 1):
                progress = read_progress(line)
                if progress is None:
                    continue
                stage = PairsStage.CANCELLING if self._unwanted.is_set() else PairsStage.RUNNING
                report = replace(report, stage=stage, progress=progress)
                if progress.state is SynthesisState.RUNNING:
                    self._reports.put(report)
        return report

    def _conclude(self, report: PairsReport, exit_code: int) -> PairsReport:
        if report.progress.is_complete:
            return replace(report, stage=PairsStage.DONE)
        if self._unwanted.is_set() or report.progress.state is SynthesisState.DONE:
            return replace(report, stage=PairsStage.CANCELLED)
        return replace(report, stage=PairsStage.FAILED, error=_error_of(report, exit_code))

    def _end_child(self) -> None:
        """Ask the child to end by closing its input, then kill it where it does not."""
        with self._lock:
            child = self._child
        if child is None:
            return
        with contextlib.suppress(OSError):
            self._close_input(child)
        try:
            child.wait(self._patience)
        except subprocess.TimeoutExpired:
            end_process(child, self._patience / 2)

    def _close_input(self, child: subprocess.Popen[bytes]) -> None:
        assert child.stdin is not None
        child.stdin.close()


def _read_complaints(child: subprocess.Popen[bytes], log: deque[str]) -> None:
    assert child.stderr is not None
    with child.stderr as lines:
        while line := lines.readline(MAX_LINE):
            if text := line.decode("utf-8", "replace").strip():
                log.append(text)


def _error_of(report: PairsReport, exit_code: int) -> FlexTrajError:
    """Why a child that was not cancelled has not finished the dataset."""
    progress = report.progress
    if progress.state is SynthesisState.ERROR and progress.message:
        return FlexTrajError(progress.message, progress.code or ErrorCode.REQUEST)
    if any(f"No module named {_MODULE}" in line or f"named '{_MODULE}'" in line for line in report.log):
        return FlexTrajError(
            f"The backend's Python has no FlexTraj: run '{INSTALL_COMMAND}' in the FlexTraj folder.",
            ErrorCode.BACKEND_MISSING,
        )
    if any("No such command" in line for line in report.log):
        return FlexTrajError(
            "The FlexTraj backend is too old for training pairs: update it to the add-on's version.",
            ErrorCode.BACKEND_VERSION,
        )
    last = (report.log[-1] if report.log else "it wrote nothing")[:_MAX_SENTENCE].rstrip(".")
    if exit_code == _USER_ERROR:
        sentence = last.removeprefix("flextraj: ").removeprefix("Error: ")
        return FlexTrajError(f"{sentence}.", ErrorCode.REQUEST)
    return FlexTrajError(
        f"The generation of pairs stopped (exit code {exit_code}): {last}.", ErrorCode.DEFECT
    )
