"""Headers of safetensors files: names, types, shapes and places of tensors, checked before anything is read.

A safetensors file is 8 bytes (length of the header, little endian), a JSON header and the tensors' bytes,
without gaps. Reading it takes NumPy and the standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from blender_addon.core.errors import ErrorCode, FlexTrajError

MAX_HEADER_BYTES = 16 << 20
PICKLE_SUFFIXES = frozenset({".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"})

_LENGTH_BYTES = 8
_MAX_DIMENSIONS = 8
_CHUNK_BYTES = 1 << 20
# Zip archives (torch.save) and bare pickles of protocol 2 to 5.
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_OTHER_KIND = (
    "is not a safetensors file (a Git LFS pointer or a web page under its name?): download it again."
)

_DTYPE_BITS = {
    "F4": 4,
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
}


class _FloatBits(NamedTuple):
    """How a floating type is laid out: an all-ones exponent means infinite or not a number."""

    integer: str
    exponent: int
    magnitude: int


_FLOAT_BITS = {
    "F16": _FloatBits("<u2", 0x7C00, 0x7FFF),
    "BF16": _FloatBits("<u2", 0x7F80, 0x7FFF),
    "F32": _FloatBits("<u4", 0x7F800000, 0x7FFFFFFF),
    "F64": _FloatBits("<u8", 0x7FF0000000000000, 0x7FFFFFFFFFFFFFFF),
}
FLOAT_DTYPES = frozenset(_FLOAT_BITS)
"""Types whose values can be checked here (and that a control may be stored in)."""


@dataclass(frozen=True)
class StoredTensor:
    """One entry of a header."""

    dtype: str
    """As safetensors writes it: F32, BF16, ..."""
    shape: tuple[int, ...]
    start: int
    """Position of the first byte in the file."""
    nbytes: int


@dataclass(frozen=True)
class SafetensorsHeader:
    """What a file says about itself; every tensor is known to lie inside the file."""

    path: Path
    file_bytes: int
    tensors: Mapping[str, StoredTensor]
    metadata: Mapping[str, str]

    @property
    def parameters(self) -> int:
        return sum(prod(tensor.shape) for tensor in self.tensors.values())


def read_header(path: Path) -> SafetensorsHeader:
    """Read and check the header of a safetensors file; none of its tensors.

    Raises:
        FlexTrajError: no such file, a pickle, a truncated file, or a header that contradicts the file.
    """
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "missing"
        raise _error(path, f"is {kind}: give a .safetensors file.")
    if path.suffix.lower() in PICKLE_SUFFIXES:
        raise _pickle(path)
    try:
        file_bytes = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(_LENGTH_BYTES + 1)
            length = int.from_bytes(start[:_LENGTH_BYTES], "little")
            if start[_LENGTH_BYTES:] != b"{":
                raise _pickle(path) if start.startswith(_PICKLE_STARTS) else _error(path, _OTHER_KIND)
            if length > file_bytes - _LENGTH_BYTES:
                raise _error(path, "ends within its header: it is cut short or damaged, download it again.")
            if length > MAX_HEADER_BYTES:
                raise _error(path, f"has a header of {length} bytes, more than {MAX_HEADER_BYTES}.")
            file.seek(_LENGTH_BYTES)
            text = file.read(length)
    except OSError as error:
        raise _error(path, f"cannot be read: {error.strerror or error}.") from error
    entries = _parse(path, text)
    metadata = _metadata(path, entries.pop("__metadata__", None))
    data_start = _LENGTH_BYTES + length
    tensors = {name: _tensor(path, name, entry, data_start) for name, entry in entries.items()}
    _check_places(path, tensors, data_start, file_bytes)
    return SafetensorsHeader(path, file_bytes, tensors, metadata)


def is_zero(header: SafetensorsHeader, name: str) -> bool:
    """Whether all values are 0; a tensor that is not is left after its first piece. `FLOAT_DTYPES` only."""
    bits = _FLOAT_BITS[header.tensors[name].dtype]
    return not any((piece & bits.magnitude).any() for piece in _pieces(header, name))


def is_finite(header: SafetensorsHeader, name: str) -> bool:
    """Whether no value is infinite or not a number. `FLOAT_DTYPES` only."""
    bits = _FLOAT_BITS[header.tensors[name].dtype]
    return not any(((piece & bits.exponent) == bits.exponent).any() for piece in _pieces(header, name))


def _pieces(header: SafetensorsHeader, name: str) -> Iterator[np.ndarray]:
    """A tensor's bytes as integers of its width, a megabyte at a time."""
    tensor = header.tensors[name]
    integer = np.dtype(_FLOAT_BITS[tensor.dtype].integer)
    with header.path.open("rb") as file:
        file.seek(tensor.start)
        left = tensor.nbytes
        while left:
            data = file.read(min(left, _CHUNK_BYTES))
            if not data or len(data) % integer.itemsize:
                raise _error(header.path, "changed while it was read: try again.")
            left -= len(data)
            yield np.frombuffer(data, integer)


def _error(path: Path, text: str) -> FlexTrajError:
    return FlexTrajError(f"{path} {text}", ErrorCode.WEIGHTS)


def _pickle(path: Path) -> FlexTrajError:
    return _error(
        path,
        "is a pickle, which may run any program when it is opened: use the weights' .safetensors file.",
    )


def _parse(path: Path, text: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        entries = dict(pairs)
        if len(entries) != len(pairs):
            raise ValueError("a name occurs twice")
        return entries

    try:
        entries = json.loads(text.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise _error(path, "has a damaged header: download the file again.") from error
    if not isinstance(entries, dict):
        raise _error(path, "has a damaged header: download the file again.")
    return entries


def _metadata(path: Path, entry: object) -> dict[str, str]:
    if entry is None:
        return {}
    if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
        raise _error(path, "has damaged metadata in its header: download the file again.")
    return entry


def _tensor(path: Path, name: str, entry: object, data_start: int) -> StoredTensor:
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [begin, end]} if (
            dtype in _DTYPE_BITS
            and len(shape) <= _MAX_DIMENSIONS
            and all(type(number) is int and number >= 0 for number in (*shape, begin, end))
            and prod(shape) * _DTYPE_BITS[dtype] == (end - begin) * 8
        ):
            return StoredTensor(dtype, tuple(shape), data_start + begin, end - begin)
    raise _error(path, f"has a header that contradicts itself at {_shown(name)}: download the file again.")


def _check_places(path: Path, tensors: Mapping[str, StoredTensor], data_start: int, file_bytes: int) -> None:
    """Tensors lie one after the other without gap or overlap and fill the file."""
    position = data_start
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].nbytes)):
        if tensor.start != position:
            raise _error(path, f"has a gap or an overlap before {_shown(name)}: download the file again.")
        position += tensor.nbytes
    if position > file_bytes:
        raise _error(
            path,
            f"is cut short: {file_bytes} of {position} bytes are there, download it again.",
        )
    if position < file_bytes:
        raise _error(
            path,
            f"is {file_bytes - position} bytes longer than its header says: download it again.",
        )


def _shown(name: str) -> str:
    """A name from a file that may be damaged, short and printable."""
    return ascii(name[:80])
