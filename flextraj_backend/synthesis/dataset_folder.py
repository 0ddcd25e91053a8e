"""The folder of a data set while it is made: what is finished, what waits for its shard, what failed.

| in the folder | holds |
|---|---|
| `dataset.json` | format version, settings, number of clips |
| `shards/*.tar`, `clips.jsonl` | the finished clips and their index |
| `library.json` | what the user's library held, and its files that were left out; only with --library |
| `failures.jsonl` | clips that could not be made, with the reason; only where there are any |
| `unfinished/` | clips whose shard is not complete yet; only while a run goes on or after it was stopped |
| `contact_sheet.png` | some pairs at a glance |

A clip is first a file of its own in `unfinished`, so that a run that is stopped loses nothing but the clips
that were being made; a shard is written, from these files, once all its clips are there.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from blender_addon.core.errors import ErrorCode, FlexTrajError, RequestError
from blender_addon.core.version import package_version
from flextraj_backend.atomic_file import write_bytes, write_text
from flextraj_backend.synthesis.clip_files import KEY_PATTERN
from flextraj_backend.synthesis.clip_maker import FailedClip
from flextraj_backend.synthesis.plan import SynthesisSettings, clip_key, first_difference, plan_clip, shard_of
from flextraj_backend.synthesis.record_json import from_json, to_json
from flextraj_backend.synthesis.shards import (
    INDEX,
    SHARDS,
    ClipEntry,
    ClipStore,
    PackedClip,
    read_index,
    shard_name,
    write_index,
    write_shard,
)

DESCRIPTION, FAILURES, UNFINISHED, LOG, SHEET = (
    "dataset.json",
    "failures.jsonl",
    "unfinished",
    "workers.log",
    "contact_sheet.png",
)
_LOCK = ".running"
FORMAT_VERSION = 1
_OPTION_NAMES = {
    "width": "--size",
    "height": "--size",
    "character_seed": "--seed",
    "clips_per_shard": "--clips-per-shard",
    "pair_size": "--pair-size",
}


@dataclass(frozen=True)
class DatasetDescription:
    """What `dataset.json` says.

    Attributes:
        format_version: of the folder's layout.
        producer: program and version.
        clips: that were asked for.
        finished, failed: of these, so far.
        settings: of every clip.
    """

    format_version: int
    producer: str
    clips: int
    finished: int
    failed: int
    settings: SynthesisSettings


def read_description(folder: Path) -> DatasetDescription:
    """Read `dataset.json`. Raises FlexTrajError where the folder is no data set, or a newer program's."""
    path = folder / DESCRIPTION
    try:
        values = json.loads(path.read_bytes())
        version = values["format_version"]
    except OSError as error:
        raise RequestError(
            f"{folder} is no dataset: it has no readable {DESCRIPTION} ({error.strerror or error}); "
            "make one with 'flextraj synthesize -o DIR'."
        ) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RequestError(f"{path} is damaged ({error}): choose another folder with -o.") from error
    if version != FORMAT_VERSION:
        raise RequestError(
            f"{folder} is a dataset of format {version}, this program makes format {FORMAT_VERSION}: "
            "choose another folder with -o."
        )
    try:
        return from_json(DatasetDescription, values)
    except (ValueError, FlexTrajError) as error:
        raise RequestError(
            f"{path} has settings of another version of this program ({error}): "
            "choose another folder with -o."
        ) from error


def write_description(folder: Path, description: DatasetDescription) -> None:
    """Write `dataset.json`. Raises FlexTrajError where the folder cannot be written."""
    write_text(folder / DESCRIPTION, json.dumps(to_json(description), indent=1) + "\n")


