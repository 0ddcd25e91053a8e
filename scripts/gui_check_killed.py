"""Kill Blender, or disable the add-on, while `flextraj synthesize` makes training pairs: no process may stay.

    python scripts/gui_check_killed.py

Needs the `bpy` package and the backend in the interpreter that runs it; no window. The real command with its
real worker processes runs, so this takes a minute.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import psutil

REPOSITORY = Path(__file__).resolve().parent.parent
LIMIT_SECONDS = 10.0
"""Within this time every process of the command must be gone."""
_PATIENCE = 240


class End(Enum):
    """How the Blender that started the command ends."""

    KILLED = "Blender killed"
    DISABLED = "add-on disabled"


_BLENDER = """
import json, sys, time
import bpy, blender_addon
from blender_addon.bridge.pairs_request import read_pairs_request
from blender_addon.client.pairs_runner import PairsOrder
from blender_addon.session import current_session, poll_once

folder, is_disabled = sys.argv[1], sys.argv[2] == "DISABLED"
blender_addon.register()
training = bpy.context.scene.flextraj.training
training.folder, training.clips, training.characters, training.processes = folder, 50, 3, 2
training.width, training.height, training.frames, training.points = 72, 48, 9, 64
pairs = current_session().pairs
pairs.start(PairsOrder(read_pairs_request(training), sys.executable))
while not pairs.report.progress.done:
    poll_once()
    if pairs.report.error:
        sys.exit(pairs.report.error.message)
    time.sleep(0.05)
print(json.dumps({"pid": pairs.runner.pid}), flush=True)
sys.stdin.readline()
started = time.monotonic()
blender_addon.unregister()
print(json.dumps({"seconds": time.monotonic() - started}), flush=True)
sys.stdin.readline()
"""


def seconds_until_gone(end: End, folder: Path) -> float:
    """End Blender while the command runs; return how long its last process stayed.

    Raises:
        RuntimeError: a process stayed, or something half-written is among the clips.
    """
    environment = {**os.environ, "BLENDER_USER_RESOURCES": str(folder / "user")}
    blender = subprocess.Popen(
        [sys.executable, "-c", _BLENDER, str(folder / "pairs"), end.name],
        cwd=REPOSITORY,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    family: list[psutil.Process] = []
    try:
        command = psutil.Process(_answer(blender)["pid"])
        family = [command, *command.children(recursive=True)]
        started = time.monotonic()
        if end is End.KILLED:
            blender.kill()
        else:
            _tell(blender)
            print(f"{end.value}: unregistering took {_answer(blender)['seconds']:.2f} s")
        _, left = psutil.wait_procs(family, LIMIT_SECONDS)
        seconds = time.monotonic() - started
        if left:
            raise RuntimeError(f"{end.value}: {left} outlived it by {LIMIT_SECONDS:g} s.")
        half_written = [
            path.name for path in (folder / "pairs" / "shards").glob("*") if path.suffix != ".tar"
        ]
        if half_written:
            raise RuntimeError(f"{end.value}: {half_written} among the shards is half-written.")
        print(f"{end.value}: {len(family)} processes gone after {seconds:.2f} s")
        return seconds
    finally:
        for process in [*family, psutil.Process(blender.pid)]:
            if process.is_running():
                process.kill()
        blender.communicate()


def _answer(blender: subprocess.Popen[str]) -> dict[str, Any]:
    """The next line of JSON that Blender prints. Raises RuntimeError where it ends instead."""
    assert blender.stdout is not None
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        line = blender.stdout.readline()
        if not line:
            raise RuntimeError(f"Blender ended with exit code {blender.wait()} before a clip was made.")
        if line.startswith("{"):
            return json.loads(line)
    raise RuntimeError(f"Blender did not answer within {_PATIENCE} s.")


def _tell(blender: subprocess.Popen[str]) -> None:
    assert blender.stdin is not None
    blender.stdin.write("\n")
    blender.stdin.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line. Returns the exit code: 0, or 2 with the reason on stderr."""
    parser = argparse.ArgumentParser(
        description="Kill Blender while it makes training pairs: nothing may stay."
    )
    parser.parse_args(arguments)
    try:
        for end in End:
            with tempfile.TemporaryDirectory(prefix="flextraj-killed-") as folder:
                seconds_until_gone(end, Path(folder))
    except RuntimeError as error:
        print(f"gui_check_killed: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
