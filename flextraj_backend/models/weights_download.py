"""Downloads a base model and the authors' control from the Hugging Face hub, when the user asks for it.

This is the only part of the program that uses the network.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.installation import install_command
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.checkpoint_layout import MODEL_NAMES
from flextraj_backend.models.weights import (
    BASE_FOLDER,
    WeightsLocation,
    control_file_name,
    use_weights,
)

BASE_REPOSITORIES = {
    Backbone.COGVIDEOX: "THUDM/CogVideoX-5b-I2V",
    Backbone.WAN: "Wan-AI/Wan2.2-TI2V-5B-Diffusers",
}
CONTROL_REPOSITORY = "bestzzhang/FlexTraj"
BASE_FILES = (
    "model_index.json",
    "scheduler/*.json",
    "text_encoder/*.json",
    "text_encoder/*.safetensors",
    "tokenizer/*.json",
    "tokenizer/*.model",
    "transformer/*.json",
    "transformer/*.safetensors",
    "vae/*.json",
    "vae/*.safetensors",
)
"""All that loading reads; never a pickle."""

_GIB = 1 << 30
_SPARE_BYTES = 1 * _GIB
"""Left free on the disk beside the files."""
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)


@dataclass(frozen=True)
class _Download:
    """Files of one repository, and the folder that they go to."""

    repository: str
    files: tuple[str, ...]
    folder: Path


def fetch_weights(backbone: Backbone, to: Path, report: Callable[[str], None]) -> WeightsLocation:
    """Download what an engine needs, check it and remember it; goes on where an earlier download stopped.

    Args:
        to: folder laid out as FLEXTRAJ_WEIGHTS_DIR is.
        report: gets sentences about what is being done; the hub's client draws the progress bars.

    Raises:
        FlexTrajError: no connection, no such files, or too little disk space; what has arrived is kept.
    """
    place = to.expanduser().absolute() / backbone.value
    downloads = (
        _Download(BASE_REPOSITORIES[backbone], BASE_FILES, place / BASE_FOLDER),
        _Download(CONTROL_REPOSITORY, (control_file_name(backbone),), place),
    )
    missing = sum(_missing_bytes(download) for download in downloads)
    if missing:
        _check_disk(place, missing)
        report(
            f"Downloading {missing / _GIB:.1f} GiB of {MODEL_NAMES[backbone]} and its control to {place}; "
            "started again, this goes on where it stopped."
        )
    for download in downloads:
        _run(download)
    report("Checking the files.")
    return use_weights(backbone, place / BASE_FOLDER, place / control_file_name(backbone))


def _missing_bytes(download: _Download) -> int:
    """What is still to come. Raises FlexTrajError where the repository lacks a file."""
    files = _snapshot(download, dry_run=True)
    if not files:
        raise FlexTrajError(
            f"The repository {download.repository} has no {download.files[0]} any more: see its page for "
            "where it is now, and run 'flextraj weights use' with what you download there.",
            ErrorCode.WEIGHTS,
        )
    return sum(file.file_size or 0 for file in files if file.will_download)


def _run(download: _Download) -> None:
    try:
        download.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _no_disk(download.folder, error) from error
    _snapshot(download, dry_run=False)


def _check_disk(place: Path, size: int) -> None:
    existing = next((path for path in (place, *place.parents) if path.exists()), None)
    if existing is None:
        raise FlexTrajError(
            f"There is no disk {place.anchor}: choose another one with '--to DIR'.", ErrorCode.DISK
        )
    free = shutil.disk_usage(existing).free
    if free < size + _SPARE_BYTES:
        raise FlexTrajError(
            f"{place} would need {size / _GIB:.1f} GiB and {free / _GIB:.1f} GiB are free: "
            "free some space, or choose another disk with '--to DIR'.",
            ErrorCode.DISK,
        )


def _snapshot(download: _Download, *, dry_run: bool) -> Any:
    """The hub's client; its errors as one sentence."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise FlexTrajError(
            f"Downloading needs the package huggingface-hub: run '{install_command('models')}'.",
            ErrorCode.WEIGHTS,
        ) from error
    try:
        return snapshot_download(
            download.repository,
            local_dir=download.folder,
            allow_patterns=list(download.files),
            dry_run=dry_run,
        )
    # The client raises errors of its own and of an HTTP library that differs from release to release.
    except Exception as error:
        raise _explained(download, error) from error


def _explained(download: _Download, error: Exception) -> FlexTrajError:
    """Why a download failed, by the error and those that caused it."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

    for cause in _causes(error):
        if isinstance(cause, OfflineModeIsEnabled):
            return _failed(download, "HF_HUB_OFFLINE is set", "unset it to download")
        if isinstance(cause, RepositoryNotFoundError):
            advice = "see its page, and run 'hf auth login' if it asks for an account"
            return _failed(download, "the repository is missing or closed", advice)
        if isinstance(cause, HfHubHTTPError):
            status = getattr(cause.response, "status_code", "an error")
            return _failed(download, f"the hub answers {status}", "try again later")
        if isinstance(cause, OSError) and cause.errno in _DISK_ERRORS:
            return _no_disk(download.folder, cause)
    advice = "check the connection, or download it elsewhere and run 'flextraj weights use'"
    return _failed(download, "no connection", advice)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _failed(download: _Download, reason: str, advice: str) -> FlexTrajError:
    return FlexTrajError(
        f"{download.repository} cannot be downloaded from huggingface.co ({reason}): {advice}.",
        ErrorCode.WEIGHTS,
    )


def _no_disk(folder: Path, error: OSError) -> FlexTrajError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    advice = "free some space and start it again" if full else "check its permissions, or use '--to DIR'"
    return FlexTrajError(f"{folder} cannot be written ({error.strerror or error}): {advice}.", ErrorCode.DISK)
