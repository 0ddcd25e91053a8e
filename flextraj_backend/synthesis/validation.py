"""Checks a whole data set, clip by clip, and takes bad clips out so that the next run makes them again."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from blender_addon.core.errors import FlexTrajError, RequestError
from flextraj_backend.synthesis.clip_checks import LIMITS, ClipFigures, broken_limits, measure_clip
from flextraj_backend.synthesis.clip_files import ClipError
from flextraj_backend.synthesis.dataset_folder import (
    DatasetDescription,
    locked,
    read_description,
    write_description,
)
from flextraj_backend.synthesis.plan import clip_key
from flextraj_backend.synthesis.record_json import from_json
from flextraj_backend.synthesis.shards import (
    INDEX,
    SHARDS,
    ClipEntry,
    ClipStore,
    read_index,
    write_index,
    write_shard,
)


@dataclass(frozen=True)
class BadClip:
    """A clip that must not be used, and what is wrong with it."""

    key: str
    problem: str


@dataclass(frozen=True)
class FigureSummary:
    """One figure over all clips that could be read."""

    name: str
    smallest_allowed: float
    smallest: float
    median: float
    bad: int


@dataclass(frozen=True)
class DatasetCheck:
    """What a check found.

    Attributes:
        clips: in the index.
        missing: clips that were asked for and are not there.
        bad: clips that must not be used, by key.
        figures: of the clips that could be read.
    """

    clips: int
    missing: tuple[str, ...]
    bad: tuple[BadClip, ...]
    figures: tuple[FigureSummary, ...]

    @property
    def is_sound(self) -> bool:
        """Whether everything that is there can be used; clips that are missing are not there."""
        return not self.bad


def check_dataset(folder: Path, on_clip: Callable[[int, int], None] | None = None) -> DatasetCheck:
    """Read and measure every clip.

    Args:
        folder: of the data set.
        on_clip: called with (clips done, clips).

    Raises:
        FlexTrajError: the folder is no data set, or its index is damaged as a whole.
    """
    description = read_description(folder)
    if not (folder / INDEX).exists():
        raise RequestError(
            f"{folder} has no complete shard yet: run the command that makes it again, then check it."
        )
    store = ClipStore(folder)
    measured: dict[str, ClipFigures] = {}
    bad: list[BadClip] = []
    first_with: dict[str, str] = {}
    for number, key in enumerate(store.keys, start=1):
        try:
            figures, others = _measure(store, key)
        except ClipError as error:
            bad.append(BadClip(key, error.problem))
        except FlexTrajError as error:
            bad.append(BadClip(key, error.message))
        else:
            measured[key] = figures
            problems = list(broken_limits(figures))
            if others != description.settings.others:
                problems.append(f"has {others} other casts, not {description.settings.others}")
            twin = first_with.setdefault(figures.frames_hash, key)
            if twin != key:
                problems.append(f"has the same frames as {twin}")
            bad += [BadClip(key, "; it ".join(problems))] if problems else []
        if on_clip is not None:
            on_clip(number, len(store.keys))
    return DatasetCheck(len(store.keys), _missing(description, store), tuple(bad), _summaries(measured))


def repair_dataset(folder: Path, check: DatasetCheck) -> None:
    """Take the bad clips of a check out of their shards and out of the index.

    Raises:
        FlexTrajError: another run is at work there, or the folder cannot be written.
    """
    with locked(folder):
        bad = {clip.key for clip in check.bad}
        store = ClipStore(folder)
        entries = {key: store.entry(key) for key in store.keys if key not in bad}
        shards = {store.entry(clip.key).shard for clip in check.bad}
        # Without their entries first: should this stop half-way, the clips of these shards are made again.
        write_index(folder, [entry for entry in entries.values() if entry.shard not in shards])
        for shard in sorted(shards):
            kept = [store.read_packed(key) for key, entry in entries.items() if entry.shard == shard]
            if kept:
                entries |= {entry.key: entry for entry in write_shard(folder, shard, kept)}
            else:
                (folder / SHARDS / shard).unlink(missing_ok=True)
        write_index(folder, entries.values())
        write_description(folder, replace(read_description(folder), finished=len(entries)))


def recover_index(folder: Path) -> int:
    """Drop the damaged lines of an index, whose clips are then made again; returns how many there were.

    Raises:
        FlexTrajError: there is no index, or it cannot be written.
    """
    try:
        read_index(folder)
    except FlexTrajError:
        path = folder / INDEX
        if not path.is_file():
            raise
        lines = path.read_bytes().splitlines()
        entries = list(_readable(lines))
        write_index(folder, entries)
        return len(lines) - len(entries)
    return 0


def _readable(lines: list[bytes]) -> Iterator[ClipEntry]:
    for line in lines:
        try:
            yield from_json(ClipEntry, json.loads(line))
        except (ValueError, RecursionError):
            continue


def _measure(store: ClipStore, key: str) -> tuple[ClipFigures, int]:
    clip = store.read(key)
    return measure_clip(clip), len(clip.others)


def _missing(description: DatasetDescription, store: ClipStore) -> tuple[str, ...]:
    found = set(store.keys)
    return tuple(key for index in range(description.clips) if (key := clip_key(index)) not in found)


def _summaries(measured: dict[str, ClipFigures]) -> tuple[FigureSummary, ...]:
    summaries = []
    for limit in LIMITS if measured else ():
        values = [limit.value(figures) for figures in measured.values()]
        bad = sum(not value >= limit.smallest for value in values)
        summaries.append(
            FigureSummary(limit.name, limit.smallest, min(values), statistics.median(values), bad)
        )
    return tuple(summaries)
