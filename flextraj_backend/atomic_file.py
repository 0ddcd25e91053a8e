"""Nothing half-written: outputs get a temporary name beside their own and are renamed when complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from blender_addon.core.errors import ErrorCode, FlexTrajError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder, with the same ending; rename it to `path` on success.

    Raises:
        FlexTrajError: the folder cannot be written or the disk is full.
    """
    temporary = path.with_name(f".{path.stem}.{uuid4().hex[:12]}{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise FlexTrajError(
            f"{path} cannot be written ({error.strerror or error}): "
            "check that the folder exists, is writable and has free space.",
            ErrorCode.DISK,
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside a folder; it takes that one's place on success.

    Raises:
        FlexTrajError: the folder cannot be written or the disk is full; what was there before stays.
    """
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:12]}")
    former = path.with_name(f"{temporary.name}.former")
    try:
        temporary.mkdir()
        yield temporary
        if path.exists():
            path.replace(former)
        temporary.replace(path)
    except OSError as error:
        raise FlexTrajError(
            f"{path} cannot be written ({error.strerror or error}): "
            "check that its folder exists, is writable and has free space.",
            ErrorCode.DISK,
        ) from error
    finally:
        for leftover in (temporary, former):
            shutil.rmtree(leftover, ignore_errors=True)


def write_bytes(path: Path, data: bytes) -> Path:
    """Write a whole file atomically and durably."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return path


def write_text(path: Path, text: str) -> Path:
    """Write a whole UTF-8 text file atomically."""
    return write_bytes(path, text.encode())
