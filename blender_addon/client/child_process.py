"""How programs of ours are started beside Blender, and how they are ended without Blender waiting."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

# Blender's (or a studio's) Python settings would make the backend import the wrong packages.
_PYTHON_SETTINGS = ("PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP")


def launch(
    command: Sequence[str], environment: dict[str, str], folder: Path, stdin: int, stdout: int, stderr: int
) -> subprocess.Popen[bytes]:
    """Start a program of ours without a terminal, in `folder`. Raises OSError."""
    return subprocess.Popen(
        command,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=environment,
        cwd=folder,
        # A session of its own: Ctrl-C in Blender's terminal is not for the child.
        start_new_session=True,
        creationflags=subprocess.CREATE_NO_WINDOW if sys.platform == "win32" else 0,
    )


def child_environment() -> dict[str, str]:
    """The environment for a program that runs with the backend's Python."""
    environment = {name: value for name, value in os.environ.items() if name not in _PYTHON_SETTINGS}
    return environment | {"PYTHONUNBUFFERED": "1"}


def end_process(process: subprocess.Popen[bytes], patience: float) -> None:
    """Ask a child to end, wait up to `patience` seconds, then kill it. Returns when it is gone."""
    process.terminate()
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        _kill_family(process)
        process.wait()


def _kill_family(process: subprocess.Popen[bytes]) -> None:
    """Kill a child of `launch`, with the processes that it started itself."""
    if sys.platform == "win32":
        process.kill()
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        # Only while the child is not reaped is the number of its session surely its own.
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