class DatasetFolder:
    """A data set that is being made: takes clips in any order, closes the shards.

    Args:
        path: a new or empty folder, or a data set of the same settings, which then goes on.
        settings: of every clip.
        clips: how many there shall be.

    Raises:
        FlexTrajError: the folder holds something else, has other settings, or cannot be written.
    """

    def __init__(self, path: Path, settings: SynthesisSettings, clips: int) -> None:
        self.path, self.settings, self.clips = path, settings, clips
        self._entries: dict[str, ClipEntry] = {}
        self.failures: dict[str, FailedClip] = {}
        _check_usable(path, settings)
        try:
            (path / SHARDS).mkdir(parents=True, exist_ok=True)
            (path / UNFINISHED).mkdir(exist_ok=True)
        except OSError as error:
            raise FlexTrajError(
                f"{path} cannot be written ({error.strerror or error}): choose another folder with -o.",
                ErrorCode.DISK,
            ) from error
        for leftover in (*(path / UNFINISHED).glob(".*.tar"), *(path / SHARDS).glob(".*.tar")):
            leftover.unlink(missing_ok=True)  # of a run that was killed while it wrote
        if (path / INDEX).exists():
            self._entries = read_index(path)
        self._staged = {file.stem for file in (path / UNFINISHED).glob("*.tar") if _is_staged(file)}
        self.done = clips - len(self.missing())
        """Clips that need not be made any more."""
        self._describe()

    def missing(self) -> list[int]:
        """Numbers of the clips that are still to be made."""
        keys = self._entries.keys() | self._staged
        return [i for i in range(self.clips) if clip_key(i) not in keys]

    def add(self, index: int, clip: PackedClip) -> None:
        """Take a clip. Raises FlexTrajError where the disk is full."""
        write_bytes(self._staged_path(clip.key), clip.data)
        self._staged.add(clip.key)
        self.done += 1
        self._close_if_complete(shard_of(self.settings, index))

    def add_failure(self, index: int, failure: FailedClip) -> None:
        """Note that a clip cannot be made; its shard does without it."""
        self.failures[failure.key] = failure
        self._close_if_complete(shard_of(self.settings, index))

    def finish(self) -> None:
        """Close what is left; afterwards nothing but the data set is in the folder."""
        for number in sorted({shard_of(self.settings, i) for i in range(self.clips)}):
            self._close(number)
        with contextlib.suppress(OSError):  # not empty: clips beyond the number asked for
            (self.path / UNFINISHED).rmdir()
        self._describe()

    def note_failures(self) -> None:
        """Write `failures.jsonl`, or remove it where there are none."""
        lines = [json.dumps(to_json(failure)) + "\n" for _, failure in sorted(self.failures.items())]
        if lines:
            write_text(self.path / FAILURES, "".join(lines))
        else:
            (self.path / FAILURES).unlink(missing_ok=True)
        self._describe()

    def _describe(self) -> None:
        description = DatasetDescription(
            FORMAT_VERSION,
            f"flextraj {package_version()}",
            self.clips,
            len(self._entries),
            len(self.failures),
            self.settings,
        )
        write_description(self.path, description)

    def _staged_path(self, key: str) -> Path:
        return self.path / UNFINISHED / f"{key}.tar"

    def _indices(self, shard: int) -> Sequence[int]:
        first = shard * self.settings.clips_per_shard
        return range(first, min(first + self.settings.clips_per_shard, self.clips))

    def _close_if_complete(self, shard: int) -> None:
        settled = (self._entries, self._staged, self.failures)
        if all(any(clip_key(index) in keys for keys in settled) for index in self._indices(shard)):
            self._close(shard)

    def _close(self, shard: int) -> None:
        """Write the shard from what it has already and what waits for it; only then clear that away."""
        name = shard_name(shard)
        waiting = [key for i in self._indices(shard) if (key := clip_key(i)) in self._staged]
        if not waiting:
            return
        kept = [key for key, entry in self._entries.items() if entry.shard == name]
        if kept:
            self._take_out(kept)
        keys = sorted({*kept, *waiting})
        entries = write_shard(self.path, name, map(self._read_staged, keys))
        self._entries |= {entry.key: entry for entry in entries}
        write_index(self.path, self._entries.values())
        self._describe()
        for key in keys:
            self._staged_path(key).unlink(missing_ok=True)
        self._staged -= set(keys)

    def _take_out(self, keys: Sequence[str]) -> None:
        """Move clips from their shard to `unfinished`: a shard that is replaced moves them within it."""
        store = ClipStore(self.path)
        for key in keys:
            if key not in self._staged:
                write_bytes(self._staged_path(key), store.read_packed(key).data)
                self._staged.add(key)
            del self._entries[key]
        write_index(self.path, self._entries.values())

    def _read_staged(self, key: str) -> PackedClip:
        group = plan_clip(self.settings, int(key.removeprefix("clip"))).pair_group
        return PackedClip(key, group, self._staged_path(key).read_bytes())


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder. Raises FlexTrajError where one is at work there."""
    path = folder / _LOCK
    with contextlib.suppress(OSError, ValueError):
        pid, started = map(int, path.read_text().split())
        if pid != os.getpid() and _start_of(pid) == started:
            raise RequestError(
                f"Another run (process {pid}) is making the dataset {folder}: wait for it, or stop it first."
            )
    write_text(path, f"{os.getpid()} {_start_of(os.getpid())}")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _start_of(pid: int) -> int | None:
    """When a process began, in seconds: numbers of processes are used again. None where there is none."""
    try:
        return int(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def _check_usable(path: Path, settings: SynthesisSettings) -> None:
    if not path.exists():
        return
    if not path.is_dir():
        raise RequestError(f"{path} is a file: give a folder with -o.")
    if not (path / DESCRIPTION).exists():
        # Hidden files are the system's, or of a run that was killed at its very start.
        if any(not entry.name.startswith(".") and entry.name != LOG for entry in path.iterdir()):
            raise RequestError(f"{path} holds other files: choose a new or empty folder with -o.")
        return
    name = first_difference(read_description(path).settings, settings)
    if name is not None:
        option = _OPTION_NAMES.get(name, "--" + name.replace("_", "-"))
        raise RequestError(
            f"The dataset {path} was begun with another {option}: give the same one to go on, "
            "or choose another folder with -o."
        )


def _is_staged(file: Path) -> bool:
    """Files get this name only when they are complete; a name of another kind is nobody's clip."""
    return KEY_PATTERN.fullmatch(file.stem) is not None and file.is_file()
