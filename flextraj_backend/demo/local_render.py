"""One render job through a local server of our own: start, upload, submit, follow, download, stop."""

from __future__ import annotations

import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from blender_addon.client.backend_process import BackendPhase, BackendProcess
from blender_addon.client.http_client import BackendClient
from blender_addon.client.messages import JobState, JobStatus, ResultKind
from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.request import RenderRequest

LOOK_SECONDS = 0.1


@contextmanager
def local_server() -> Iterator[BackendClient]:
    """Run `flextraj serve` while the block runs; the process is stopped in every case.

    Log, uploads and jobs lie in a temporary folder, which stays only after a failure: the sentence names it.

    Raises:
        FlexTrajError: the server does not start; the sentence says why.
    """
    folder = Path(tempfile.mkdtemp(prefix="flextraj-server-"))
    process = BackendProcess(Path(sys.executable), folder, data_dir=folder / "data")
    is_needed = False
    try:
        state = process.start()
        while state.phase is BackendPhase.STARTING:
            time.sleep(LOOK_SECONDS)
            state = process.poll()
        if state.phase is not BackendPhase.RUNNING:
            raise FlexTrajError(state.error, state.code or ErrorCode.BACKEND)
        yield process.client()
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


def collect_results(client: BackendClient, status: JobStatus, folder: Path) -> None:
    """Download a finished job's results into `folder`, but for the thumbnail, which is for job lists."""
    for kind in status.results:
        if kind is ResultKind.THUMBNAIL:
            continue
        client.download(status.id, kind, folder / kind.file_name)
