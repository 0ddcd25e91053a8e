"""All figures of a video or of a synthetic clip, as tables and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from blender_addon.core.errors import RequestError
from blender_addon.core.trajectories import TrajectorySet
from flextraj_backend.atomic_file import write_text
from flextraj_backend.evaluation.consistency import Consistency, consistency
from flextraj_backend.evaluation.mask_iou import mask_iou
from flextraj_backend.evaluation.point_tracking import track_points
from flextraj_backend.evaluation.traj_err import TrajErr, trajectory_error
from flextraj_backend.evaluation.traj_sim import TrajSim, trajectory_similarity
from flextraj_backend.json_values import plain
from flextraj_backend.synthesis.clip import SyntheticClip

MAX_POINTS = 1500
"""More points are thinned out evenly."""
ASPECT_TOLERANCE = 0.01


@dataclass(frozen=True)
class VideoScores:
    """Figures of one video.

    Attributes:
        frames, width, height: of the video.
        traj_err: TrajErr-LK over all points that are visible in the first frame.
        traj_err_subjects: the same without background points; None where all are background.
        traj_err_conditioned: the same over the samples that the sparse condition kept; None without one.
        traj_sim: TrajSIM-LK to the driving shot; None where no object can be compared.
        consistency: of consecutive frames, with the motion's magnitude.
        mask_iou: against exact masks; None without them.
        reference_difference: mean absolute difference to a reference video, 0 to 1; None without one.
    """

    frames: int
    width: int
    height: int
    traj_err: TrajErr
    traj_err_subjects: TrajErr | None
    traj_err_conditioned: TrajErr | None
    traj_sim: TrajSim | None
    consistency: Consistency
    mask_iou: float | None = None
    reference_difference: float | None = None


@dataclass(frozen=True)
class ClipScores:
    """A video's figures under the name of its clip or file."""

    key: str
    scores: VideoScores


def evaluate_video(
    frames: NDArray[np.uint8],
    target: TrajectorySet,
    *,
    conditioned: NDArray[np.bool_] | None = None,
    driving: TrajectorySet | None = None,
    segments: NDArray[np.uint8] | None = None,
    reference: NDArray[np.uint8] | None = None,
) -> VideoScores:
    """Measure a video.

    Args:
        frames: (T, H, W, 3) uint8.
        target: where its points should be; its first frame lines up with the video's. Another raster of the
            same aspect ratio is scaled.
        conditioned: (T, N) bool samples of `target` that a sparse condition kept.
        driving: shot whose motion was asked for, where it does not line up; None for `target` itself.
        segments: (T, H, W) exact masks, 0 = background, s + 1 = segment s of `target`.
        reference: (T, H, W, 3) uint8 video to compare with.

    Raises:
        RequestError: frames, raster or shapes do not fit.
    """
    count, height, width = frames.shape[:3]
    target = at_raster(target, width, height)
    if target.frame_count != count:
        raise RequestError(
            f"The video has {count} frames and the trajectories {target.frame_count}: "
            "give the trajectories of this video."
        )
    if reference is not None and reference.shape != frames.shape:
        raise RequestError("The reference video has another size or number of frames: give one that matches.")
    if conditioned is not None and conditioned.shape != target.visible.shape:
        raise RequestError(
            f"The kept samples have shape {conditioned.shape}, but the trajectories {target.visible.shape}."
        )
    started = np.flatnonzero(target.visible[0])
    if not started.size:
        raise RequestError("No point is visible in the first frame: there is nothing to follow.")
    if started.size > MAX_POINTS:
        started = started[np.linspace(0, started.size - 1, MAX_POINTS).astype(np.intp)]
    kept = target.select_points(started)
    background = np.array([segment.background for segment in target.meta.segments])[kept.seg_id]  # (N,)
    positions, visible = kept.positions[..., :2], kept.visible
    tracks = track_points(frames, positions[0])

    def score(samples: NDArray[np.bool_]) -> TrajErr:
        return trajectory_error(tracks, positions, samples, width, height)

    return VideoScores(
        frames=count,
        width=width,
        height=height,
        traj_err=score(visible),
        traj_err_subjects=None if background.all() else score(visible & ~background),
        traj_err_conditioned=None if conditioned is None else score(visible & conditioned[:, started]),
        traj_sim=None
        if background.all()
        else trajectory_similarity(
            tracks, np.array([segment.id for segment in target.meta.segments])[kept.seg_id], driving or kept
        ),
        consistency=consistency(frames),
        mask_iou=None if segments is None else mask_iou(frames, segments, _subjects(target)),
        reference_difference=None if reference is None else _difference(frames, reference),
    )


