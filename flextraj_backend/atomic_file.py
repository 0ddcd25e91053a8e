"""Nothing half-written: outputs get a temporary name beside their own and are renamed when complete."""

from __future__ import annotations

import os
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
