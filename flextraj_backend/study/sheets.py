"""Contact sheets of held-out samples: one a variant, and one that shows all variants side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from flextraj_backend.demo.contact_sheet import Picture, SheetRow, build_sheet
from flextraj_backend.image_io import write_image
from flextraj_backend.study.conduct import Row, StudyResult
from flextraj_backend.study.sampling import Frames, HeldOutSample
from flextraj_backend.study.shown_videos import read_shown
from flextraj_backend.study.study_settings import RUNS
from flextraj_backend.study.variants import Baseline
from flextraj_backend.training.tasks import IdAblation

COMPARISON = "comparison.png"
_COLUMNS = 7
_CELL = 288
"""Width that small pictures are enlarged to."""


def write_sheets(result: StudyResult, folder: Path) -> list[Path]:
    """Write `comparison.png`, and `samples-<variant>.png` of the first seed of each variant."""
    seed = result.settings.seeds[0]
    runs = result.settings.folder / RUNS
    shown: dict[Row, dict[str, Frames]] = {
        row: read_shown(runs / (row if isinstance(row, Baseline) else f"{row}-seed{seed}"))
        for row in result.scores
    }
    names = {name for videos in shown.values() for name in videos}
    samples = [asked for asked in result.samples if asked.name in names]
    paths = [write_image(folder / COMPARISON, _comparison(samples, shown, seed))]
    for variant in result.variants:
        sheet = _variant_sheet(samples, shown[variant], f"{variant.heading}, seed {seed}")
        paths.append(write_image(folder / f"samples-{variant}.png", sheet))
    return paths


def enlarged(picture: NDArray[np.uint8], width: int = _CELL) -> Picture:
    """A small picture in whole pixels, so that what is sharp stays sharp."""
    factor = max(1, width // picture.shape[1])
    return np.asarray(
        cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST), np.uint8
    )


def strip(streams: Sequence[Frames], columns: int = _COLUMNS) -> tuple[list[Picture], list[str]]:
    """Evenly spread frames of videos, the same frame of each below each other, and their captions."""
    count = len(streams[0])
    times = np.unique(np.linspace(0, count - 1, min(columns, count)).astype(int)).tolist()
    pictures = [enlarged(np.concatenate([stream[time] for stream in streams])) for time in times]
    return pictures, [f"frame {time + 1}" for time in times]


def _variant_sheet(samples: Sequence[HeldOutSample], videos: Mapping[str, Frames], title: str) -> Picture:
    rows = []
    for asked in samples:
        if asked.name in videos:
            streams = (asked.clip.frames, _ids(asked), videos[asked.name])
            rows.append(SheetRow(f"{asked.task} · {asked.clip.key}", *strip(streams)))
    return build_sheet(
        title,
        "Each row from top to bottom: the held-out clip, the ID video that controls it, what was made.",
        rows,
    )


def _comparison(
    samples: Sequence[HeldOutSample], shown: Mapping[Row, Mapping[str, Frames]], seed: int
) -> Picture:
    rows = []
    for asked in samples:
        last = len(asked.clip.frames) - 1
        pictures = [asked.clip.frames[0], asked.clip.frames[last], _ids(asked)[last]]
        captions = ["photo", "clip, last frame", "ID video, last frame"]
        for row, videos in shown.items():
            if row not in (Baseline.EXACT, Baseline.STILL):
                pictures.append(videos[asked.name][last])
                captions.append(row.heading)
        rows.append(
            SheetRow(f"{asked.task} · {asked.clip.key}", [enlarged(one) for one in pictures], captions)
        )
    subtitle = "Last frames of held-out clips. Unaligned: the ID video does not line up, on purpose."
    return build_sheet(f"All variants, seed {seed}", subtitle, rows)


def _ids(asked: HeldOutSample) -> Frames:
    return asked.for_variant(IdAblation.NONE).conditioning.ids
