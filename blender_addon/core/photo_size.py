"""Sizes of photos: read from their first bytes, and sizes of videos in their proportions."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import BinaryIO

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ORIENTATION_TAG = 0x0112
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_MAX_EXIF = 1 << 16
_PROPORTIONS_WEIGHT = 6.0
"""How much more wrong proportions count than another area: the photo is cropped by them."""


@dataclass(frozen=True)
class PhotoFormat:
    """Size of a photo as it is stored, and its EXIF orientation (1 = upright)."""

    width: int
    height: int
    orientation: int = 1

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height as it is meant to be seen."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


@dataclass(frozen=True)
class SizeRule:
    """Sizes of video that an engine can make.

    Attributes:
        side_multiple, max_side: width and height are multiples of the first, at most the second, in pixels.
        fixed: the one size that can be made, or None.
    """

    side_multiple: int = 16
    max_side: int = 2048
    fixed: tuple[int, int] | None = None


def nearest_size(photo: tuple[int, int], area: float, rule: SizeRule) -> tuple[int, int]:
    """The size nearest to the photo's proportions and to an area that the rule allows.

    Args:
        photo: width and height.
        area: wanted number of pixels.
    """
    if rule.fixed is not None:
        return rule.fixed
    step = max(rule.side_multiple, 1)
    most = max(rule.max_side // step, 1)
    proportions = photo[0] / photo[1]
    best, best_cost = (step, step), math.inf
    for columns in range(1, most + 1):
        exact = columns / proportions
        for rows in {math.floor(exact), math.ceil(exact)}:
            if not 1 <= rows <= most:
                continue
            wrong = abs(math.log(columns / rows / proportions))
            cost = _PROPORTIONS_WEIGHT * wrong + abs(math.log(columns * rows * step * step / area))
            if cost < best_cost:
                best, best_cost = (columns * step, rows * step), cost
    return best


def read_photo_format(file: BinaryIO) -> PhotoFormat | None:
    """Read size and orientation of a JPEG or PNG from its first bytes; None where it is neither."""
    start = file.read(24)
    if start.startswith(PNG_SIGNATURE) and len(start) == 24:
        return PhotoFormat(*struct.unpack(">II", start[16:]))
    if start[:2] != b"\xff\xd8":
        return None
    file.seek(2)
    try:
        return _read_jpeg(file)
    except struct.error:  # it ends in the middle of a number
        return None


def _read_jpeg(file: BinaryIO) -> PhotoFormat | None:
    orientation = 1
    while True:
        marker, length = struct.unpack(">HH", file.read(4))
        if marker >> 8 != 0xFF or length < 2:
            return None
        kind = marker & 0xFF
        if kind in _FRAME_MARKERS:
            _, height, width = struct.unpack(">BHH", file.read(5))
            return PhotoFormat(width, height, orientation) if width and height else None
        if kind == 0xE1 and length <= _MAX_EXIF:
            orientation = _orientation(file.read(length - 2)) or orientation
        else:
            file.seek(length - 2, 1)


def _orientation(segment: bytes) -> int:
    """The EXIF orientation in an APP1 segment, 0 where there is none."""
    if not segment.startswith(b"Exif\0\0"):
        return 0
    tiff = segment[6:]
    order = "<" if tiff.startswith(b"II") else ">"
    (start,) = struct.unpack_from(f"{order}I", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff, start)
    for entry in range(count):
        tag, _, _, value = struct.unpack_from(f"{order}HHIH", tiff, start + 2 + 12 * entry)
        if tag == _ORIENTATION_TAG:
            return value if 1 <= value <= 8 else 0
    return 0
