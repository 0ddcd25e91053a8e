"""Runs each job on a Ray cluster; inputs, messages and results travel as bytes, so no shared disk is needed.

Every node needs this program in the same version. A Ray cluster trusts everybody who can reach it, so use it
within a network of your own only.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import tempfile
import threading
from collections import deque
from pathlib import Path
from typing import Any

from blender_addon.client.messages import ResultKind
from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.version import package_version
from flextraj_backend.atomic_file import write_bytes
from flextraj_backend.installation import install_command
from flextraj_backend.server.job_folder import JobFolder
from flextraj_backend.server.launcher import Worker
from flextraj_backend.server.worker import run_job
from flextraj_backend.server.worker_messages import (
    Failed,
    Stopped,
    Succeeded,
    WorkerMessage,
    decode,
    encode,
)

_ENDS = (Succeeded, Failed, Stopped)
_KNOCK_SECONDS = 5.0
_CALLS_AT_ONCE = 4
"""A job's actor answers polls and a cancel while it renders."""


class RayError(FlexTrajError):
    """The cluster cannot be used; the sentence says what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(message, ErrorCode.BACKEND)


class RemoteJob:
    """The actor of one job, in a process of its own on some node."""

    def __init__(self) -> None:
        self._messages: deque[bytes] = deque()
        self._cancelled = threading.Event()

    def run(self, version: str, files: dict[str, bytes]) -> tuple[dict[str, bytes], bytes]:
        """Render from the input files; return the results by file name, and the last message.

        Args:
            version: of the server's program.
            files: paths within the job folder -> content.
        """
        if version != package_version():
            sentence = (
                f"A node of the Ray cluster has FlexTraj {package_version()}, the server has {version}: "
                "install the same version everywhere."
            )
            return {}, encode(Failed(sentence, ErrorCode.BACKEND_VERSION))
        with tempfile.TemporaryDirectory(prefix="flextraj-") as name:
            folder = JobFolder(Path(name))
            for relative, content in files.items():
                path = folder.path / relative
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            end: list[WorkerMessage] = []

            def send(message: WorkerMessage) -> None:
                if isinstance(message, _ENDS):
                    end.append(message)
                else:
                    self._messages.append(encode(message))

            with (
                folder.log.open("w", encoding="utf-8") as log,
                contextlib.redirect_stdout(log),
                contextlib.redirect_stderr(log),
            ):
                run_job(folder, send, self._cancelled.is_set)
            made = (*map(folder.result, ResultKind), folder.log)
            return {path.name: path.read_bytes() for path in made if path.is_file()}, encode(end[-1])

    def messages(self) -> list[bytes]:
        """The messages since the last call."""
        taken: list[bytes] = []
        while self._messages:
            taken.append(self._messages.popleft())
        return taken

    def cancel(self) -> None:
        """Ask the job to stop."""
        self._cancelled.set()


class RayLauncher:
    """Connects to a cluster and starts each job there.

    Args:
        address: as in `ray.init`: 'auto', 'host:6379', 'ray://host:10001', or 'local' for this machine alone.

    Raises:
        RayError: Ray is not installed or the cluster does not answer.
    """

    def __init__(self, address: str) -> None:
        self._ray = connect(address)
        self._has_gpus = self._ray.cluster_resources().get("GPU", 0) >= 1

    def launch(self, folder: JobFolder) -> Worker:
        files = {
            path.relative_to(folder.path).as_posix(): path.read_bytes()
            for path in (folder.request, *folder.inputs.iterdir())
        }
        actor_class = self._ray.remote(RemoteJob).options(
            num_cpus=1, num_gpus=1 if self._has_gpus else 0, max_concurrency=_CALLS_AT_ONCE, max_restarts=0
        )
        actor = actor_class.remote()
        return RayWorker(self._ray, actor, actor.run.remote(package_version(), files), folder)


class RayWorker:
    """One job on the cluster, as the scheduler sees it."""

    def __init__(self, ray: Any, actor: Any, result: Any, folder: JobFolder) -> None:
        self._ray, self._actor, self._result, self._folder = ray, actor, result, folder
        self._received: deque[WorkerMessage] = deque()
        self._poll: Any = None
        self._death: FlexTrajError | None = None

    def receive(self, timeout: float) -> WorkerMessage | None:
        if self._received:
            return self._received.popleft()
        if self._death is not None:
            return None
        try:
            done, _ = self._ray.wait([self._result], timeout=timeout)
            if done:
                return self._collect()
            self._take_messages()
        except self._ray.exceptions.RayError as error:
            self._death = _describe(error)
        return None

    def death(self) -> FlexTrajError | None:
        return self._death

    def ask_to_stop(self) -> None:
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._actor.cancel.remote()

    def close(self) -> None:
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.kill(self._actor)

    def _take_messages(self) -> None:
        # One question at a time: while the cluster is full the actor has not started and answers later.
        self._poll = self._poll or self._actor.messages.remote()
        done, _ = self._ray.wait([self._poll], timeout=0)
        if done:
            lines, self._poll = self._ray.get(self._poll), None
            self._received.extend(message for line in lines if (message := decode(line)) is not None)

    def _collect(self) -> WorkerMessage:
        """Write the results into the job folder; the last message is for the scheduler only then."""
        files, line = self._ray.get(self._result)
        folder = self._folder
        places = {path.name: path for path in (*map(folder.result, ResultKind), folder.log)}
        try:
            for name, content in files.items():
                write_bytes(places[name], content)
        except FlexTrajError as error:
            return Failed(error.message, error.code)
        return decode(line) or Failed(
            "The Ray cluster sent an answer that cannot be read: install the same version everywhere.",
            ErrorCode.BACKEND_VERSION,
        )


def connect(address: str, cpus: int | None = None) -> Any:
    """Connect this process to a cluster, unless it is; return the ray module.

    Args:
        address: as in `ray.init`: 'auto', 'host:6379', 'ray://host:10001', or 'local' for this machine alone.
        cpus: processors that a 'local' cluster gets; None = all.

    Raises:
        RayError: Ray is not installed or the cluster does not answer.
    """
    ray = _import_ray()
    if ray.is_initialized():
        return ray
    _knock(address)
    options: dict[str, Any] = {"include_dashboard": False, "num_cpus": cpus} if address == "local" else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level="error", **options)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise _no_answer(address, str(error).strip().partition("\n")[0].rstrip(".")) from error
    return ray


def _knock(address: str) -> None:
    """Try a 'host:port' address first: Ray itself would try for minutes. Raises RayError."""
    match = re.fullmatch(r"(?:ray://)?\[?([^/\]]+)\]?:(\d{1,5})", address)
    if match is None:
        return
    try:
        socket.create_connection((match[1], int(match[2])), _KNOCK_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _no_answer(address, getattr(error, "strerror", None) or str(error)) from error


def _no_answer(address: str, reason: str) -> RayError:
    return RayError(
        f"The Ray cluster '{address}' does not answer ({reason}): "
        "check the address, or start one with 'ray start --head'."
    )


def _describe(error: Exception) -> FlexTrajError:
    """Why a remote job ended without a result."""
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    if "memory" in str(error).lower():
        return FlexTrajError(
            "The job's process on the Ray cluster was killed because memory ran out: "
            "use fewer points, fewer frames or a smaller size.",
            ErrorCode.MEMORY,
        )
    if "ModuleNotFoundError" in str(error):
        return RayError("A node of the Ray cluster lacks FlexTraj: install the same version on every node.")
    reason = reason[:200].rstrip(".:")
    return RayError(f"The job's process on the Ray cluster ended without a result ({reason}): try again.")


def _import_ray() -> Any:
    # No report about this program's use leaves the machine.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise RayError(f"Ray is not installed here: run {install_command('ray')} and start again.") from error
    return ray
