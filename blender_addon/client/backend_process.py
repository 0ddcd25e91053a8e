"""Starts, watches and stops the backend's process; only `stop()` blocks longer than a few milliseconds.

Three layers keep a backend from outliving its owner: `stop()`, `atexit` in the add-on, and the backend, which
exits when the process named by `--parent-pid` is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ..core.errors import ErrorCode
from ..core.version import PROTOCOL_VERSION
from .child_process import child_environment, end_process, launch
from .http_client import BackendClient, BackendError

TOKEN_VARIABLE = "FLEXTRAJ_TOKEN"
_MAX_READY_BYTES = 4096
_LOG_TAIL_BYTES = 16_384
_LOGS_KEPT = 5


class BackendPhase(StrEnum):
    """Where the process stands."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    FAILED = "failed"


@dataclass(frozen=True)
class BackendState:
    """What `BackendProcess.poll` found.

    Attributes:
        phase: see `BackendPhase`.
        url: the backend's address while it runs, else empty.
        version: the backend's package version while it runs, else empty.
        error: with FAILED, why and what to do, in one sentence.
        code: with FAILED, kind of failure, so that a panel can offer the matching fix.
    """

    phase: BackendPhase
    url: str = ""
    version: str = ""
    error: str = ""
    code: ErrorCode | None = None


