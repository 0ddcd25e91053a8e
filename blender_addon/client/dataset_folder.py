"""What lies in the folder that training pairs are written to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ..core.errors import ErrorCode, FlexTrajError

CONTACT_SHEET = "contact_sheet.png"
_DESCRIPTION = "dataset.json"
_IN_SHARDS, _UNFINISHED = "clips.jsonl", "unfinished"
_MAX_DESCRIPTION = 1 << 20
_CHUNK = 1 << 20


class FolderKind(StrEnum):
    """Whether pairs can be written there."""

    NEW = "new"
    """It is empty, or does not exist yet."""
    DATASET = "dataset"
    OTHER = "other"
    """It holds something else, or cannot be used."""


@dataclass(frozen=True)
class FolderReport:
    """What was found.

    Attributes:
        folder: where it was looked.
        kind: whether pairs can be written there.
        problem: with OTHER, why not and what to do.
        clips: finished clips of a dataset.
        contact_sheet: the dataset's overview, None where there is none yet.
        sheet_stamp: changes with the overview's content.
    """

    folder: Path
    kind: FolderKind
    problem: str = ""
    clips: int = 0
    contact_sheet: Path | None = None
    sheet_stamp: int = 0


def look_at_folder(folder: Path) -> FolderReport:
    """Look at a folder; reads the disk, so it is nothing for Blender's main thread."""
    try:
        return _look(folder)
    except OSError as error:
        reason = error.strerror or str(error)
        return _other(folder, f"The folder {folder} cannot be read ({reason}): choose another.")


def check_folder(folder: Path) -> FolderReport:
    """Like `look_at_folder`. Raises FlexTrajError (PAIRS_FOLDER) where pairs must not be written there."""
    report = look_at_folder(folder)
    if report.kind is FolderKind.OTHER:
        raise FlexTrajError(report.problem, ErrorCode.PAIRS_FOLDER)
    return report


def check_library(library: Path | None) -> None:
    """Raises FlexTrajError (CHARACTER_FOLDER) where the folder of own characters is not one."""
    if library is not None and not library.is_dir():
        raise FlexTrajError(
            f"There is no folder {library} with characters: choose another, or none.",
            ErrorCode.CHARACTER_FOLDER,
        )


def _look(folder: Path) -> FolderReport:
    if not folder.exists():
        if not folder.parent.is_dir():
            return _other(folder, f"There is no folder {folder.parent}: choose another output folder.")
        return FolderReport(folder, FolderKind.NEW)
    if not folder.is_dir():
        return _other(folder, f"{folder} is not a folder: choose another.")
    if not _is_dataset(folder):
        # Hidden files are the system's: thumbnails, the look of a window.
        if any(not path.name.startswith(".") for path in folder.iterdir()):
            return _other(
                folder,
                f"The folder {folder} holds other files: choose an empty one, or a dataset to go on with.",
            )
        return FolderReport(folder, FolderKind.NEW)
    sheet = folder / CONTACT_SHEET
    has_sheet = sheet.is_file()
    return FolderReport(
        folder,
        FolderKind.DATASET,
        clips=_count_lines(folder / _IN_SHARDS) + _count_waiting(folder / _UNFINISHED),
        contact_sheet=sheet if has_sheet else None,
        sheet_stamp=sheet.stat().st_mtime_ns if has_sheet else 0,
    )


def _is_dataset(folder: Path) -> bool:
    description = folder / _DESCRIPTION
    if not description.is_file() or description.stat().st_size > _MAX_DESCRIPTION:
        return False
    try:
        return isinstance(json.loads(description.read_bytes()), dict)
    except ValueError:
        return False


def _count_lines(path: Path) -> int:
    if not path.is_file():
        return 0
    lines = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            lines += chunk.count(b"\n")
    return lines


def _count_waiting(folder: Path) -> int:
    """Finished clips whose shard is not complete yet."""
    if not folder.is_dir():
        return 0
    return sum(path.suffix == ".tar" and not path.name.startswith(".") for path in folder.iterdir())


def _other(folder: Path, problem: str) -> FolderReport:
    return FolderReport(folder, FolderKind.OTHER, problem)
