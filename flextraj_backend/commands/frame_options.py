"""The option `--kept-frames`: which frames of a set keep their points, one by one."""

from __future__ import annotations

import typer

from blender_addon.core.errors import RequestError
from blender_addon.core.trajectories import MAX_FRAMES

KEPT_FRAMES = typer.Option(
    "",
    metavar="I,J,A:B:N",
    help="Frames of the set that keep their points, counted from 0: numbers, and ranges first:last[:step], "
    "separated by commas. Default: by --keep-frames.",
)


def parse_kept_frames(text: str, keep_frames: float) -> tuple[int, ...] | None:
    """Read such as '0,12,20:48:4'; None where nothing is given.

    Raises:
        RequestError: no such list, or a fraction is given, too.
    """
    if not text.strip():
        return None
    if keep_frames != 1:
        raise RequestError("--kept-frames and --keep-frames exclude each other: drop one of them.")
    frames: set[int] = set()
    for part in text.split(","):
        frames.update(_frames_of(part.strip(), text))
    return tuple(sorted(frames))


def _frames_of(part: str, text: str) -> range:
    numbers = part.split(":")
    if not 1 <= len(numbers) <= 3 or not all(number.isascii() and number.isdigit() for number in numbers):
        raise _refuse(text)
    first, last, step = [*map(int, (*numbers, numbers[0])[:2]), int(numbers[2]) if len(numbers) == 3 else 1]
    if not first <= last < MAX_FRAMES or step < 1:
        raise _refuse(text)
    return range(first, last + 1, step)


def _refuse(text: str) -> RequestError:
    return RequestError(
        f"'{text}' are no kept frames: give indices from 0 to {MAX_FRAMES - 1} such as 0,12,48, "
        "or first:last or first:last:step."
    )
