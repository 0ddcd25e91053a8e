"""What a library folder holds, remembered: every worker needs to know, and to look takes seconds.

The index lies in the user's cache folder, not in the library: nothing is ever written there.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from blender_addon.core.errors import FlexTrajError, RequestError
from blender_addon.core.version import package_version
from flextraj_backend.atomic_file import write_text
from flextraj_backend.synthesis.record_json import from_json, to_json
from flextraj_backend.synthesis.user_library import ENDINGS, Library, scan_library

LIBRARY_RECORD = "library.json"


@dataclass(frozen=True)
class FileStamp:
    """By which a changed file is known: its name, bytes and time of change in nanoseconds."""

    name: str
    size: int
    changed: int


@dataclass(frozen=True)
class LibraryIndex:
    """A library as it was when it was looked through."""

    producer: str
    files: tuple[FileStamp, ...]
    library: Library


@dataclass(frozen=True)
class LibraryRecord:
    """`library.json` of a data set: what its clips could take from the library.

    Attributes:
        sha256: of each of the library's files, "<digest> <name>".
        library: what they hold, and which were left out.
    """

    sha256: tuple[str, ...]
    library: Library


def read_library(folder: Path, cache: Path | None = None) -> Library:
    """What a folder holds: as remembered where its files are the same, else see `scan_library`.

    Args:
        folder: of the library.
        cache: folder of the indices; None = the user's.

    Raises:
        RequestError: there is no such folder, or nothing in it can be used.
    """
    folder = folder.resolve()
    files = _stamps(folder)
    name = hashlib.sha256(str(folder).encode()).hexdigest()[:32]
    path = (cache or platformdirs.user_cache_path("flextraj", appauthor=False) / "libraries") / f"{name}.json"
    producer = f"flextraj {package_version()}"
    with suppress(OSError, ValueError, RecursionError):
        known = from_json(LibraryIndex, json.loads(path.read_bytes()))
        if known.producer == producer and known.files == files:
            return known.library
    library = scan_library(folder)
    with suppress(OSError, FlexTrajError):  # a cache that cannot be written only costs time
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(to_json(LibraryIndex(producer, files, library))))
    return library


def record_library(dataset: Path, folder: Path) -> Library:
    """Write down in a data set what its library holds.

    Raises:
        RequestError: nothing in the library can be used, or it has changed since the data set was begun.
        FlexTrajError: the data set's folder cannot be written.
    """
    library = read_library(folder)
    record = LibraryRecord(tuple(_digest(path) for path in _library_files(folder)), library)
    path = dataset / LIBRARY_RECORD
    before: LibraryRecord | None = None
    with suppress(OSError, ValueError, RecursionError):
        before = from_json(LibraryRecord, json.loads(path.read_bytes()))
    if before is not None and before.sha256 != record.sha256:
        changed = sorted({line.partition(" ")[2] for line in {*before.sha256} ^ {*record.sha256}})
        raise RequestError(
            f"The library has changed since the dataset was begun ({', '.join(changed[:3])}): "
            "put the files back, or choose another folder with -o."
        )
    write_text(path, json.dumps(to_json(record), indent=1) + "\n")
    return library


def _library_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(item for item in folder.iterdir() if item.suffix.lower() in ENDINGS and item.is_file())


def _stamps(folder: Path) -> tuple[FileStamp, ...]:
    states = [(path.name, path.stat()) for path in _library_files(folder)]
    return tuple(FileStamp(name, state.st_size, state.st_mtime_ns) for name, state in states)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return f"{hashlib.file_digest(file, 'sha256').hexdigest()} {path.name}"
