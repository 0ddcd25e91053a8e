"""The contact sheet of a data set: clips of one motion below each other, beside their other casts' tracks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blender_addon.core.conditioning import ConditioningSettings
from flextraj_backend.conditioning.render import render_conditioning
from flextraj_backend.demo.contact_sheet import Picture, SheetRow, build_sheet
from flextraj_backend.image_io import write_image
from flextraj_backend.synthesis.clip import SyntheticClip
from flextraj_backend.synthesis.dataset_folder import SHEET
from flextraj_backend.synthesis.shards import ClipStore

MAX_ROWS = 12
_CELL_WIDTH = 288
_SHOWN_OTHERS = 3


def write_contact_sheet(folder: Path) -> Path:
    """Write `contact_sheet.png` with whole pair groups, spread over the data set. Raises FlexTrajError."""
    store = ClipStore(folder)
    clips = [store.read(key) for key in choose_keys(store)]
    return write_image(folder / SHEET, draw_contact_sheet(clips, len(store.keys)))


def choose_keys(store: ClipStore) -> tuple[str, ...]:
    """Keys of about `MAX_ROWS` clips: whole pair groups, evenly spread."""
    groups: dict[str, list[str]] = defaultdict(list)
    for key in store.keys:
        groups[store.entry(key).pair_group].append(key)
    shown = max(1, MAX_ROWS // max(map(len, groups.values()), default=1))
    names = sorted(groups)
    places = np.linspace(0, len(names) - 1, min(shown, len(names))).round().astype(int)
    return tuple(key for place in places for key in groups[names[place]][:MAX_ROWS])


def draw_contact_sheet(clips: Iterable[SyntheticClip], total: int) -> Picture:
    """Draw the sheet of some clips of a data set of `total`: (H, W, 3) uint8 RGB."""
    rows = [_row(clip) for clip in clips]
    return build_sheet(
        f"{total} synthetic clips",
        "First, middle and last frame and the clip's own tracks; then the same motion by other characters: "
        "tracks in ID colours on the middle and the last frame.",
        rows,
        width=max((len(row.pictures) for row in rows), default=1) * (_CELL_WIDTH + 8) + 48,
    )


def _row(clip: SyntheticClip) -> SheetRow:
    last = len(clip.frames) - 1
    times = {"first frame": 0, "middle": last // 2, "last frame": last}
    pictures = [clip.frames[time] for time in times.values()]
    captions = list(times)
    for name, trajectories in [("own tracks", clip.trajectories)] + [
        (f"other cast {number}", other) for number, other in enumerate(clip.others[:_SHOWN_OTHERS], start=1)
    ]:
        video = render_conditioning(trajectories, ConditioningSettings()).ids  # (T, H, W, 3)
        shown = (last,) if trajectories is clip.trajectories else (last // 2, last)
        pictures += [video[time] for time in shown]
        captions += [f"{name}, {'last frame' if time == last else 'middle'}" for time in shown]
    record = clip.record
    performers = "; ".join(f"{one.description}: {one.action}" for one in record.performers)
    label = f"{record.pair_group} · {clip.key} · {performers} · {record.camera} camera"
    return SheetRow(label, [_enlarge(picture) for picture in pictures], captions)


def _enlarge(picture: NDArray[np.uint8]) -> Picture:
    """Small pictures in whole pixels, so that what is sharp stays sharp."""
    height, width = picture.shape[:2]
    if width >= _CELL_WIDTH:
        return picture
    factor = _CELL_WIDTH // width
    return np.asarray(
        Image.fromarray(picture).resize((width * factor, height * factor), Image.Resampling.NEAREST)
    )
