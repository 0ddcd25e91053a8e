"""The child process of one job: `python -m flextraj_backend.server.worker JOB_DIR`.

It writes messages (JSON lines) to its standard output and everything else to standard error. A line on its
standard input, or its end, cancels the job: a worker does not outlive its server.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from blender_addon.client.messages import ResultKind
from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.request import RenderRequest
from blender_addon.core.trajectory_file import read_trajectories
from flextraj_backend.engines.base import Cancelled, Progress
from flextraj_backend.image_io import read_mask, read_photo
from flextraj_backend.rendering import estimate_job, render_job
from flextraj_backend.server.job_folder import JobFolder
from flextraj_backend.server.thumbnail import write_thumbnail
from flextraj_backend.server.worker_messages import (
    Advanced,
    Estimated,
    Failed,
    Stopped,
    Succeeded,
    WorkerMessage,
    encode,
)

_REPORT_SECONDS = 0.1
_ABANDONED_SECONDS = 5.0
_FIRST_VICTIM = "500"

Send = Callable[[WorkerMessage], None]


def run_job(folder: JobFolder, send: Send, cancelled: Callable[[], bool]) -> None:
    """Run the job in a folder; its end is the last message sent. Never raises an expected error."""
    try:
        request = RenderRequest.from_json(folder.request.read_bytes())
        # Opened or read here, so that an error does not name a file that the user never made.
        with folder.trajectories.open("rb") as file:
            trajectories = read_trajectories(file)
        photo = read_photo(folder.image.read_bytes())
        mask = None if request.mask is None else read_mask(folder.mask.read_bytes())
        send(Estimated(estimate_job(request, trajectories).seconds))
        outcome = render_job(request, trajectories, photo, mask, folder.outputs, _throttled(send), cancelled)
        _add_thumbnail(folder, outcome.frame_count)
        send(Succeeded(outcome.label, outcome.warnings))
    except Cancelled:
        send(Stopped())
    except FlexTrajError as error:
        traceback.print_exc()
        send(Failed(error.message, error.code))
    except MemoryError:
        traceback.print_exc()
        send(
            Failed(
                "There is not enough memory for this job: use fewer points, fewer frames or a smaller size.",
                ErrorCode.MEMORY,
            )
        )
    except Exception as error:
        # A defect of ours or of a library: the job ends with a sentence, the log has the traceback.
        traceback.print_exc()
        first_line = str(error).strip().partition("\n")[0][:300]
        send(
            Failed(
                f"The job stopped on an unexpected error ({type(error).__name__}: {first_line}): "
                "see the job's log and report it.",
                ErrorCode.DEFECT,
            )
        )


def _add_thumbnail(folder: JobFolder, frame_count: int) -> None:
    """Nobody would give up a video for its small picture: a failure only goes to the log."""
    try:
        write_thumbnail(folder.result(ResultKind.VIDEO), frame_count, folder.result(ResultKind.THUMBNAIL))
    except FlexTrajError:
        traceback.print_exc()


def _throttled(send: Send) -> Callable[[Progress], None]:
    """At most one message per tenth of a second and phase, but each phase's first and last step."""
    last_phase, last_time = "", 0.0

    def report(progress: Progress) -> None:
        nonlocal last_phase, last_time
        now = time.monotonic()
        is_due = now - last_time >= _REPORT_SECONDS or progress.step >= progress.steps
        if progress.phase != last_phase or is_due:
            last_phase, last_time = progress.phase, now
            send(Advanced(progress.phase, progress.step, progress.steps))

    return report


def _take_over_stdout() -> BinaryIO:
    """Keep standard output for messages; what libraries print goes to standard error, into the log."""
    channel = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return channel


def _watch_stdin(cancelled: threading.Event) -> None:
    with contextlib.suppress(OSError):
        is_abandoned = not sys.stdin.buffer.readline()
        cancelled.set()
        if is_abandoned:
            time.sleep(_ABANDONED_SECONDS)
            os._exit(1)


def _volunteer_for_out_of_memory() -> None:
    """Linux kills the process with the highest score first: the worker, not the server or Blender."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_FIRST_VICTIM)


def main(arguments: list[str]) -> int:
    """Run one job folder; the exit code is 0 whenever the end was reported."""
    channel = _take_over_stdout()
    _volunteer_for_out_of_memory()
    cancelled = threading.Event()
    threading.Thread(target=_watch_stdin, args=(cancelled,), name="cancel watch", daemon=True).start()

    def send(message: WorkerMessage) -> None:
        with contextlib.suppress(BrokenPipeError):
            channel.write(encode(message))

    run_job(JobFolder(Path(arguments[0])), send, cancelled.is_set)
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    # Not sys.exit: at interpreter shutdown the daemon thread still holds the lock of standard input.
    sys.stderr.flush()
    os._exit(code)
