"""Trackers against exact tracks: the error and the coverage that metrics of generated videos build on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from flextraj_backend.atomic_file import write_text
from flextraj_backend.bench.moving_textures import blurred, noisy, textured_clip
from flextraj_backend.bench.table import describe_machine
from flextraj_backend.evaluation.point_tracking import (
    Channels,
    Reacquisition,
    TrackedPoints,
    TrackerSettings,
    track_points,
)
from flextraj_backend.evaluation.traj_err import trajectory_error


class Damage(StrEnum):
    """What is done to the frames: nothing, blur of sigma 1 px, noise of 8 grey levels, or blur of sigma 1.5
    px to all but the first, as a small model's are softer than the photo."""

    CLEAN = "clean"
    BLURRED = "blurred"
    NOISY = "noisy"
    SOFTENED = "softened"


@dataclass(frozen=True)
class TrackingRow:
    """One tracker on one kind of clips.

    Attributes:
        tracker: its name.
        damage: kind of clips.
        epe: mean end point error over visible samples of the objects in pixels, lost ones held.
        epe_tracked: the same of the samples that were tracked.
        coverage: share of the visible samples that were tracked.
        traj_err: mean of TrajErr-LK over the clips: what an exact video would get.
        false_tracks: share of the hidden samples that were said to be tracked.
        seconds: time per clip.
    """

    tracker: str
    damage: str
    epe: float
    epe_tracked: float
    coverage: float
    traj_err: float
    false_tracks: float
    seconds: float


Track = Callable[[NDArray[np.uint8], NDArray[np.floating]], TrackedPoints]


def trackers() -> dict[str, Track]:
    """The variants that are compared; the last is what the metrics use."""

    def lucas_kanade(settings: TrackerSettings) -> Track:
        return lambda frames, queries: track_points(frames, queries, settings)

    alone = Reacquisition.NONE
    return {
        "LK grey, 72 px wide": lucas_kanade(
            TrackerSettings(1, 9, 2, gate=6.0, channels=Channels.GREY, reacquisition=alone)
        ),
        "LK grey": lucas_kanade(TrackerSettings(channels=Channels.GREY, reacquisition=alone)),
        "DIS flow": chained_dis,
        "LK colour": lucas_kanade(TrackerSettings(reacquisition=alone)),
        "+ again": lucas_kanade(TrackerSettings(softness=())),
        "+ again, window 15": lucas_kanade(TrackerSettings(window=15, softness=())),
        "+ again, window 35": lucas_kanade(TrackerSettings(window=35, softness=())),
        "+ again, gate 3": lucas_kanade(TrackerSettings(gate=3.0, found_gate=2.0, softness=())),
        "+ softened, gate 3": lucas_kanade(TrackerSettings(soft_gate=3.0, soft_found_gate=3.0)),
        "+ softened, once": lucas_kanade(TrackerSettings(softness=(12.0,))),
        "+ softened (default)": lucas_kanade(TrackerSettings()),
    }


