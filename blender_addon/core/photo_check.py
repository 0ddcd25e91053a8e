"""Whether a file is an image that can be shown, as far as that is told without decoding it."""

from __future__ import annotations

import struct
import zlib
from enum import Enum
from typing import BinaryIO

from .photo_size import PNG_SIGNATURE, read_photo_format

_CHUNK_BYTES = 1 << 20


class PhotoState(Enum):
    """What is known of a photo."""

    WHOLE = "whole"
    DAMAGED = "damaged"
    UNKNOWN = "unknown"
    """Neither JPEG nor PNG: only who decodes it can tell."""


def photo_state(file: BinaryIO) -> PhotoState:
    """Look at the parts of a JPEG or PNG; a JPEG that ends early is shown as far as it goes."""
    start = file.read(len(PNG_SIGNATURE))
    if start == PNG_SIGNATURE:
        return PhotoState.WHOLE if _is_whole_png(file) else PhotoState.DAMAGED
    if not start.startswith(b"\xff\xd8"):
        return PhotoState.UNKNOWN
    file.seek(0)
    return PhotoState.DAMAGED if read_photo_format(file) is None else PhotoState.WHOLE


def _is_whole_png(file: BinaryIO) -> bool:
    """Whether all chunks up to the last are whole and have their check sums (PNG specification, 5)."""
    while True:
        head = file.read(8)
        if len(head) < 8:
            return False
        length, kind = struct.unpack(">I4s", head)
        check_sum = zlib.crc32(kind)
        while length:
            data = file.read(min(length, _CHUNK_BYTES))
            if not data:
                return False
            check_sum = zlib.crc32(data, check_sum)
            length -= len(data)
        if file.read(4) != struct.pack(">I", check_sum):
            return False
        if kind == b"IEND":
            return True
