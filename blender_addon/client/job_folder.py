"""The folder of one job on the disk: the trajectory set, later the backend's results beside it."""

from __future__ import annotations

import contextlib
import re
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from ..core.errors import ErrorCode, FlexTrajError
from ..core.trajectories import TrajectorySet
from ..core.trajectory_file import write_trajectories
from .job_reports import JobReport, JobStage, RenderOrder
from .messages import ResultKind

TRAJECTORIES = "trajectories.npz"
LOG = "log.txt"
FRAMES = "frames"
_FRAME_NAME = re.compile(r"\d{4,6}\.png")
_RESERVE = 64 << 20


def write_inputs(order: RenderOrder, trajectories: TrajectorySet) -> Path:
    """Make the job's folder and store the trajectory set in it, so that a failed job loses nothing."""
    try:
        order.folder.mkdir(parents=True)
    except OSError as error:
        raise FlexTrajError(
            f"The folder {order.folder} cannot be made ({error.strerror or error}): "
            "choose another output folder in the add-on's preferences.",
            ErrorCode.DISK,
        ) from error
    write_trajectories(trajectories, order.folder / TRAJECTORIES)
    return order.folder


def discard(folder: Path) -> None:
    """Remove what a cancelled job has written; whatever the user put into its folder stays."""
    for name in (TRAJECTORIES, LOG, *(kind.file_name for kind in ResultKind)):
        with contextlib.suppress(OSError):
            (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def first_frame_file(frames: Path) -> Path | None:
    """The first picture of an unpacked video, None where there is none."""
    try:
        return min((path for path in frames.iterdir() if _FRAME_NAME.fullmatch(path.name)), default=None)
    except OSError:
        return None


def unpack_frames(archive: Path, folder: Path) -> Path:
    """Unpack a zip of pictures as the folder `frames` below `folder`, complete or not at all; return it.

    Raises:
        FlexTrajError: no such archive, or no room for it.
    """
    destination = folder / FRAMES
    if destination.exists():
        # Somebody else's folder of that name is not overwritten.
        destination = folder / f"{FRAMES}-{uuid4().hex[:6]}"
    temporary = folder / f".{destination.name}.{uuid4().hex[:12]}"
    try:
        with zipfile.ZipFile(archive) as pictures:
            infos = pictures.infolist()
            if not infos or not all(_FRAME_NAME.fullmatch(info.filename) for info in infos):
                raise zipfile.BadZipFile("other names than those of pictures")
            if sum(info.file_size for info in infos) + _RESERVE > shutil.disk_usage(folder).free:
                raise FlexTrajError(
                    f"There is no room for the video's pictures in {folder}: free some disk space.",
                    ErrorCode.DISK,
                )
            temporary.mkdir()
            pictures.extractall(temporary)
        temporary.replace(destination)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise FlexTrajError(
            "The backend sent the video's pictures in a form that cannot be read: "
            "update the add-on and the backend to the same version.",
            ErrorCode.BACKEND_VERSION,
        ) from error
    except OSError as error:
        raise FlexTrajError(
            f"The video's pictures cannot be written to {folder} ({error.strerror or error}): "
            "check that the folder exists, is writable and has free space.",
            ErrorCode.DISK,
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return destination


def with_files(report: JobReport) -> JobReport:
    """The report with the files of the job that are there; a finished job without its video is lost."""
    folder = report.order.folder
    video, thumbnail = report.result(ResultKind.VIDEO), report.result(ResultKind.THUMBNAIL)
    found = replace(
        report,
        folder=folder if _is_there(folder) else None,
        video=video if _is_there(video) else None,
        thumbnail=thumbnail if _is_there(thumbnail) else None,
        frames=folder / FRAMES if first_frame_file(folder / FRAMES) is not None else None,
    )
    if found.stage is not JobStage.DONE or found.video is not None:
        return found
    sentence = f"The video is gone from the folder {folder.name}: retry the job to get it."
    return replace(found, stage=JobStage.LOST, message=sentence, code=ErrorCode.VIDEO)


def _is_there(path: Path) -> bool:
    """Whether a file or folder can be reached; on a network drive that is gone, asking may fail."""
    try:
        return path.exists()
    except OSError:
        return False