def chained_dis(frames: NDArray[np.uint8], queries: NDArray[np.floating]) -> TrackedPoints:
    """Chained dense inverse search flow (Kroeger et al. 2016), width 480, forward-backward gate 3 px."""
    count, height, width = frames.shape[:3]
    scale = max(1.0, 480 / width)
    size = (round(width * scale), round(height * scale))
    grey = [
        cv2.cvtColor(cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC), cv2.COLOR_RGB2GRAY)
        for frame in frames
    ]
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # pyright: ignore[reportAttributeAccessIssue]
    positions = np.repeat(np.asarray(queries, np.float32)[None], count, axis=0)
    tracked = np.ones(positions.shape[:2], dtype=np.bool_)

    def moved(field: NDArray[np.float32], points: NDArray[np.float32]) -> NDArray[np.float32]:
        columns, rows = points[None, :, 0], points[None, :, 1]
        sampled = cv2.remap(field, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return (points + sampled[0]).astype(np.float32)

    for frame in range(1, count):
        start = (positions[frame - 1] * scale - 0.5).astype(np.float32)
        end = moved(flow.calc(grey[frame - 1], grey[frame], None), start)
        back = moved(flow.calc(grey[frame], grey[frame - 1], None), end)
        places = (end + 0.5) / scale
        inside = ((places >= 0) & (places < (width, height))).all(axis=1)
        good = tracked[frame - 1] & inside & (np.linalg.norm(back - start, axis=1) < 3)
        positions[frame] = np.where(good[:, None], places, positions[frame - 1])
        tracked[frame] = good
    return TrackedPoints(positions, tracked)


def measure(
    clips: int, damages: tuple[Damage, ...] = tuple(Damage), variants: dict[str, Track] | None = None
) -> list[TrackingRow]:
    """Track `clips` clips of 9 frames of 72x48 with each tracker."""
    rows: list[TrackingRow] = []
    for damage in damages:
        for name, track in (variants or trackers()).items():
            rows.append(_measure(name, track, damage, clips))
    return rows


def _measure(name: str, track: Track, damage: Damage, clips: int) -> TrackingRow:
    errors, followed, hidden, scores = [], [], [], []
    seconds = 0.0
    for seed in range(clips):
        rng = np.random.default_rng(seed)
        clip = textured_clip(rng)
        match damage:
            case Damage.CLEAN:
                frames = clip.frames
            case Damage.BLURRED:
                frames = blurred(clip.frames, 1.0)
            case Damage.NOISY:
                frames = noisy(clip.frames, 8.0, rng)
            case Damage.SOFTENED:
                frames = np.concatenate([clip.frames[:1], blurred(clip.frames, 1.5)[1:]])
        exact = clip.trajectories
        background = np.array([segment.background for segment in exact.meta.segments])
        exact = exact.select_points(exact.visible[0] & ~background[exact.seg_id])
        target = exact.positions[..., :2]
        start = time.perf_counter()
        tracks = track(frames, target[0])
        seconds += time.perf_counter() - start
        error = np.linalg.norm(tracks.positions - target, axis=2)
        shown = exact.visible[1:]
        errors.append(error[1:][shown])
        followed.append(tracks.tracked[1:][shown])
        hidden.append(tracks.tracked[1:][~shown])
        score = trajectory_error(tracks, target, exact.visible, exact.meta.width, exact.meta.height)
        scores.append(score.mean)
    error, known, false = np.concatenate(errors), np.concatenate(followed), np.concatenate(hidden)
    return TrackingRow(
        tracker=name,
        damage=damage.value,
        epe=float(error.mean()),
        epe_tracked=float(error[known].mean()),
        coverage=float(known.mean()),
        traj_err=float(np.mean(scores)),
        false_tracks=float(false.mean()) if false.size else 0.0,
        seconds=seconds / clips,
    )


def print_tracking(rows: list[TrackingRow], clips: int, console: Console | None = None) -> None:
    """Print the rows as a table."""
    title = f"flextraj bench tracking: {clips} clips of 9 frames, 72x48 px, EPE in px"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("tracker", no_wrap=True)
    table.add_column("clips", no_wrap=True)
    for name in ("EPE", "tracked", "kept", "TrajErr", "false", "s/clip"):
        table.add_column(name, justify="right")
    for row in rows:
        values = (
            f"{row.epe:.2f}",
            f"{row.epe_tracked:.2f}",
            f"{row.coverage:.1%}",
            f"{row.traj_err:.4f}",
            f"{row.false_tracks:.1%}",
            f"{row.seconds:.2f}",
        )
        table.add_row(row.tracker, row.damage, *values)
    (console or Console()).print(table)


def write_tracking(path: Path, rows: list[TrackingRow]) -> Path:
    """Write `{"machine": {...}, "rows": [...]}` atomically."""
    document = {"machine": describe_machine(), "rows": [asdict(row) for row in rows]}
    return write_text(path, json.dumps(document, indent=2) + "\n")
