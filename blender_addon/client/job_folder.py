"""The folder of one job on the disk: the trajectory set, later the backend's results beside it."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..core.errors import ErrorCode, FlexTrajError
from ..core.trajectory_file import write_trajectories
from .job_reports import RenderOrder

TRAJECTORIES = "trajectories.npz"


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
