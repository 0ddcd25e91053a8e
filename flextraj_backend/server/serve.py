"""Runs the server: data folder, socket, ready file, parent watch."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import platformdirs
import psutil
import uvicorn

from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.version import PROTOCOL_VERSION, package_version
from flextraj_backend.atomic_file import write_text
from flextraj_backend.server.app import Services, create_app
from flextraj_backend.server.asset_store import DEFAULT_LIMIT, AssetStore
from flextraj_backend.server.auth import HostRule
from flextraj_backend.server.device import DeviceWatch
from flextraj_backend.server.job_store import JobStore, Owner
from flextraj_backend.server.launcher import Launcher
from flextraj_backend.server.pruning import KeepRule, Pruner
from flextraj_backend.server.scheduler import Scheduler

_WATCH_SECONDS = 0.5
_LAST_RESORT_SECONDS = 10.0
_OPEN_CONNECTIONS_SECONDS = 1


@dataclass(frozen=True)
class ServerSettings:
    """How a server runs.

    Attributes:
        token: bearer token of every call.
        data_dir: assets, jobs and their list.
        host, port: where to listen; port 0 = the system chooses.
        ready_file: written when the server answers, removed when it stops.
        parent_pid: the server ends when this process is gone.
        asset_limit: most bytes of an upload.
        worker_count: jobs that run at the same time.
        keep: how long and how much the data folder keeps.
    """

    token: str
    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 0
    ready_file: Path | None = None
    parent_pid: int | None = None
    asset_limit: int = DEFAULT_LIMIT
    worker_count: int = 1
    keep: KeepRule = field(default_factory=KeepRule)


def default_data_dir() -> Path:
    """The user's data folder of FlexTraj, by the operating system's custom."""
    return Path(platformdirs.user_data_dir("flextraj", appauthor=False))


def serve(settings: ServerSettings, launcher: Launcher) -> None:
    """Serve until stopped by a signal or by the end of the parent.

    Raises:
        FlexTrajError: the port is taken, the data folder cannot be used, or the parent is gone already.
    """
    if settings.ready_file is not None and not settings.ready_file.absolute().parent.is_dir():
        raise FlexTrajError(
            f"There is no folder {settings.ready_file.absolute().parent} for --ready-file: make it first.",
            ErrorCode.DISK,
        )
    services = _open_services(settings, launcher)
    with _listen(settings.host, settings.port) as listener:
        port = listener.getsockname()[1]

        def announce() -> None:
            url = f"http://{settings.host}:{port}"
            print(f"FlexTraj backend {package_version()} listens on {url}", flush=True)
            if settings.ready_file is not None:
                _write_ready_file(settings.ready_file, port)

        app = create_app(services, settings.token, HostRule(settings.host), announce)
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                ws="none",
                timeout_graceful_shutdown=_OPEN_CONNECTIONS_SECONDS,
            )
        )
        if settings.parent_pid is not None:
            _watch_parent(settings.parent_pid, server)
        # After its own clean end uvicorn raises the signal again: it must not skip what is left to do here.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        try:
            server.run(sockets=[listener])
        finally:
            if settings.ready_file is not None:
                settings.ready_file.unlink(missing_ok=True)


def _open_services(settings: ServerSettings, launcher: Launcher) -> Services:
    jobs_folder = settings.data_dir / "jobs"
    try:
        jobs_folder.mkdir(parents=True, exist_ok=True)
        assets = AssetStore(settings.data_dir / "assets", settings.asset_limit)
    except OSError as error:
        raise FlexTrajError(
            f"The data folder {settings.data_dir} cannot be used ({error.strerror or error}): "
            "choose another with --data-dir.",
            ErrorCode.DISK,
        ) from error
    store = JobStore(settings.data_dir / "jobs.sqlite", Owner.this_process())
    return Services(
        store,
        assets,
        Scheduler(store, jobs_folder, launcher, settings.worker_count),
        jobs_folder,
        Pruner(store, assets, jobs_folder, settings.keep),
        DeviceWatch(),
    )


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            if os.name != "nt":
                # On Windows this option would let two servers share a port.
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen(128)
        except BaseException:
            listener.close()
            raise
        return listener
    except OSError as error:
        raise FlexTrajError(
            f"The backend cannot listen on {host} port {port} ({error.strerror or error}): "
            "use --port 0, or check whether a firewall or antivirus program forbids it.",
            ErrorCode.BACKEND,
        ) from error


def _write_ready_file(path: Path, port: int) -> None:
    ready = {
        "port": port,
        "pid": os.getpid(),
        "version": package_version(),
        "protocol": PROTOCOL_VERSION,
    }
    write_text(path, json.dumps(ready) + "\n")


def _watch_parent(pid: int, server: uvicorn.Server) -> None:
    """End the server soon after process `pid` has ended, whether it said goodbye or was killed."""
    try:
        parent = psutil.Process(pid)
    except psutil.Error as error:
        raise FlexTrajError(
            f"The process {pid} that the backend should work for is gone: start the backend again.",
            ErrorCode.BACKEND,
        ) from error

    def watch() -> None:
        while _is_alive(parent):
            time.sleep(_WATCH_SECONDS)
        server.should_exit = True
        time.sleep(_LAST_RESORT_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="parent watch", daemon=True).start()


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
