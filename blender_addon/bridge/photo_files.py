"""Photos and masks as files: where they are, how large, and a mask's pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bpy
import numpy as np
from numpy.typing import NDArray

from ..core.errors import ErrorCode, FlexTrajError
from ..core.photo_check import PhotoState, photo_state
from ..core.photo_size import PhotoFormat, read_photo_format

if TYPE_CHECKING:
    from ..properties import FlexTrajSettings


def image_path(text: str, what: str, code: ErrorCode) -> Path:
    """The file that a path property names. Raises FlexTrajError where there is none."""
    path = Path(bpy.path.abspath(text))
    if not path.is_file():
        raise FlexTrajError(f"The {what} {path} does not exist: choose the image again under Photo.", code)
    return path


def is_chosen(settings: FlexTrajSettings, photo: str | Path) -> bool:
    """Whether a photo is the one that is chosen now."""
    return Path(bpy.path.abspath(settings.photo)) == Path(bpy.path.abspath(str(photo)))


@dataclass(frozen=True)
class ViewablePhoto:
    """A photo that can be shown.

    Attributes:
        path: its file.
        stamp: another one once the file has changed.
    """

    path: Path
    stamp: int


def viewable_photo(text: str, can_show: Callable[[str, int], bool]) -> ViewablePhoto:
    """Look whether the photo that a path property names can be shown; files are read once.

    Args:
        can_show: whether Blender can show a path with a stamp; asked where only decoding tells.

    Raises:
        FlexTrajError: (NO_PHOTO, IMAGE) it cannot.
    """
    path = image_path(text, "photo", ErrorCode.NO_PHOTO)
    try:
        stamp = path.stat().st_mtime_ns
        state = _photo_state(path, stamp)
    except OSError as error:
        raise _unreadable(path, error) from error
    if state is PhotoState.DAMAGED or (state is PhotoState.UNKNOWN and not can_show(str(path), stamp)):
        raise FlexTrajError(
            f"{path.name} is damaged or no image: choose a JPEG or PNG file as the photo.", ErrorCode.IMAGE
        )
    return ViewablePhoto(path, stamp)


@lru_cache(maxsize=32)
def _photo_state(path: Path, _changed: int) -> PhotoState:
    with path.open("rb") as file:
        return photo_state(file)


def _unreadable(path: Path, error: OSError) -> FlexTrajError:
    return FlexTrajError(
        f"The photo {path} cannot be read ({error.strerror or error}): choose another one.",
        ErrorCode.NO_PHOTO,
    )


def photo_format(path: Path) -> PhotoFormat:
    """Size and orientation of a photo, remembered as long as the file stays. Raises FlexTrajError (IMAGE)."""
    try:
        return _photo_format(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise _unreadable(path, error) from error


@lru_cache(maxsize=32)
def _photo_format(path: Path, _changed: int) -> PhotoFormat:
    with path.open("rb") as file:
        found = read_photo_format(file)
    if found is not None:
        return found
    image = load_image_apart(path)
    try:
        width, height = image.size
    finally:
        bpy.data.images.remove(image)
    if not width or not height:
        raise FlexTrajError(
            f"{path} is not an image that Blender can read: choose a JPEG or PNG file.", ErrorCode.IMAGE
        )
    return PhotoFormat(width, height)


def load_image_apart(path: Path) -> Any:
    """Load an image as a data-block of its own, whoever else shows it. Raises FlexTrajError (IMAGE)."""
    try:
        return bpy.data.images.load(str(path), check_existing=False)
    except RuntimeError as error:
        raise FlexTrajError(
            f"{path} cannot be read as an image: choose a JPEG or PNG file.", ErrorCode.IMAGE
        ) from error


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Read a mask, (H, W) bool; brighter than middle grey is subject. Raises FlexTrajError (MASK)."""
    image = load_image_apart(path)
    try:
        width, height = image.size
        if not width or not height:
            raise FlexTrajError(f"The mask {path} cannot be read: choose another image.", ErrorCode.MASK)
        pixels = np.empty(width * height * 4, np.float32)
        image.pixels.foreach_get(pixels)
    finally:
        bpy.data.images.remove(image)
    rows = pixels.reshape(height, width, 4)[::-1]  # Blender's first row is the lowest
    return rows[..., :3] @ np.array([0.299, 0.587, 0.114], np.float32) > 0.5
