"""A real server in a process of its own, and waiting for what it does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tiny_shot

from blender_addon.client.http_client import BackendClient
from blender_addon.client.messages import JobState, JobStatus
from blender_addon.core.request import RenderRequest

REPOSITORY = Path(__file__).resolve().parents[2]
FAKE_ENGINES = Path(__file__).resolve().parent / "fake_engines"
TOKEN = "a-token-that-only-the-tests-know"
PATIENCE = 30.0


def wait_until(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Return the first true result of `condition`."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if result := condition():
            return result
        time.sleep(0.02)
    raise AssertionError(f"waited {patience:g} s in vain for {what}")


def backend_environment() -> dict[str, str]:
    """The test's own copy of the program, with the fake engines."""
    path = os.pathsep.join((str(FAKE_ENGINES), str(REPOSITORY)))
    return {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


class Server:
    """`flextraj serve` on a free port.

    Args:
        options: further options of the command.
        before: what the child process does before it becomes the server.
    """

    def __init__(self, folder: Path, *options: str, before: Callable[[], None] | None = None) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        ready_file = folder / "ready.json"
        ready_file.unlink(missing_ok=True)
        command = [sys.executable, "-m", "flextraj_backend", "serve", "--data-dir", str(self.data_dir)]
        environment = {**os.environ, **backend_environment(), "FLEXTRAJ_TOKEN": TOKEN}
        self.log = folder / "server.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--ready-file", str(ready_file), *options],
                env=environment,
                stdout=log,
                stderr=log,
                cwd=folder,
                preexec_fn=before,
            )
        try:
            wait_until(lambda: ready_file.exists() or self.process.poll() is not None, "the ready file")
            assert ready_file.exists(), self.log.read_text()
        except BaseException:
            self.close()
            raise
        self.ready = json.loads(ready_file.read_text())
        self.port = int(self.ready["port"])
        self.client = BackendClient(f"http://127.0.0.1:{self.port}", TOKEN)

    def request(self, prompt: str = "", engine: str = "fake", **settings: Any) -> RenderRequest:
        """A request for the tiny shot, its assets uploaded."""
        return RenderRequest(
            trajectories=self.client.upload(tiny_shot.trajectory_bytes()),
            image=self.client.upload(tiny_shot.png(tiny_shot.photo())),
            engine=engine,
            prompt=prompt,
            **settings,
        )

    def submit(self, prompt: str = "", key: str = "", **settings: Any) -> JobStatus:
        request = self.request(prompt, **settings)
        return self.client.submit(request, key or f"key-{time.monotonic_ns()}")

    def wait_for(self, job_id: str, *states: JobState) -> JobStatus:
        def look() -> JobStatus | None:
            status = self.client.job(job_id)
            return status if status.state in states else None

        return wait_until(look, f"{job_id} to become {states}, it is {self.client.job(job_id)}")

    def wait_until_rendering(self, job_id: str) -> JobStatus:
        def look() -> JobStatus | None:
            status = self.client.job(job_id)
            assert not status.state.is_finished, status
            return status if status.phase == "rendering" else None

        return wait_until(look, f"{job_id} to render")

    def finish(self, job_id: str) -> JobStatus:
        return self.wait_for(job_id, *(state for state in JobState if state.is_finished))

    def job_folder(self, job_id: str) -> Path:
        return self.data_dir / "jobs" / job_id

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
