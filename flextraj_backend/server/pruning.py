"""Keeps the data folder small: old uploads and old jobs go, by age and by total size.

What a queued or running job needs is never touched, neither of this server nor of another one that shares the
folder. Nothing of the last hour goes either: somebody may be about to use it.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from blender_addon.core.errors import FlexTrajError
from flextraj_backend.server.asset_store import AssetStore
from flextraj_backend.server.job_store import JobStore

DEFAULT_DAYS = 30
DEFAULT_GIB = 20
GRACE_SECONDS = 3600.0
_PERIOD_SECONDS = 600.0
_DAY = 86_400

_log = logging.getLogger("flextraj.pruning")


@dataclass(frozen=True)
class KeepRule:
    """What is kept.

    Attributes:
        max_age: seconds since the last use after which something goes, None = never.
        max_bytes: total size beyond which the least recently used goes, None = any size.
    """

    max_age: float | None = DEFAULT_DAYS * _DAY
    max_bytes: int | None = DEFAULT_GIB << 30

    @classmethod
    def from_options(cls, days: float, gib: float) -> KeepRule:
        """Read the numbers of the command line; 0 = without end."""
        return cls(days * _DAY if days else None, int(gib * (1 << 30)) if gib else None)


@dataclass(frozen=True)
class _Item:
    """Something that can go: a job, an upload, or what a crash left behind.

    Attributes:
        last_used: Unix time in seconds.
        files: identity and size of each file; hard links of one file have the same identity.
        remove: makes it go; False where it came into use meanwhile. Raises OSError or FlexTrajError.
    """

    last_used: float
    files: dict[tuple[int, int], int]
    remove: Callable[[], bool]


class Pruner:
    """Prunes a data folder now and then, on a thread of its own.

    Args:
        jobs_folder: has one folder a job.
        clock: Unix time in seconds.
    """

    def __init__(
        self,
        store: JobStore,
        assets: AssetStore,
        jobs_folder: Path,
        rule: KeepRule,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._assets, self._jobs_folder = store, assets, jobs_folder
        self._rule, self._clock = rule, clock
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="pruning", daemon=True)

    def start(self) -> None:
        """Prune now, and again every ten minutes."""
        self._thread.start()

    def stop(self) -> None:
        """Stop soon; does not wait for a removal that is under way."""
        self._stopping.set()

    def prune(self) -> int:
        """Remove what the rule does not keep; return how many things went. Raises FlexTrajError."""
        items = sorted(self._items(), key=lambda item: item.last_used)
        links = Counter(key for item in items for key in item.files)
        sizes = {key: size for item in items for key, size in item.files.items()}
        total, removed, now = sum(sizes.values()), 0, self._clock()
        for item in items:
            age = now - item.last_used
            if age < GRACE_SECONDS or self._stopping.is_set():
                break
            is_old = self._rule.max_age is not None and age > self._rule.max_age
            is_too_much = self._rule.max_bytes is not None and total > self._rule.max_bytes
            freed = [key for key in item.files if links[key] == 1]
            # An upload that a kept job is made of takes no room of its own.
            if not (is_old or (is_too_much and freed)):
                continue
            try:
                if not item.remove():
                    continue
            except (OSError, FlexTrajError) as error:
                _log.warning("Cannot be removed: %s", error)
                continue
            removed += 1
            total -= sum(sizes[key] for key in freed)
            links.subtract(item.files.keys())
        return removed

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                self.prune()
            except FlexTrajError as error:
                _log.warning("%s", error.message)
            self._stopping.wait(_PERIOD_SECONDS)

    def _items(self) -> Iterator[_Item]:
        folders = _entries(self._jobs_folder)
        # After the folders: a job that is queued meanwhile has a folder that is not looked at.
        finished, unfinished = self._store.finished(), self._store.unfinished()
        for folder in folders:
            if folder.name in finished:
                yield _Item(finished[folder.name], _files(_tree(folder)), self._remover_of_job(folder))
            elif folder.name not in unfinished:
                # Its job was never queued, or was forgotten when its folder could not be removed.
                yield _Item(_changed(folder), _files(_tree(folder)), _remover_of_folder(folder))
        for job_id in finished.keys() - {folder.name for folder in folders}:
            yield _Item(finished[job_id], {}, partial(self._store.forget, job_id))
        in_use = {sha256 for assets in unfinished.values() for sha256 in assets}
        for path in self._assets.files():
            if path.name not in in_use:
                yield _Item(_changed(path), _files([path]), _remover_of_file(path))

    def _remover_of_job(self, folder: Path) -> Callable[[], bool]:
        def remove() -> bool:
            # The list first: a job that is being retried at this moment is not finished any more and stays.
            if not self._store.forget(folder.name):
                return False
            shutil.rmtree(folder)
            return True

        return remove


def _remover_of_folder(folder: Path) -> Callable[[], bool]:
    def remove() -> bool:
        shutil.rmtree(folder)
        return True

    return remove


def _remover_of_file(path: Path) -> Callable[[], bool]:
    def remove() -> bool:
        path.unlink(missing_ok=True)
        return True

    return remove


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError:
        return []


def _tree(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _files(paths: Iterable[Path]) -> dict[tuple[int, int], int]:
    """Identity and size of files; one that is gone meanwhile does not count."""
    found: dict[tuple[int, int], int] = {}
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            continue
        found[(status.st_dev, status.st_ino)] = status.st_size
    return found


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return time.time()
