"""Masks as PNG files: 8 bits of grey, written and read with the standard library."""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from pathlib import Path
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from .errors import ErrorCode, FlexTrajError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY_HEADER = struct.Struct(">IIBBBBB")
_NO_FILTER = 0
MAX_PIXELS = 64_000_000


def encode_mask(mask: NDArray[np.bool_]) -> bytes:
    """Write a mask (H, W) bool as the bytes of a PNG: white = subject."""
    height, width = mask.shape
    rows = np.zeros((height, width + 1), np.uint8)  # each row begins with the number of its filter
    rows[:, 1:] = np.where(mask, np.uint8(255), np.uint8(0))
    header = _GREY_HEADER.pack(width, height, 8, 0, 0, 0, 0)
    return b"".join(
        (
            _SIGNATURE,
            _chunk(b"IHDR", header),
            _chunk(b"IDAT", zlib.compress(rows.tobytes(), 6)),
            _chunk(b"IEND", b""),
        )
    )


def decode_mask(data: bytes) -> NDArray[np.bool_]:
    """Read what `encode_mask` wrote: (H, W) bool. Raises FlexTrajError on anything else."""
    if not data.startswith(_SIGNATURE):
        raise _refuse("it is no PNG")
    parts: dict[bytes, bytes] = {}
    offset = len(_SIGNATURE)
    while offset + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, offset)
        body = data[offset + 8 : offset + 8 + length]
        checksum = data[offset + 8 + length : offset + 12 + length]
        if len(checksum) != 4 or int.from_bytes(checksum, "big") != zlib.crc32(kind + body):
            raise _refuse("it is damaged or cut off")
        parts[kind] = parts.get(kind, b"") + body
        offset += length + 12
    header = parts.get(b"IHDR", b"")
    if len(header) != _GREY_HEADER.size:
        raise _refuse("it has no header")
    width, height, *form = _GREY_HEADER.unpack(header)
    if form != [8, 0, 0, 0, 0] or not 0 < width * height <= MAX_PIXELS:
        raise _refuse(f"it is not 8 bits of grey, or {width}x{height} px")
    size = height * (width + 1)
    try:
        raw = zlib.decompressobj().decompress(parts.get(b"IDAT", b""), size)
    except zlib.error as error:
        raise _refuse("it is damaged") from error
    if len(raw) != size:
        raise _refuse("it is cut off")
    rows = np.frombuffer(raw, np.uint8).reshape(height, width + 1)
    if (rows[:, 0] != _NO_FILTER).any():
        raise _refuse("another program wrote it")
    return rows[:, 1:] > 127


def write_new_mask(folder: Path, stem: str, mask: NDArray[np.bool_]) -> Path:
    """Write a mask into a folder under a name that no file has yet; return it.

    Raises:
        FlexTrajError: the folder cannot be written.
    """
    temporary = folder / f".{uuid4().hex}.png"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(encode_mask(mask))
        number = 1
        while True:
            path = folder / f"{stem}-{number:03d}.png"
            try:
                # Unlike a rename, this fails where somebody has made a file of that name meanwhile.
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                break
            except FileExistsError:
                number += 1
        temporary.replace(path)
        return path
    except OSError as error:
        raise FlexTrajError(
            f"The mask cannot be written to {folder} ({error.strerror or error}): "
            "choose another output folder in the add-on's preferences.",
            ErrorCode.DISK,
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _refuse(problem: str) -> FlexTrajError:
    return FlexTrajError(
        f"The mask cannot be read, because {problem}: fit the motion to the photo again.", ErrorCode.MASK
    )
