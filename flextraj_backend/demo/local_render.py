"""One render job through a local server of our own: start, upload, submit, follow, download, stop."""

from __future__ import annotations

import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from blender_addon.client.backend_process import BackendPhase, BackendProcess
from blender_addon.client.http_client import BackendClient
from blender_addon.client.messages import JobState, JobStatus, ResultKind
from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.request import RenderRequest
from flextraj_backend.server.job_folder import JobFolder

LOOK_SECONDS = 0.1
RESULT_NAMES = {
    ResultKind.VIDEO: "video.mp4",
    ResultKind.ID_VIDEO: "id.mp4",
    ResultKind.COLOR_VIDEO: "color.mp4",
}
SIDECAR = "job.json"


@dataclass(frozen=True)
class LocalServer:
    """A running server and where it keeps its jobs."""

    client: BackendClient
    data_folder: Path

    def job_folder(self, job_id: str) -> JobFolder:
        """The folder of a job, readable also after the server has gone."""
        return JobFolder(self.data_folder / "jobs" / job_id)


@contextmanager
def local_server() -> Iterator[LocalServer]:
    """Run `flextraj serve` while the block runs; the process is stopped in every case.

    Log, uploads and jobs lie in a temporary folder, which stays only after a failure: the sentence names it.

    Raises:
        FlexTrajError: the server does not start; the sentence says why.
    """
    folder = Path(tempfile.mkdtemp(prefix="flextraj-server-"))
    data_folder = folder / "data"
    process = BackendProcess(Path(sys.executable), folder, data_dir=data_folder)
    is_needed = False
    try:
        state = process.start()
        while state.phase is BackendPhase.STARTING:
            time.sleep(LOOK_SECONDS)
            state = process.poll()
        if state.phase is not BackendPhase.RUNNING:
            raise FlexTrajError(state.error, state.code or ErrorCode.BACKEND)
        yield LocalServer(process.client(), data_folder)
    except FlexTrajError:
        is_needed = True
        raise
    finally:
        process.stop()
        if not is_needed:
            shutil.rmtree(folder, ignore_errors=True)


def follow_job(
    client: BackendClient, request: RenderRequest, on_status: Callable[[JobStatus], None]
) -> JobStatus:
    """Submit a job and wait for its end; an interrupted wait cancels it.

    Args:
        client: of a running server.
        request: its assets are uploaded.
        on_status: called with each answer of the server.

    Raises:
        FlexTrajError: the job failed or was cancelled; the sentence is the engine's.
    """
    status = client.submit(request, secrets.token_hex(16))
    try:
        while not status.state.is_finished:
            on_status(status)
            time.sleep(LOOK_SECONDS)
            status = client.job(status.id)
    except KeyboardInterrupt:
        client.cancel(status.id)
        raise
    on_status(status)
    if status.state is not JobState.SUCCEEDED:
        sentence = status.error or f"The job ended as {status.state.value} without a reason: see the log."
        raise FlexTrajError(sentence, ErrorCode.ENGINE)
    return status


def collect_results(server: LocalServer, status: JobStatus, folder: Path) -> None:
    """Download the videos of a finished job into `folder` and put its sidecar beside them."""
    for kind in status.results:
        server.client.download(status.id, kind, folder / RESULT_NAMES[kind])
    sidecar = server.job_folder(status.id).outputs.sidecar
    (folder / SIDECAR).write_bytes(sidecar.read_bytes())
