"""The few sampled videos of each row that are kept for the contact sheets."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from flextraj_backend.atomic_file import atomic_path
from flextraj_backend.study.sampling import Frames

_FILE = "shown.npz"


class ShownVideos:
    """Videos of one row by the name of their sample.

    Args:
        folder: of the row.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / _FILE
        self._videos: dict[str, Frames] = {}

    def add(self, name: str, frames: Frames) -> None:
        self._videos[name] = frames

    def write(self) -> None:
        with atomic_path(self._path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **self._videos)  # pyright: ignore[reportArgumentType]


def read_shown(folder: Path) -> dict[str, Frames]:
    """The kept videos of a row."""
    with np.load(folder / _FILE, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
