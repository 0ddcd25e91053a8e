"""Moving a job's files between its folder and the backend; worker thread only."""

from __future__ import annotations

import contextlib
import http
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ..core.errors import ErrorCode, FlexTrajError
from ..core.request import RenderRequest
from .backend_link import GiveUp, RenderService
from .http_client import BackendError
from .job_folder import LOG, TRAJECTORIES, unpack_frames, with_files
from .job_reports import JobReport, JobStage, RenderOrder
from .messages import JobStatus


def upload_inputs(
    service: RenderService, order: RenderOrder, is_unwanted: Callable[[], bool]
) -> RenderRequest:
    """Send what a job is made of; return its request, complete.

    Raises:
        GiveUp: `is_unwanted()` turned True. FlexTrajError: a file is gone, or the backend refuses it.
    """
    _check_inputs(order)

    def upload(source: Path) -> str:
        try:
            sha256 = service.upload(source, is_unwanted)
        except FlexTrajError as error:
            if is_unwanted():
                raise GiveUp from error
            raise
        if is_unwanted():
            raise GiveUp
        return sha256

    return replace(
        order.request,
        trajectories=upload(order.folder / TRAJECTORIES),
        image=upload(order.photo),
        mask=None if order.mask is None else upload(order.mask),
    )


def download_results(service: RenderService, report: JobReport, status: JobStatus) -> JobReport:
    """Fetch the files of a job that succeeded; return the report with them. Raises FlexTrajError."""
    folder = report.order.folder
    try:
        # It is gone where somebody tidied up between two sessions.
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FlexTrajError(
            f"The folder {folder} cannot be made ({error.strerror or error}): "
            "choose another output folder in the add-on's preferences.",
            ErrorCode.DISK,
        ) from error
    for kind in status.results:
        service.download(status.id, kind, folder / kind.file_name)
    found = with_files(replace(report, stage=JobStage.DONE))
    if found.video is None:
        raise FlexTrajError(
            "The job ended without a video: look into the backend's log and run it again.", ErrorCode.DEFECT
        )
    return found


def download_frames(service: RenderService, report: JobReport) -> JobReport:
    """Fetch the pictures of a finished video; return the report with their folder. Raises FlexTrajError."""
    folder = report.order.folder
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".frames-") as name:
            archive = service.download_frames(report.job_id, Path(name) / "frames.zip")
            return replace(report, frames=unpack_frames(archive, folder))
    except OSError as error:
        raise FlexTrajError(
            f"The folder {folder} cannot be written ({error.strerror or error}): "
            "check that it exists, is writable and has free space.",
            ErrorCode.DISK,
        ) from error
    except FlexTrajError as error:
        if is_unknown(error):
            raise FlexTrajError(
                "The backend does not keep this video any more: load it as a movie instead.",
                ErrorCode.REQUEST,
            ) from error
        raise


def download_log(service: RenderService, report: JobReport) -> None:
    """Keep what a job wrote beside its trajectories: its sentence may send the user there."""
    with contextlib.suppress(FlexTrajError, OSError):
        text = service.log(report.job_id)
        (report.order.folder / LOG).write_text(text, encoding="utf-8")


def is_unknown(error: FlexTrajError) -> bool:
    """Whether the backend has no such job."""
    return isinstance(error, BackendError) and error.status == http.HTTPStatus.NOT_FOUND


def _check_inputs(order: RenderOrder) -> None:
    """Raises FlexTrajError where a file that is to be sent is gone since the job was made."""
    if not (order.folder / TRAJECTORIES).is_file():
        raise FlexTrajError(
            f"The job's trajectories are not in {order.folder} any more: press Generate to make a new job.",
            ErrorCode.DISK,
        )
    for path, what, code in (
        (order.photo, "photo", ErrorCode.NO_PHOTO),
        (order.mask, "mask", ErrorCode.MASK),
    ):
        if path is not None and not path.is_file():
            raise FlexTrajError(
                f"The {what} {path} is not there any more: choose it again and press Generate.", code
            )
