"""A folder of clips: WebDataset shards (`shards/train-000000.tar`) and the index `clips.jsonl`.

A clip's members lie side by side in its shard, so a clip is one range of bytes: the index has its offset,
size and SHA-256, and any clip is read with one seek. Nothing is ever extracted to disk.

Neither bpy nor torch.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.atomic_file import atomic_path, write_text
from flextraj_backend.synthesis.clip import SyntheticClip
from flextraj_backend.synthesis.clip_files import KEY_PATTERN, ClipError, clip_from_files, clip_to_files
from flextraj_backend.synthesis.frame_members import VideoQuality
from flextraj_backend.synthesis.record_json import from_json, to_json

SHARDS, INDEX = "shards", "clips.jsonl"
_SHARD_NAME = re.compile(r"[a-z]{1,16}-\d{6}\.tar")
_BLOCK = 512
_END_OF_ARCHIVE = bytes(2 * _BLOCK)


@dataclass(frozen=True)
class PackedClip:
    """A clip as it lies in a shard.

    Attributes:
        key: of the clip.
        pair_group: see `ClipRecord`.
        data: its members as tar records, without the end of an archive.
    """

    key: str
    pair_group: str
    data: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True)
class ClipEntry:
    """One line of the index: where a finished clip is.

    Attributes:
        key, pair_group: of the clip.
        shard: file name within the folder's `shards`.
        offset, size: range of bytes in the shard.
        sha256: of these bytes.
    """

    key: str
    shard: str
    offset: int
    size: int
    sha256: str
    pair_group: str

    def __post_init__(self) -> None:
        """Raises ValueError where a value could lead anywhere else than into the folder's shards."""
        if not KEY_PATTERN.fullmatch(self.key) or not _SHARD_NAME.fullmatch(self.shard):
            raise ValueError(f"'{self.key}' in '{self.shard}' is no clip of a shard")
        if self.offset < 0 or self.size <= 0 or self.offset % _BLOCK or self.size % _BLOCK:
            raise ValueError(f"'{self.key}' lies at an impossible place")


class DatasetError(FlexTrajError):
    """A folder that is no dataset, or a damaged one."""

    def __init__(self, message: str) -> None:
        super().__init__(message, ErrorCode.TRAJECTORIES)


def shard_name(number: int) -> str:
    return f"train-{number:06d}.tar"


def pack_clip(clip: SyntheticClip, quality: VideoQuality = VideoQuality.LOSSLESS) -> PackedClip:
    """Store a clip's members as tar records; the same clip gives the same bytes. Raises FlexTrajError."""
    buffer = io.BytesIO()
    # Never closed: closing would append the end of an archive.
    archive = tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
    for name, content in clip_to_files(clip, quality).items():
        info = tarfile.TarInfo(f"{clip.key}.{name}")
        info.size = len(content)
        info.mode = 0o644
        archive.addfile(info, io.BytesIO(content))
    return PackedClip(clip.key, clip.record.pair_group, buffer.getvalue())


def unpack_files(key: str, data: bytes) -> dict[str, bytes]:
    """Read the members of a packed clip by name, without the key.

    Raises:
        ClipError: no tar records, or a member that is no plain file of this clip.
    """
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for info in archive:
                name = info.name.removeprefix(f"{key}.")
                content = archive.extractfile(info) if info.isreg() else None
                if content is None or name == info.name or name in files:
                    raise ClipError(key, f"holds '{info.name}', which is no member of it")
                files[name] = content.read()
                if len(files[name]) != info.size:
                    raise ClipError(key, f"has the truncated member {name}")
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        raise ClipError(key, f"is damaged ({error})") from error
    return files


def write_shard(folder: Path, name: str, clips: Iterable[PackedClip]) -> tuple[ClipEntry, ...]:
    """Write a whole shard under a temporary name; it has its own name once it is complete and on the disk.

    Returns:
        the clips' lines for the index, in the order of the clips.

    Raises:
        FlexTrajError: the folder cannot be written or the disk is full; nothing is left behind.
    """
    entries: list[ClipEntry] = []
    with atomic_path(folder / SHARDS / name) as temporary, temporary.open("wb") as file:
        for clip in clips:
            entries.append(
                ClipEntry(clip.key, name, file.tell(), len(clip.data), clip.sha256, clip.pair_group)
            )
            file.write(clip.data)
        file.write(_END_OF_ARCHIVE)
        file.flush()
        os.fsync(file.fileno())
    return tuple(entries)


