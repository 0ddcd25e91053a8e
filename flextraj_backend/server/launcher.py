"""Starts workers: the protocols that the scheduler knows, and the launcher for processes of this machine."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from typing import IO, Protocol

import psutil

from blender_addon.client.backend_process import TOKEN_VARIABLE
from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.server.job_folder import JobFolder
from flextraj_backend.server.worker_messages import WorkerMessage, decode

_REAP_SECONDS = 2.0
_WINDOWS_ACCESS_VIOLATION = 0xC0000005


class Worker(Protocol):
    """One running job."""

    def receive(self, timeout: float) -> WorkerMessage | None:
        """The next message, or None where none came within `timeout` seconds."""
        ...

    def death(self) -> FlexTrajError | None:
        """Why the worker is gone although no message said so; None while it lives."""
        ...

    def ask_to_stop(self) -> None:
        """Ask the worker to cancel; returns at once."""
        ...

    def close(self) -> None:
        """End the worker and everything that it started, whatever it does."""
        ...


class Launcher(Protocol):
    """Starts a worker for a job folder. Raises FlexTrajError or OSError."""

    def launch(self, folder: JobFolder) -> Worker: ...


class ProcessLauncher:
    """Each job in a child process of its own."""

    def launch(self, folder: JobFolder) -> Worker:
        # A worker has no use for the server's token.
        environment = {name: value for name, value in os.environ.items() if name != TOKEN_VARIABLE}
        with folder.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "flextraj_backend.server.worker", str(folder.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                # Ctrl-C in the server's terminal is the server's affair.
                start_new_session=True,
                creationflags=subprocess.CREATE_NO_WINDOW if sys.platform == "win32" else 0,
            )
        return ProcessWorker(process)


class ProcessWorker:
    """A worker process; a thread reads its messages."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._process = process
        self._stdin: IO[bytes] = process.stdin
        self._stdout: IO[bytes] = process.stdout
        self._messages: queue.SimpleQueue[WorkerMessage] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="worker messages", daemon=True)
        self._reader.start()

    def receive(self, timeout: float) -> WorkerMessage | None:
        try:
            return self._messages.get(timeout=timeout)
        except queue.Empty:
            return None

    def death(self) -> FlexTrajError | None:
        if self._process.poll() is None or self._reader.is_alive() or not self._messages.empty():
            return None
        return describe_exit(self._process.returncode)

    def ask_to_stop(self) -> None:
        with contextlib.suppress(OSError):
            self._stdin.write(b"cancel\n")
            self._stdin.flush()

    def close(self) -> None:
        deadline = time.monotonic() + _REAP_SECONDS
        family = [self._process.pid]
        with contextlib.suppress(psutil.Error):
            family += [child.pid for child in psutil.Process(self._process.pid).children(recursive=True)]
        for pid in reversed(family):
            with contextlib.suppress(psutil.Error):
                psutil.Process(pid).kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(deadline - time.monotonic(), 0))
        with contextlib.suppress(OSError):
            self._stdin.close()
        self._reader.join(_REAP_SECONDS)
        if not self._reader.is_alive():
            self._stdout.close()

    def _read(self) -> None:
        for line in self._stdout:
            message = decode(line)
            if message is not None:
                self._messages.put(message)


def describe_exit(exit_code: int) -> FlexTrajError:
    """What the end of a worker without a result means to the user."""
    if exit_code == -getattr(signal, "SIGKILL", 9):
        return FlexTrajError(
            "The job's process was killed, most likely because memory ran out: "
            "use fewer points, fewer frames or a smaller size.",
            ErrorCode.MEMORY,
        )
    if exit_code in (-signal.SIGSEGV, _WINDOWS_ACCESS_VIOLATION, -getattr(signal, "SIGABRT", 6)):
        return FlexTrajError(
            "The job's process crashed: see the job's log and report it, or try again with a smaller job.",
            ErrorCode.DEFECT,
        )
    return FlexTrajError(
        f"The job's process ended without a result (exit code {exit_code}): see the job's log.",
        ErrorCode.DEFECT,
    )
