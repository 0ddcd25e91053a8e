"""Whether the condition cache changes anything: the same videos with and without it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from flextraj_backend.atomic_file import write_text
from flextraj_backend.study.sampling import Frames

ROUNDING = 1
"""Grey levels by which float32 sums of another order may move a pixel."""


@dataclass(frozen=True)
class CacheCheck:
    """Pixels of all held-out videos of one control, with the cache and without.

    Attributes:
        max_difference: largest difference in grey levels, 0 to 255.
        changed_share: share of the values that differ at all.
        videos: that were compared.
    """

    seed: int
    max_difference: int
    changed_share: float
    videos: int

    @property
    def is_equal(self) -> bool:
        """Equal but for rounding."""
        return self.max_difference <= ROUNDING


class CacheComparison:
    """Collects the differences, and keeps the result in a file."""

    def __init__(self, path: Path, seed: int) -> None:
        self._path = path
        self._seed = seed
        self.restart()

    def restart(self) -> None:
        self._largest, self._changed, self._values, self._videos = 0, 0, 0, 0

    def add(self, cached: Frames, computed: Frames) -> None:
        """Compare two videos, (T, H, W, 3) uint8 each."""
        difference = np.abs(cached.astype(np.int16) - computed)
        self._largest = max(self._largest, int(difference.max()))
        self._changed += int(np.count_nonzero(difference))
        self._values += difference.size
        self._videos += 1

    def write(self) -> None:
        share = self._changed / max(self._values, 1)
        check = CacheCheck(self._seed, self._largest, share, self._videos)
        write_text(self._path, json.dumps(asdict(check), indent=2) + "\n")

    def read(self) -> CacheCheck:
        return CacheCheck(**json.loads(self._path.read_text(encoding="utf-8")))
