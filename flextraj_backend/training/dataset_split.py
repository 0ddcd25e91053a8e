"""Training and validation clips of a folder, without motions or, where possible, characters in both."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.synthesis.clip import ClipRecord
from flextraj_backend.synthesis.clip_files import RECORD, ClipError
from flextraj_backend.synthesis.record_json import from_json
from flextraj_backend.synthesis.shards import SHARDS, ClipStore

_MAX_RECORD = 1 << 20

Character = tuple[str, int]
"""Kind and seed."""


@dataclass(frozen=True)
class DatasetSplit:
    """Keys for training and for validation.

    Attributes:
        train, validation: sorted.
        shared_characters: number of characters that perform in clips of both; 0 where they could be kept
            apart.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    shared_characters: int


@dataclass(frozen=True)
class ClipCast:
    """What a clip must not share with the other side: its motion and who performs it."""

    key: str
    pair_group: str
    characters: frozenset[Character]


def split_dataset(folder: Path, validation_share: float = 0.1, seed: int = 0) -> DatasetSplit:
    """Split a folder's clips; see `split_clips`. Raises FlexTrajError where the folder is no dataset."""
    return split_clips(read_casts(ClipStore(folder)), validation_share, seed)


def read_casts(store: ClipStore) -> tuple[ClipCast, ...]:
    """Who performs in which clip; of each clip only the record is read. Raises ClipError."""
    casts = []
    for key in store.keys:
        record = _read_record(store, key)
        characters = frozenset((item.character, item.character_seed) for item in record.performers)
        casts.append(ClipCast(key, record.pair_group, characters))
    return tuple(casts)


def split_clips(casts: Sequence[ClipCast], validation_share: float, seed: int) -> DatasetSplit:
    """Choose clips for validation by a hash of their group, so a dataset that grows keeps its sides.

    Clips of one pair group, which show the same motion, are never on both sides. Groups that share a
    character are kept together as well, as long as that leaves a validation set of about the wanted size;
    where few characters play in all clips it does not, and only motions are kept apart.

    Raises:
        FlexTrajError: the share is not between 0 and 1, or there are fewer than two groups.
    """
    if not 0 < validation_share < 1:
        raise FlexTrajError(
            f"The share of validation clips is {validation_share:g}: give a number between 0 and 1.",
            ErrorCode.REQUEST,
        )
    groups = sorted({cast.pair_group for cast in casts})
    if len(groups) < 2:
        raise FlexTrajError(
            "A dataset needs at least two pair groups to be split into training and validation clips: "
            "synthesise more clips.",
            ErrorCode.REQUEST,
        )
    family = _families(casts)
    chosen = _choose({group: family[group] for group in groups}, validation_share, seed)
    clips = sum(cast.pair_group in chosen for cast in casts)
    if clips == len(casts) or not 0.5 <= clips / (validation_share * len(casts)) <= 2:
        chosen = _choose({group: group for group in groups}, validation_share, seed)
    train = [cast for cast in casts if cast.pair_group not in chosen]
    validation = [cast for cast in casts if cast.pair_group in chosen]
    seen = frozenset().union(*(cast.characters for cast in train))
    return DatasetSplit(
        train=tuple(sorted(cast.key for cast in train)),
        validation=tuple(sorted(cast.key for cast in validation)),
        shared_characters=len(seen & frozenset().union(*(cast.characters for cast in validation))),
    )


def _choose(unit_of_group: Mapping[str, str], share: float, seed: int) -> frozenset[str]:
    """Groups for validation. Groups of one unit stay together; each side gets at least one unit if it can."""
    place = {unit: _place(unit, seed) for unit in set(unit_of_group.values())}
    first, last = min(place, key=place.__getitem__), max(place, key=place.__getitem__)
    chosen = {unit for unit, position in place.items() if position < share}
    chosen = (chosen | {first}) - ({last} if first != last else set())
    return frozenset(group for group, unit in unit_of_group.items() if unit in chosen)


def _place(unit: str, seed: int) -> float:
    """A number from 0 to 1 that depends on the unit's name alone."""
    digest = hashlib.sha256(f"{seed}:{unit}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _families(casts: Sequence[ClipCast]) -> dict[str, str]:
    """For each group the name of those that it is connected with by characters: the smallest of them."""
    parent: dict[str, str] = {cast.pair_group: cast.pair_group for cast in casts}

    def root(group: str) -> str:
        while parent[group] != group:
            parent[group] = parent[parent[group]]
            group = parent[group]
        return group

    home: dict[Character, str] = {}
    for cast in casts:
        for character in cast.characters:
            one, other = root(home.setdefault(character, cast.pair_group)), root(cast.pair_group)
            parent[max(one, other)] = min(one, other)
    return {group: root(group) for group in parent}


def _read_record(store: ClipStore, key: str) -> ClipRecord:
    entry = store.entry(key)
    try:
        with (store.folder / SHARDS / entry.shard).open("rb") as file:
            file.seek(entry.offset)
            with tarfile.open(fileobj=file, mode="r:") as archive:
                for info in archive:
                    content = archive.extractfile(info) if info.name == f"{key}.{RECORD}" else None
                    if content is not None and info.size <= _MAX_RECORD:
                        return from_json(ClipRecord, json.loads(content.read()))
                    if info.offset_data - entry.offset > entry.size:
                        break
    except (tarfile.TarError, OSError, EOFError, ValueError, RecursionError) as error:
        raise ClipError(key, f"has a record that cannot be read ({error})") from error
    raise ClipError(key, "lacks its record")
