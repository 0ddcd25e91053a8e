"""Reading and writing trajectory sets: an .npz of schema 1, without pickle, sizes checked before allocation.

The writer is deterministic (same set, same bytes), so that a file's SHA-256 identifies its content.
"""

from __future__ import annotations

import io
import json
import lzma
import math
import os
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from .camera_track import CameraTrack, Projection
from .errors import ErrorCode
from .trajectories import (
    MAX_FRAMES,
    MAX_IDS,
    MAX_SAMPLES,
    MAX_SIDE,
    SCHEMA_VERSION,
    Segment,
    TrajectoryError,
    TrajectoryMeta,
    TrajectorySet,
)

_REQUIRED = ("positions", "visible", "seg_id", "traj_id", "meta")
_OPTIONAL = ("color", "silhouette")
_MAX_META_CHARS = 64 * 1024 * 1024
# What zipfile raises for damaged archives, besides OSError for impossible offsets.
_ARCHIVE_ERRORS = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
    ValueError,
    struct.error,
)
_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_trajectories(trajectories: TrajectorySet, path: Path | str) -> Path:
    """Write a set to `path` (temporary name first, then rename).

    Raises:
        TrajectoryError: the folder is missing or cannot be written (full disk, no permission).
    """
    path = Path(path)
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            try:
                _write(trajectories, file)
                file.flush()
                os.fsync(file.fileno())
            except BaseException:
                file.close()
                temporary.unlink(missing_ok=True)
                raise
        # A temporary file is private to its owner; a result is not.
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise TrajectoryError(
            f"The trajectory set cannot be written to {path} ({error.strerror or error}): "
            "check that the folder exists, is writable and has free space.",
            ErrorCode.DISK,
        ) from error
    return path


def trajectories_to_bytes(trajectories: TrajectorySet) -> bytes:
    """Return the bytes that `write_trajectories` writes."""
    buffer = io.BytesIO()
    _write(trajectories, buffer)
    return buffer.getvalue()


def _write(trajectories: TrajectorySet, file: Any) -> None:
    arrays: dict[str, NDArray[Any]] = {
        "meta": np.array(json.dumps(meta_to_dict(trajectories.meta), sort_keys=True)),
        "seg_id": trajectories.seg_id,
        "traj_id": trajectories.traj_id,
        "visible": trajectories.visible,
        "positions": trajectories.positions,
    }
    if trajectories.color is not None:
        arrays["color"] = trajectories.color
    if trajectories.silhouette is not None:
        arrays["silhouette"] = trajectories.silhouette
    with zipfile.ZipFile(file, "w", allowZip64=True) as archive:
        for name, array in arrays.items():
            info = zipfile.ZipInfo(f"{name}.npy", date_time=_EPOCH)
            # Float positions hardly shrink and would dominate the time.
            info.compress_type = zipfile.ZIP_STORED if name == "positions" else zipfile.ZIP_DEFLATED
            with archive.open(info, "w", force_zip64=True) as entry:
                np.lib.format.write_array(
                    entry, np.asarray(array, order="C"), version=(1, 0), allow_pickle=False
                )


def read_trajectories(source: Path | str | bytes | BinaryIO) -> TrajectorySet:
    """Read and validate a set from a path, from its bytes or from a file that is open for reading.

    Only a path is named in errors.

    Raises:
        TrajectoryError: not a trajectory set, another schema, or an array that breaks it (named).
    """
    label = f"The trajectory file {source}" if isinstance(source, (str, Path)) else "The trajectory file"
    try:
        with zipfile.ZipFile(io.BytesIO(source) if isinstance(source, bytes) else source) as archive:
            return _read(archive, label)
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise TrajectoryError(f"{label} cannot be opened ({error.strerror}): check the path.") from error
    except (*_ARCHIVE_ERRORS, OSError) as error:
        raise TrajectoryError(
            f"{label} is not a complete .npz archive ({error}): write it again with 'flextraj sample'."
        ) from error


