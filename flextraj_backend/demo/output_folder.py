"""Where the demo's files go: an earlier demo's folder is used again, anybody else's is left alone."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blender_addon.core.errors import ErrorCode, FlexTrajError

MARKER = ".flextraj-demo"
"""Lies in folders that a demo made; it lists the files that the next demo may replace."""
_MAX_NUMBER = 1000


@contextmanager
def staged_output(wanted: Path) -> Iterator[tuple[Path, Path]]:
    """Yield (staging folder, final folder); what lies in the first moves into the second on success.

    The final folder is `wanted` where that is new, empty, or an earlier demo's whose own files are then
    replaced; otherwise the first free `wanted-2`, `wanted-3`, ... On an error nothing is left behind.

    Raises:
        FlexTrajError: the folder cannot be written.
    """
    try:
        final = _usable(wanted)
        final.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{final.name}-", dir=final.parent))
    except OSError as error:
        raise _unwritable(wanted, error) from error
    try:
        yield staging, final
        _move_files(staging, final)
    except OSError as error:
        raise _unwritable(final, error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _usable(wanted: Path) -> Path:
    if wanted.name in ("", ".."):
        wanted = wanted.resolve()
    if not wanted.name:
        raise FlexTrajError(f"{wanted} cannot be the output folder: choose another with -o.", ErrorCode.DISK)
    for number in range(1, _MAX_NUMBER):
        folder = wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")
        if not folder.exists():
            return folder
        if folder.is_dir() and ((folder / MARKER).is_file() or not any(folder.iterdir())):
            return folder
    raise FlexTrajError(
        f"{wanted} and its numbered neighbours hold other files: choose another output folder.",
        ErrorCode.DISK,
    )


def _move_files(staging: Path, final: Path) -> None:
    made = sorted(path.name for path in staging.iterdir() if path.is_file())
    replaceable = _marked(final)
    for name in made:
        if (final / name).exists() and name not in replaceable:
            raise FlexTrajError(
                f"{final / name} is not the demo's: move it or choose another output folder.",
                ErrorCode.DISK,
            )
    final.mkdir(exist_ok=True)
    for name in replaceable - set(made):
        (final / name).unlink(missing_ok=True)
    # Written first: a demo that is cut off here leaves a folder that the next one recognises.
    (final / MARKER).write_text("\n".join(made) + "\n", encoding="utf-8")
    for name in made:
        (staging / name).replace(final / name)


def _marked(folder: Path) -> set[str]:
    """Names of the files that an earlier demo left in a folder; never a path that leads out of it."""
    try:
        lines = (folder / MARKER).read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return {name for name in lines if name and Path(name).name == name}


def _unwritable(folder: Path, error: OSError) -> FlexTrajError:
    return FlexTrajError(
        f"{folder} cannot be written ({error.strerror or error}): choose another output folder with -o.",
        ErrorCode.DISK,
    )
