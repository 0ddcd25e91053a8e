"""The backend that the add-on starts itself, as the worker thread sees it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import ErrorCode, FlexTrajError
from .backend_location import find_backend_python
from .backend_process import BackendPhase, BackendProcess
from .http_client import BackendClient

_LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class BackendSettings:
    """What the user chose.

    Attributes:
        python: path of the backend's interpreter; empty = found by `find_backend_python`.
        folder: the add-on's own folder for log and ready file.
        data_folder: where the backend keeps its jobs; None = the backend's own choice.
        keep_days, keep_gib: how long and how much it keeps, 0 = without end.
    """

    python: str
    folder: Path
    data_folder: Path | None = None
    keep_days: int = 30
    keep_gib: int = 20


class ManagedBackend:
    """Starts a backend process on demand. `configure` belongs to the main thread, the rest to the worker."""

    def __init__(self) -> None:
        self._settings: BackendSettings | None = None
        self._process: BackendProcess | None = None
        self._last_process: BackendProcess | None = None

    def configure(self, settings: BackendSettings) -> None:
        """Use these settings from the next start on."""
        self._settings = settings

    def connect(self, give_up: Callable[[], bool]) -> BackendClient:
        """Start the backend unless it runs and wait until it answers; `give_up` is asked all the while.

        Raises:
            FlexTrajError: no backend is installed, it does not start, or `give_up()` turned True.
        """
        process = self._process
        if process is None or process.poll().phase is not BackendPhase.RUNNING:
            process = self._launch(give_up)
        client = process.client()
        client.health()
        return client

    def failure(self) -> FlexTrajError | None:
        """Why the backend is gone, None while it runs."""
        if self._process is None:
            return FlexTrajError("The FlexTraj backend does not run: start it first.", ErrorCode.BACKEND)
        state = self._process.poll()
        if state.phase is BackendPhase.RUNNING:
            return None
        sentence = state.error or "The FlexTraj backend does not run: start it first."
        return FlexTrajError(sentence, state.code or ErrorCode.BACKEND)

    def log_lines(self) -> tuple[str, ...]:
        """The last lines that the backend wrote, also after its end."""
        return () if self._last_process is None else self._last_process.log_lines()

    def stop(self) -> None:
        """Stop the backend if it runs; returns when it is gone."""
        process, self._process = self._process, None
        if process is not None:
            process.stop()

    def _launch(self, give_up: Callable[[], bool]) -> BackendProcess:
        settings = self._settings
        assert settings is not None, "configure() comes before connect()"
        self.stop()
        process = BackendProcess(
            find_backend_python(settings.python),
            settings.folder,
            data_dir=settings.data_folder,
            options=("--keep-days", str(settings.keep_days), "--keep-gib", str(settings.keep_gib)),
        )
        self._process = self._last_process = process
        state = process.start()
        while state.phase is BackendPhase.STARTING:
            if give_up():
                self.stop()
                raise FlexTrajError("The start of the backend was cancelled.", ErrorCode.BACKEND)
            time.sleep(_LOOK_SECONDS)
            state = process.poll()
        if state.phase is not BackendPhase.RUNNING:
            raise FlexTrajError(state.error, state.code or ErrorCode.BACKEND)
        return process