def _read(archive: zipfile.ZipFile, label: str) -> TrajectorySet:
    names = archive.namelist()
    found = {name.removesuffix(".npy") for name in names}
    if len(found) != len(names):
        raise TrajectoryError(f"{label} holds an array twice: write it again.")
    if "meta" not in found:
        raise TrajectoryError(f"{label} has no array 'meta': it is not a FlexTraj trajectory set.")
    meta_array = _read_array(archive, "meta", label)
    frame_count, meta = meta_from_json(str(meta_array[()]))
    missing = [name for name in _REQUIRED if name not in found]
    if missing:
        raise TrajectoryError(f"{label} has no array '{missing[0]}': write it again with 'flextraj sample'.")
    unknown = sorted(found - {*_REQUIRED, *_OPTIONAL})
    if unknown:
        raise TrajectoryError(
            f"{label} has an array '{unknown[0]}' that schema {SCHEMA_VERSION} does not know."
        )
    arrays = {name: _read_array(archive, name, label) for name in sorted(found - {"meta"})}
    if len(arrays["positions"]) != frame_count:
        raise TrajectoryError(
            f"The trajectory set's array 'positions' holds {len(arrays['positions'])} frames, "
            f"but its meta lists {frame_count} source frames."
        )
    return TrajectorySet(meta=meta, **arrays)


_NDIM = {
    "positions": (3,),
    "visible": (2,),
    "seg_id": (1,),
    "traj_id": (1,),
    "color": (2, 3),
    "silhouette": (3,),
}
_DTYPE = {
    "positions": "<f4",
    "visible": "|b1",
    "seg_id": "<u2",
    "traj_id": "<u2",
    "color": "|u1",
    "silhouette": "|b1",
}
_LIMIT = {
    "positions": MAX_SAMPLES * 3,
    "visible": MAX_SAMPLES,
    "seg_id": MAX_SAMPLES,
    "traj_id": MAX_SAMPLES,
    "color": MAX_SAMPLES * 3,
    # Silhouettes of every segment at the largest raster would be absurd; this is 1,000 segments in 4K.
    "silhouette": 9_000_000_000,
}


def _read_array(archive: zipfile.ZipFile, name: str, label: str) -> NDArray[Any]:
    """Read one member; its header is checked against the schema and the archive before data is allocated."""

    def bad(problem: str) -> TrajectoryError:
        return TrajectoryError(f"{label}: array '{name}' {problem}.")

    try:
        info = archive.getinfo(f"{name}.npy")
    except KeyError:
        raise bad("is not stored as a .npy member") from None
    with archive.open(info) as entry:
        dtype, shape, fortran_order = _read_header(entry, bad)
        count = math.prod(shape)
        if name == "meta":
            if dtype.kind != "U" or shape != () or dtype.itemsize > 4 * _MAX_META_CHARS:
                raise bad("must be JSON text in a 0-d unicode array")
        else:
            if dtype.newbyteorder("<").str != _DTYPE[name]:
                raise bad(f"has type {dtype}, but schema {SCHEMA_VERSION} wants {np.dtype(_DTYPE[name])}")
            if len(shape) not in _NDIM[name]:
                raise bad(f"has shape {shape}, which schema {SCHEMA_VERSION} does not know")
            if count > _LIMIT[name] or (name == "positions" and shape[0] > MAX_FRAMES):
                raise bad(f"has shape {shape}, larger than is supported")
            if name == "silhouette" and (max(shape[1:]) > MAX_SIDE or shape[0] > MAX_IDS):
                raise bad(f"has shape {shape}, larger than is supported")
        size = count * dtype.itemsize
        # The archive's own record of the size must agree, so that a lying header allocates nothing.
        if not size <= info.file_size <= size + 65_600:
            raise bad("is truncated or longer than its header says")
        data = entry.read(size)
        if len(data) != size:
            raise bad("is truncated")
        entry.read()  # reaches the end, where the archive's checksum is compared
    array = np.frombuffer(data, dtype=dtype).reshape(shape, order="F" if fortran_order else "C")
    if name == "meta":
        return array
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _read_header(entry: Any, bad: Any) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    try:
        version = np.lib.format.read_magic(entry)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[
            version
        ]
        shape, fortran_order, dtype = read(entry)
    except (ValueError, KeyError, EOFError, TypeError) as error:
        raise bad(f"has no readable .npy header ({error})") from error
    if dtype.hasobject:
        raise bad("holds Python objects, which are never loaded")
    if any(type(side) is not int or side < 0 for side in shape):
        raise bad(f"has the impossible shape {shape}")
    return dtype, shape, fortran_order


