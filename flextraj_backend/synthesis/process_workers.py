"""Clip workers as child processes of this machine, each with a Blender of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.synthesis.clip_maker import BLENDER_MAKER, ClipWorker, WorkerGoneError
from flextraj_backend.synthesis.plan import SynthesisSettings
from flextraj_backend.synthesis.record_json import to_json
from flextraj_backend.synthesis.shards import PackedClip

_REAP_SECONDS = 5.0
_MAX_CLIP_BYTES = 1 << 33


@dataclass(frozen=True)
class ProcessLauncher:
    """Starts workers that make the clips of `settings`.

    Attributes:
        settings: of the data set.
        log: file that takes what the workers print.
        maker: 'module:Class' of a ClipMaker.
        threads: that a worker's numerical libraries may use.
    """

    settings: SynthesisSettings
    log: Path
    maker: str = BLENDER_MAKER
    threads: int = 1

    def launch(self) -> ClipWorker:
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "flextraj_backend.synthesis.worker_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "OMP_NUM_THREADS": str(self.threads)},
                # Ctrl-C in the terminal is the run's affair, which ends its workers.
                start_new_session=True,
                creationflags=subprocess.CREATE_NO_WINDOW if sys.platform == "win32" else 0,
            )
        worker = ProcessWorker(process)
        answer = worker.begin({"maker": self.maker, "settings": to_json(self.settings)})
        if "refused" in answer:
            worker.close()
            raise FlexTrajError(answer["refused"], ErrorCode.BACKEND)
        return worker


class ProcessWorker:
    """One child process; `make` blocks on its answer."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._process = process
        self._stdin: IO[bytes] = process.stdin
        self._stdout: IO[bytes] = process.stdout

    def begin(self, order: dict[str, Any]) -> dict[str, Any]:
        """Send the order and wait until the worker is ready or refuses. Raises WorkerGoneError."""
        return self._ask(json.dumps(order))

    def make(self, index: int) -> PackedClip:
        answer = self._ask(str(index))
        if "sentence" in answer:
            raise FlexTrajError(answer["sentence"], ErrorCode.ENGINE)
        size = answer["size"]
        data = self._stdout.read(size) if 0 < size <= _MAX_CLIP_BYTES else b""
        if len(data) != size:
            raise self._gone()
        return PackedClip(answer["key"], answer["pair_group"], data)

    def close(self) -> None:
        # Killed, not asked: a renderer in the middle of a frame listens to nobody.
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_REAP_SECONDS)
        with contextlib.suppress(OSError):
            self._stdin.close()

    def _ask(self, line: str) -> dict[str, Any]:
        try:
            self._stdin.write(line.encode() + b"\n")
            self._stdin.flush()
            answer = self._stdout.readline()
        except (OSError, ValueError) as error:  # ValueError: closed meanwhile by another thread
            raise self._gone() from error
        if not answer.endswith(b"\n"):
            raise self._gone()
        return json.loads(answer)

    def _gone(self) -> WorkerGoneError:
        try:
            code = self._process.wait(_REAP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        return WorkerGoneError(_describe_exit(code))


def _describe_exit(code: int) -> str:
    if code == -getattr(signal, "SIGKILL", 9):
        return (
            "The worker process was killed, most likely because memory ran out: "
            "use a smaller size or fewer workers."
        )
    return f"The worker process ended without a result (exit code {code}): see workers.log in the folder."