class ClipStore:
    """Random access to the clips of a folder by its index. Can be pickled and used from several processes.

    Raises:
        DatasetError: the folder has no index, or a damaged one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._entries = read_index(folder)

    @property
    def keys(self) -> tuple[str, ...]:
        """Of all finished clips, sorted."""
        return tuple(self._entries)

    def entry(self, key: str) -> ClipEntry:
        """Where a clip is. Raises DatasetError where there is none."""
        try:
            return self._entries[key]
        except KeyError:
            raise DatasetError(
                f"The dataset {self.folder} has no clip '{key}': choose one of its keys."
            ) from None

    def read_packed(self, key: str) -> PackedClip:
        """Read a clip's bytes and compare their SHA-256. Raises ClipError, DatasetError."""
        entry = self.entry(key)
        path = self.folder / SHARDS / entry.shard
        try:
            with path.open("rb") as file:
                # Compared with the file first: a wrong size in the index must not allocate memory.
                if entry.offset + entry.size > file.seek(0, os.SEEK_END):
                    raise ClipError(key, f"is cut off in {entry.shard}")
                file.seek(entry.offset)
                data = file.read(entry.size)
        except OSError as error:
            raise ClipError(key, f"cannot be read from {entry.shard} ({error.strerror or error})") from error
        clip = PackedClip(key, entry.pair_group, data)
        if clip.sha256 != entry.sha256:
            raise ClipError(
                key, f"is damaged in {entry.shard}: its SHA-256 is another than when it was written"
            )
        return clip

    def read(self, key: str) -> SyntheticClip:
        """Read a whole clip. Raises ClipError, DatasetError."""
        return clip_from_files(key, unpack_files(key, self.read_packed(key).data))

    def iterate(self, keys: Iterable[str] | None = None) -> Iterator[SyntheticClip]:
        """Read clips one after the other, in the given order or sorted by key."""
        for key in self.keys if keys is None else keys:
            yield self.read(key)


def dataset_keys(folder: Path) -> tuple[str, ...]:
    """Keys of a folder's finished clips, sorted. Raises DatasetError."""
    return ClipStore(folder).keys


def read_clip(folder: Path, key: str) -> SyntheticClip:
    """Read one clip of a folder. Raises ClipError, DatasetError."""
    return ClipStore(folder).read(key)


def iterate_clips(folder: Path, keys: Iterable[str] | None = None) -> Iterator[SyntheticClip]:
    """Read a folder's clips, or those with the given keys in their order. Raises ClipError, DatasetError."""
    return ClipStore(folder).iterate(keys)


def read_index(folder: Path) -> dict[str, ClipEntry]:
    """Read the index: key -> entry, sorted by key. Raises DatasetError."""
    path = folder / INDEX
    try:
        status = path.stat()
        return dict(_parse_index(path, status.st_mtime_ns, status.st_size))
    except OSError as error:
        raise DatasetError(
            f"{folder} is no dataset: it has no readable {INDEX} ({error.strerror or error}); "
            "make one with 'flextraj synthesize -o DIR'."
        ) from error


@functools.lru_cache(maxsize=16)
def _parse_index(path: Path, mtime_ns: int, size: int) -> tuple[tuple[str, ClipEntry], ...]:
    """Parsed once for each state of the file, which its time and size tell."""
    entries: dict[str, ClipEntry] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            entry = from_json(ClipEntry, json.loads(line))
        except (ValueError, RecursionError) as error:
            raise DatasetError(
                f"Line {number} of {path} is damaged ({error}): "
                "run 'flextraj synthesize --check DIR --repair'."
            ) from error
        entries[entry.key] = entry
    return tuple(sorted(entries.items()))


def write_index(folder: Path, entries: Iterable[ClipEntry]) -> Path:
    """Write the index atomically, sorted by key. Raises FlexTrajError where the disk is full."""
    lines = [json.dumps(to_json(entry)) for entry in sorted(entries, key=lambda entry: entry.key)]
    return write_text(folder / INDEX, "".join(line + "\n" for line in lines))