def meta_to_dict(meta: TrajectoryMeta) -> dict[str, Any]:
    """Return the JSON object of a set's metadata."""
    camera = meta.camera
    return {
        "schema_version": SCHEMA_VERSION,
        "width": meta.width,
        "height": meta.height,
        "fps": meta.fps,
        "source_frames": list(meta.source_frames),
        "segments": [
            {"id": s.id, "name": s.name, "group": s.group, "background": s.background} for s in meta.segments
        ],
        "camera": None
        if camera is None
        else {
            "projection": camera.projection.value,
            "focal_px": camera.focal.tolist(),
            "principal_px": camera.principal.tolist(),
            "camera_to_world": camera.camera_to_world.tolist(),
        },
        "aligned": meta.aligned,
        "seed": meta.seed,
        "producer": meta.producer,
        "producer_version": meta.producer_version,
    }


def meta_from_json(text: str) -> tuple[int, TrajectoryMeta]:
    """Parse metadata; returns (frame count, metadata). Raises TrajectoryError."""

    def bad(problem: str) -> TrajectoryError:
        return TrajectoryError(f"The trajectory set's meta {problem}.")

    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise bad(f"is not valid JSON ({error})") from error
    if not isinstance(values, dict):
        raise bad("is not a JSON object")
    version = values.get("schema_version")
    if type(version) is not int or version != SCHEMA_VERSION:
        raise TrajectoryError(
            f"The trajectory set has schema version {version!r}, this FlexTraj reads {SCHEMA_VERSION}: "
            "write it again with this version or update FlexTraj."
        )
    try:
        segments = tuple(
            Segment(
                _integer(s["id"]),
                _text(s["name"]),
                _integer(s.get("group", 0)),
                _truth(s.get("background", False)),
            )
            for s in values["segments"]
        )
        raw = values.get("camera")
        camera = None
        if raw is not None:
            camera = CameraTrack(
                Projection(raw["projection"]),
                np.array(raw["focal_px"], dtype=np.float64),
                np.array(raw["principal_px"], dtype=np.float64),
                np.array(raw["camera_to_world"], dtype=np.float64),
            )
        seed = values.get("seed")
        meta = TrajectoryMeta(
            width=_integer(values["width"]),
            height=_integer(values["height"]),
            fps=_number(values["fps"]),
            source_frames=tuple(_number(frame) for frame in values["source_frames"]),
            segments=segments,
            camera=camera,
            aligned=_truth(values.get("aligned", False)),
            seed=None if seed is None else _integer(seed),
            producer=_text(values.get("producer", "unknown")),
            producer_version=_text(values.get("producer_version", "0")),
        )
    except KeyError as error:
        raise bad(f"lacks {error}") from error
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise bad(f"has a value of the wrong type ({error})") from error
    return len(meta.source_frames), meta


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} is not a whole number")
    return value


def _truth(value: Any) -> bool:
    if type(value) is not bool:
        raise TypeError(f"{value!r} is not true or false")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float):
        raise TypeError(f"{value!r} is not a number")
    return float(value)


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError(f"{value!r} is not text")
    value.encode()  # a lone surrogate cannot be stored or shown
    return value
