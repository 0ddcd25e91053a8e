"""A clip as the members of one WebDataset sample, and back.

| member | holds |
|---|---|
| `frames.png` or `video.mp4` | the frames: see `frame_members` |
| `first.png` | the first frame, lossless in every case: the reference photo |
| `trajectories.npz` | the clip's own set (schema 1) |
| `other0.npz`, `other1.npz`, ... | the same motion by other characters (schema 1) |
| `segments.npz` | the masks: array `segments`, (T, H, W) uint8 |
| `prompt.txt` | the scene in words |
| `json` | the record of everything that was drawn |

Neither bpy nor torch. No pickle; sizes are checked before anything is allocated.
"""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.trajectory_file import read_trajectories, trajectories_to_bytes
from flextraj_backend.synthesis.clip import ClipRecord, SyntheticClip
from flextraj_backend.synthesis.frame_members import (
    VideoQuality,
    encode_png,
    frames_from_members,
    frames_to_member,
)
from flextraj_backend.synthesis.record_json import from_json, to_json

KEY_PATTERN = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
FIRST, TRAJECTORIES, SEGMENTS, PROMPT, RECORD = (
    "first.png",
    "trajectories.npz",
    "segments.npz",
    "prompt.txt",
    "json",
)
_OTHER = re.compile(r"other(\d{1,3})\.npz")
_MAX_TEXT = 1 << 20
_EPOCH = (1980, 1, 1, 0, 0, 0)


class ClipError(FlexTrajError):
    """A clip that cannot be stored or read back; the sentence names its key."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(
            f"The clip '{key}' {problem}: run 'flextraj synthesize --check DIR --repair' on its dataset.",
            ErrorCode.TRAJECTORIES,
        )
        self.key = key
        self.problem = problem

    def __reduce__(self) -> tuple[type[ClipError], tuple[str, str]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return type(self), (self.key, self.problem)


def clip_to_files(clip: SyntheticClip, quality: VideoQuality = VideoQuality.LOSSLESS) -> dict[str, bytes]:
    """Return the members of a clip by name; the same clip gives the same bytes.

    Raises:
        ClipError: key, shapes or types break the contract of `SyntheticClip`.
        FlexTrajError: the video encoder failed.
    """
    check_clip(clip)
    name, content = frames_to_member(clip.frames, clip.trajectories.meta.fps, quality)
    files = {
        name: content,
        FIRST: encode_png(clip.frames[0]),
        TRAJECTORIES: trajectories_to_bytes(clip.trajectories),
        SEGMENTS: _segments_to_bytes(clip.segments),
        PROMPT: clip.prompt.encode(),
        RECORD: (json.dumps(to_json(clip.record), indent=1, ensure_ascii=False) + "\n").encode(),
    }
    return files | {
        f"other{index}.npz": trajectories_to_bytes(other) for index, other in enumerate(clip.others)
    }


def clip_from_files(key: str, files: Mapping[str, bytes]) -> SyntheticClip:
    """Read a clip from the members of its sample.

    Raises:
        ClipError: a member is missing, damaged, or does not fit the others.
    """
    for name in (TRAJECTORIES, SEGMENTS, PROMPT, RECORD):
        if name not in files:
            raise ClipError(key, f"lacks its member {name}")
    try:
        trajectories = read_trajectories(files[TRAJECTORIES])
        meta = trajectories.meta
        shape = (trajectories.frame_count, meta.height, meta.width)
        frames = frames_from_members(files, shape)
        others = tuple(read_trajectories(files[name]) for name in _other_names(files))
        record = from_json(ClipRecord, _load_json(files[RECORD]))
        prompt = files[PROMPT][:_MAX_TEXT].decode()
    except FlexTrajError as error:
        raise ClipError(key, f"cannot be read ({error.message.rstrip('.')})") from error
    except (ValueError, RecursionError) as error:
        raise ClipError(key, f"cannot be read ({error})") from error
    segments = _segments_from_bytes(key, files[SEGMENTS], shape)
    clip = SyntheticClip(key, frames, trajectories, segments, others, prompt, record)
    check_clip(clip)
    return clip


def check_clip(clip: SyntheticClip) -> None:
    """Check key, shapes and types against the contract of `SyntheticClip`. Raises ClipError."""

    def bad(problem: str) -> ClipError:
        return ClipError(clip.key, problem)

    if not KEY_PATTERN.fullmatch(clip.key):
        raise bad("has a key of other signs than small letters, digits, '-' and '_'")
    meta = clip.trajectories.meta
    shape = (clip.trajectories.frame_count, meta.height, meta.width)
    if clip.frames.dtype != np.uint8 or clip.frames.shape != (*shape, 3):
        raise bad(f"has frames of shape {clip.frames.shape} where its trajectories promise {(*shape, 3)}")
    if clip.segments.dtype != np.uint8 or clip.segments.shape != shape:
        raise bad(f"has masks of shape {clip.segments.shape} where its trajectories promise {shape}")
    if int(clip.segments.max(initial=0)) > len(meta.segments):
        raise bad(f"has a mask of segment {int(clip.segments.max()) - 1} of {len(meta.segments)}")
    for index, other in enumerate(clip.others):
        other_shape = (other.frame_count, other.meta.height, other.meta.width)
        if other_shape != shape:
            raise bad(f"has a set 'other{index}' of frames and raster {other_shape}, not {shape}")


def _other_names(files: Mapping[str, bytes]) -> list[str]:
    numbers = sorted(int(match[1]) for name in files if (match := _OTHER.fullmatch(name)))
    if numbers != list(range(len(numbers))):
        raise ValueError("the sets of other characters are not numbered one by one")
    return [f"other{number}.npz" for number in numbers]


def _load_json(data: bytes) -> object:
    if len(data) > _MAX_TEXT:
        raise ValueError("the record is too long")
    return json.loads(data)


def _segments_to_bytes(segments: NDArray[np.uint8]) -> bytes:
    """An .npz whose bytes depend on the masks alone; `np.savez` would store the time."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("segments.npy", date_time=_EPOCH)
        info.compress_type = zipfile.ZIP_DEFLATED
        with archive.open(info, "w", force_zip64=True) as entry:
            np.lib.format.write_array(entry, np.ascontiguousarray(segments), (1, 0), allow_pickle=False)
    return buffer.getvalue()


def _segments_from_bytes(key: str, data: bytes, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Read (T, H, W) uint8 masks whose shape is known. Raises ClipError."""
    size = shape[0] * shape[1] * shape[2]
    try:
        with (
            zipfile.ZipFile(io.BytesIO(data)) as archive,
            archive.open("segments.npy") as entry,
        ):
            if np.lib.format.read_magic(entry) != (1, 0):
                raise ValueError("another .npy version")
            found, fortran_order, dtype = np.lib.format.read_array_header_1_0(entry)
            if found != shape or dtype != np.uint8 or fortran_order:
                raise ValueError(f"{dtype} of shape {found} where {shape} is expected")
            content = entry.read(size)
            # The second read reaches the end, where the archive's checksum is compared.
            if len(content) != size or entry.read(1):
                raise ValueError("truncated, or longer than its header says")
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        KeyError,
        EOFError,
        ValueError,
        RuntimeError,
        OSError,
    ) as error:
        raise ClipError(key, f"has masks that cannot be read ({error})") from error
    return np.frombuffer(content, np.uint8).reshape(shape)