def evaluate_clip(
    frames: NDArray[np.uint8],
    clip: SyntheticClip,
    *,
    conditioned: NDArray[np.bool_] | None = None,
    driving: TrajectorySet | None = None,
) -> ClipScores:
    """Measure a video generated from a clip's first frame against the clip; arguments as `evaluate_video`."""
    scores = evaluate_video(
        frames,
        clip.trajectories,
        conditioned=conditioned,
        driving=driving,
        segments=clip.segments,
        reference=clip.frames,
    )
    return ClipScores(clip.key, scores)


def at_raster(target: TrajectorySet, width: int, height: int) -> TrajectorySet:
    """Scale a set to another raster of the same aspect ratio. Raises RequestError where the ratio differs."""
    meta = target.meta
    if (meta.width, meta.height) == (width, height):
        return target
    across, down = width / meta.width, height / meta.height
    if abs(across / down - 1) > ASPECT_TOLERANCE:
        raise RequestError(
            f"The video is {width}x{height} px and the trajectories {meta.width}x{meta.height}: "
            "another aspect ratio cannot be compared, so give trajectories of the video's shape."
        )
    positions = target.positions * np.array([across, down, 1], dtype=np.float32)
    return replace(
        target,
        positions=positions,
        silhouette=None,
        meta=replace(meta, width=width, height=height, camera=None),
    )


def figures(scores: VideoScores) -> dict[str, float]:
    """The figures that tables show, by name; NaN where there is none."""
    nan = float("nan")
    subjects, conditioned, similar = (
        scores.traj_err_subjects,
        scores.traj_err_conditioned,
        scores.traj_sim,
    )
    return {
        "TrajErr-LK": scores.traj_err.mean,
        "subjects": nan if subjects is None else subjects.mean,
        "conditioned": nan if conditioned is None else conditioned.mean,
        "PCK@2%": scores.traj_err.pck_2,
        "lost": scores.traj_err.lost,
        "TrajSIM-LK": nan if similar is None else similar.similarity,
        "speed": nan if similar is None else similar.speed,
        "consistency": scores.consistency.cosine,
        "motion": scores.consistency.motion_magnitude,
        "mask IoU": nan if scores.mask_iou is None else scores.mask_iou,
        "difference": nan if scores.reference_difference is None else scores.reference_difference,
    }


def mean_figures(clips: Sequence[ClipScores]) -> dict[str, float]:
    """Mean of each figure over the clips that have it."""
    rows = [figures(clip.scores) for clip in clips]
    means: dict[str, float] = {}
    for name in rows[0]:
        values = [row[name] for row in rows if math.isfinite(row[name])]
        means[name] = float(np.mean(values)) if values else float("nan")
    return means


def print_scores(clips: Sequence[ClipScores], console: Console | None = None) -> None:
    """Print a row per clip, and their mean where there are several; columns without a figure are left out."""
    rows = [(clip.key, figures(clip.scores)) for clip in clips]
    if len(clips) > 1:
        rows.append(("mean", mean_figures(clips)))
    names = [name for name in rows[0][1] if any(math.isfinite(row[name]) for _, row in rows)]
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("video")
    for name in names:
        table.add_column(name, justify="right")
    for key, row in rows:
        values = [f"{row[name]:.4f}" if math.isfinite(row[name]) else "-" for name in names]
        table.add_row(key, *values, style="bold" if key == "mean" and len(clips) > 1 else None)
    (console or Console()).print(table)


def as_document(clips: Sequence[ClipScores]) -> dict[str, Any]:
    """All figures as JSON values: `{"videos": [...], "mean": {...}}`; null where there is none."""
    return plain({"videos": [asdict(clip) for clip in clips], "mean": mean_figures(clips)})


def write_scores(path: Path, document: dict[str, Any]) -> Path:
    """Write a document of `as_document` atomically."""
    return write_text(path, json.dumps(document, indent=2, allow_nan=False) + "\n")


def _subjects(target: TrajectorySet) -> tuple[int, ...]:
    """Numbers in the masks of the controlled segments."""
    return tuple(number + 1 for number, item in enumerate(target.meta.segments) if not item.background)


def _difference(frames: NDArray[np.uint8], reference: NDArray[np.uint8]) -> float:
    return float(np.abs(frames[1:].astype(np.int16) - reference[1:]).mean() / 255) if len(frames) > 1 else 0.0
