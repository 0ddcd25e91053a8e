"""The folder of one job on the disk: trajectory set, videos and a sidecar that says how they were made."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict
from pathlib import Path

from ..core.errors import ErrorCode, FlexTrajError
from ..core.trajectory_file import write_trajectories
from .job_reports import RenderOrder
from .messages import JobStatus, ResultKind

TRAJECTORIES = "trajectories.npz"
RESULT_FILES = {
    ResultKind.VIDEO: "video.mp4",
    ResultKind.ID_VIDEO: "id.mp4",
    ResultKind.COLOR_VIDEO: "color.mp4",
}


def write_inputs(order: RenderOrder) -> Path:
    """Make the job's folder and store the trajectory set in it, so that a failed job loses nothing."""
    try:
        order.folder.mkdir(parents=True)
    except OSError as error:
        raise FlexTrajError(
            f"The folder {order.folder} cannot be made ({error.strerror or error}): "
            "choose another output folder in the add-on's preferences.",
            ErrorCode.DISK,
        ) from error
    write_trajectories(order.trajectories, order.folder / TRAJECTORIES)
    return order.folder


def discard(folder: Path) -> None:
    """Remove the folder of a cancelled job: it holds nothing but the trajectory set written for it."""
    shutil.rmtree(folder, ignore_errors=True)


def write_sidecar(folder: Path, order: RenderOrder, status: JobStatus) -> None:
    values = {"job": asdict(status), "photo": str(order.photo), "prompt": order.prompt, "seed": order.seed}
    values["written"] = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    path = folder / "job.json"
    temporary = path.with_suffix(".json.part")
    try:
        temporary.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise FlexTrajError(
            f"{path} cannot be written ({error.strerror or error}): check that the disk has free space.",
            ErrorCode.DISK,
        ) from error
