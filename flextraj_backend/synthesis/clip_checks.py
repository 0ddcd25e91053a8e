"""What a clip must be worth: figures measured on it, and the limits that they must keep."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blender_addon.core.trajectories import TrajectorySet
from flextraj_backend.synthesis.clip import SyntheticClip


@dataclass(frozen=True)
class ClipFigures:
    """Figures of one clip.

    Attributes:
        inside: share of the visible points of subjects that lie in their segment's mask, or within a pixel of
            it (a point near an outline may share its pixel with what is behind).
        contrast: standard deviation of the first frame's values, 0 to 128.
        change: mean absolute difference of a frame and the next, in grey values of 255.
        motion: the distance that a tenth of the subjects' points exceed on their way from the first frame, in
            percent of the picture's height.
        seen: visible points of the subjects on the first frame.
        other_motion: as `motion`, the smallest of the clip's other casts; that of the clip where it has none.
        frames_hash: SHA-256 of the frames.
    """

    inside: float
    contrast: float
    change: float
    motion: float
    seen: int
    other_motion: float
    frames_hash: str


@dataclass(frozen=True)
class Limit:
    """A figure's smallest allowed value, and the words for a clip that misses it."""

    name: str
    smallest: float
    value: Callable[[ClipFigures], float]
    problem: str


LIMITS = (
    Limit("visible points in their mask", 0.97, lambda f: f.inside, "has tracks outside their masks"),
    Limit("contrast of the first frame", 3.0, lambda f: f.contrast, "has a plain first frame"),
    Limit("change from frame to frame", 0.02, lambda f: f.change, "has frames that do not change"),
    Limit("motion, % of the height", 2.0, lambda f: f.motion, "has subjects that hardly move"),
    Limit("visible points on frame 1", 8, lambda f: f.seen, "hides its subjects on the first frame"),
    Limit("motion of other casts, %", 2.0, lambda f: f.other_motion, "has other casts that hardly move"),
)


def measure_clip(clip: SyntheticClip) -> ClipFigures:
    """Measure a clip; shapes and finite numbers are checked where it is read."""
    own = clip.trajectories
    subjects = _subject_points(own)
    steps = np.abs(np.diff(clip.frames.astype(np.int16), axis=0))
    motion = _motion(own)
    return ClipFigures(
        inside=share_inside(own, clip.segments),
        contrast=float(clip.frames[0].std()),
        change=float(steps.mean()) if len(steps) else 0.0,
        motion=motion,
        seen=int(np.count_nonzero(own.visible[0, subjects])),
        other_motion=min(map(_motion, clip.others), default=motion),
        frames_hash=hashlib.sha256(clip.frames.tobytes()).hexdigest(),
    )


def broken_limits(figures: ClipFigures) -> tuple[str, ...]:
    """What is wrong with a clip of these figures, in words; nothing where it keeps all limits."""
    return tuple(
        f"{limit.problem} ({limit.name}: {limit.value(figures):.3g}, at least {limit.smallest:g})"
        for limit in LIMITS
        if not limit.value(figures) >= limit.smallest
    )


def share_inside(trajectories: TrajectorySet, segments: NDArray[np.uint8]) -> float:
    """Share of the subjects' visible points with a pixel of their segment at most one pixel away; 0 for none.

    Args:
        trajectories: T x N at the masks' raster.
        segments: (T, H, W), s + 1 = segment s.
    """
    frame, point = np.nonzero(trajectories.visible & _subject_points(trajectories))
    if not len(frame):
        return 0.0
    _, height, width = segments.shape
    xy = np.floor(trajectories.positions[frame, point, :2]).astype(np.int64)  # (K, 2)
    wanted = trajectories.seg_id[point] + 1  # (K,)
    is_inside = np.zeros(len(frame), np.bool_)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            row = np.clip(xy[:, 1] + down, 0, height - 1)
            column = np.clip(xy[:, 0] + right, 0, width - 1)
            is_inside |= segments[frame, row, column] == wanted
    return float(is_inside.mean())


def _subject_points(trajectories: TrajectorySet) -> NDArray[np.bool_]:
    """Which points lie on subjects: (N,) bool."""
    is_background = np.array([segment.background for segment in trajectories.meta.segments])
    return ~is_background[trajectories.seg_id]


def _motion(trajectories: TrajectorySet) -> float:
    xy = trajectories.positions[:, _subject_points(trajectories), :2]
    if not xy.size:
        return 0.0
    reach = np.linalg.norm(xy - xy[0], axis=-1).max(axis=0)  # (N,)
    return float(100 * np.percentile(reach, 90) / trajectories.meta.height)