class BackendProcess:
    """One backend of our own on this machine.

    Args:
        python: the backend's interpreter, see `find_backend_python`.
        folder: a folder of the add-on's own for the ready file and the log; made where missing.
        data_dir: where the backend keeps assets and jobs; None = the backend's own choice.
        start_timeout: seconds after which a silent start counts as failed.
        environment: variables added to the backend's environment.
        options: further options of `flextraj serve`.
    """

    def __init__(
        self,
        python: Path,
        folder: Path,
        data_dir: Path | None = None,
        start_timeout: float = 60.0,
        environment: dict[str, str] | None = None,
        options: tuple[str, ...] = (),
    ) -> None:
        # Absolute, because the backend starts in that folder.
        self._python, self._folder = python, folder.absolute()
        self._data_dir = None if data_dir is None else data_dir.absolute()
        self._start_timeout = start_timeout
        self._environment = environment or {}
        self._options = options
        self._token = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._ready_file: Path | None = None
        self._log_file = self._folder / self._own_name("backend", ".log")
        self._started = 0.0
        self._state = BackendState(BackendPhase.STOPPED)

    @property
    def log_file(self) -> Path:
        """The log of this start; those of a few earlier ones, also of other Blenders, lie beside it."""
        return self._log_file

    @property
    def token(self) -> str:
        """Bearer token of this start."""
        return self._token

    @property
    def pid(self) -> int | None:
        """Process id of what was started, None where nothing runs."""
        return None if self._process is None else self._process.pid

    def log_lines(self) -> tuple[str, ...]:
        """The last lines of the log, of 16 KiB at most."""
        with contextlib.suppress(OSError), self.log_file.open("rb") as file:
            file.seek(max(self.log_file.stat().st_size - _LOG_TAIL_BYTES, 0))
            text = file.read(_LOG_TAIL_BYTES).decode("utf-8", "replace")
            return tuple(line.strip() for line in text.splitlines())
        return ()

    def start(self) -> BackendState:
        """Start the backend unless it runs; return at once, `poll()` says when it is ready."""
        if self.poll().phase in (BackendPhase.STARTING, BackendPhase.RUNNING):
            return self._state
        self._token = secrets.token_urlsafe(32)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._discard_ready_file()
            self._ready_file = self._folder / self._own_name("ready", ".json")
            self._log_file = self._folder / self._own_name("backend", ".log")
            with self._log_file.open("xb") as log:
                self._prune_logs()
                self._process = self._spawn(self._ready_file, log.fileno())
        except OSError as error:
            return self._fail(
                f"The FlexTraj backend cannot be started with {self._python} ({error.strerror or error}): "
                "check the backend's Python in the preferences.",
                ErrorCode.BACKEND_MISSING,
            )
        self._started = time.monotonic()
        self._state = BackendState(BackendPhase.STARTING)
        return self._state

    def poll(self) -> BackendState:
        """Look at the process without waiting; call it from a timer."""
        if self._process is None:
            return self._state
        exit_code = self._process.poll()
        if exit_code is not None:
            self._process = None
            self._discard_ready_file()
            if self._state.phase is not BackendPhase.FAILED:
                self._fail(f"The FlexTraj backend stopped (exit code {exit_code}): {self._log_tail()}")
        elif self._state.phase is BackendPhase.STARTING:
            self._look_for_ready_file()
        return self._state

    def client(self, timeout: float = 10.0) -> BackendClient:
        """A client of the running backend. Raises BackendError where it does not run."""
        if self._state.phase is not BackendPhase.RUNNING:
            raise BackendError(self._state.error or "The FlexTraj backend does not run: start it first.")
        return BackendClient(self._state.url, self._token, timeout)

    def stop(self, patience: float = 5.0) -> None:
        """Stop the backend: ask, wait up to `patience` seconds, then kill. Blocks until it is gone."""
        process, self._process = self._process, None
        if process is not None:
            end_process(process, patience)
        self._discard_ready_file()
        self._state = BackendState(BackendPhase.STOPPED)

    def _spawn(self, ready_file: Path, log: int) -> subprocess.Popen[bytes]:
        command = [str(self._python), "-m", "flextraj_backend", "serve", "--port", "0"]
        command += ["--ready-file", str(ready_file), "--parent-pid", str(os.getpid())]
        if self._data_dir is not None:
            command += ["--data-dir", str(self._data_dir)]
        command += self._options
        # The token goes by the environment: everybody on the machine can read a command line.
        environment = child_environment() | self._environment | {TOKEN_VARIABLE: self._token}
        return launch(command, environment, self._folder, subprocess.DEVNULL, log, subprocess.STDOUT)

    def _look_for_ready_file(self) -> None:
        assert self._ready_file is not None
        try:
            with self._ready_file.open("rb") as file:
                ready = json.loads(file.read(_MAX_READY_BYTES))
            port, version, protocol = int(ready["port"]), str(ready["version"]), int(ready["protocol"])
        except FileNotFoundError:
            if time.monotonic() - self._started > self._start_timeout:
                self._kill()
                self._fail(
                    f"The FlexTraj backend did not start within {self._start_timeout:g} s: {self._log_tail()}"
                )
            return
        except (OSError, ValueError, KeyError, TypeError):
            self._kill()
            self._fail("The FlexTraj backend wrote a ready file that cannot be read: install it again.")
            return
        if protocol != PROTOCOL_VERSION:
            self._kill()
            self._fail(
                f"The FlexTraj backend {version} speaks protocol {protocol}, the add-on speaks "
                f"{PROTOCOL_VERSION}: update both to the same version.",
                ErrorCode.BACKEND_VERSION,
            )
            return
        # It has said what it had to; a Blender that ends in a hurry would leave it behind.
        self._discard_ready_file()
        self._state = BackendState(BackendPhase.RUNNING, f"http://127.0.0.1:{port}", version)

    def _kill(self) -> None:
        """Kill without waiting; a later `poll()` collects the exit code."""
        if self._process is not None:
            self._process.kill()

    def _fail(self, sentence: str, code: ErrorCode = ErrorCode.BACKEND) -> BackendState:
        self._state = BackendState(BackendPhase.FAILED, error=sentence, code=code)
        return self._state

    def _log_tail(self) -> str:
        """The last line that the backend wrote, which is its error sentence, and where the rest is."""
        last = next((line for line in reversed(self.log_lines()) if line), "it wrote nothing")
        return f"{last[:400].rstrip('.')}; see {self.log_file}."

    def _own_name(self, stem: str, suffix: str) -> str:
        """A name that no other Blender and no other start uses: they share the folder."""
        return f"{stem}-{os.getpid()}-{secrets.token_hex(4)}{suffix}"

    def _prune_logs(self) -> None:
        """Keep the newest logs. One that cannot be removed (Windows: a backend writes it) stays."""
        ages: list[tuple[float, Path]] = []
        for path in self._folder.glob("backend*.log"):
            with contextlib.suppress(OSError):
                ages.append((path.stat().st_mtime, path))
        others = sorted((item for item in ages if item[1] != self._log_file), reverse=True)
        for _, path in others[_LOGS_KEPT - 1 :]:
            with contextlib.suppress(OSError):
                path.unlink()

    def _discard_ready_file(self) -> None:
        if self._ready_file is not None:
            with contextlib.suppress(OSError):
                self._ready_file.unlink(missing_ok=True)
            self._ready_file = None
