"""Which points and frames of a clip stay: the rules of conventions 1.8 and 1.10 for clips of any size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from blender_addon.core.sparsity import kept_frames, random_points
from blender_addon.core.trajectories import TrajectorySet
from flextraj_backend.conditioning.sparsity import nested_region
from flextraj_backend.conditioning.synthetic import background_fraction
from flextraj_backend.training.tasks import BackgroundPoints
from flextraj_backend.training.training_sample import RandomPoints, Thinning

REFERENCE_FRAMES = 49
"""The authors' fractions of kept frames are for clips of this length."""
PARTS = 10
"""Regions of a segment; ours: the smallest of the authors' fractions, 0.1, then is about one of them."""


def subject_points(trajectories: TrajectorySet) -> NDArray[np.bool_]:
    """The points of controlled segments, (N,) bool."""
    controlled = np.array([not segment.background for segment in trajectories.meta.segments])
    return controlled[trajectories.seg_id]


def thin_frames(
    frame_count: int, fraction: float, rng: np.random.Generator, random_probability: float
) -> tuple[int, ...]:
    """Choose frames, the first and the last always among them.

    Their number is that of a clip of 49 frames, at least two and at most every second of the clip's.
    """
    wanted = max(2, int(max(frame_count, REFERENCE_FRAMES) * fraction))
    count = min(wanted, max(2, (frame_count + 1) // 2), frame_count)
    if rng.random() >= random_probability or frame_count <= 2:
        # Half a frame more, so that rounding down cannot lose one.
        return tuple(kept_frames(frame_count, min(1.0, (count + 0.5) / frame_count)).tolist())
    between = rng.choice(np.arange(1, frame_count - 1), count - 2, replace=False)
    return (0, *sorted(between.tolist()), frame_count - 1)


def keep_background(
    trajectories: TrajectorySet, rule: BackgroundPoints, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """The background points that an aligned sample shows, (N,) bool."""
    indices = np.flatnonzero(~subject_points(trajectories))
    keep = np.zeros(trajectories.point_count, bool)
    if rule is BackgroundPoints.NONE or indices.size == 0:
        return keep
    fraction = 1.0 if rule is BackgroundPoints.ALL else background_fraction(indices.size)
    keep[indices] = random_points(indices.size, fraction, rng)
    return keep


def thin_points(
    trajectories: TrajectorySet,
    candidates: NDArray[np.bool_],
    thinning: Thinning,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Keep some of the candidates (N,), at least one of every subject that has one: (N,) bool."""
    indices = np.flatnonzero(candidates)
    keep = np.zeros_like(candidates)
    if isinstance(thinning, RandomPoints):
        keep[indices] = random_points(indices.size, thinning.fraction, rng)
    else:
        seg_ids = trajectories.seg_id[indices].astype(np.int64)
        parts = _parts(trajectories.positions[0, indices, :2], seg_ids, rng)
        keep[indices] = nested_region(seg_ids, parts, thinning.region_fraction, rng)
    return _with_every_subject(trajectories, keep, candidates, rng)


def _parts(
    xy: NDArray[np.float32], seg_ids: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Split each segment into parts of neighbouring points (N, 2): the cells of some of its points."""
    parts = np.zeros(len(xy), np.int64)
    for seg_id in np.unique(seg_ids):
        members = np.flatnonzero(seg_ids == seg_id)
        centers = xy[rng.choice(members, min(PARTS, members.size), replace=False)]  # (P, 2)
        squared = ((xy[members, None] - centers) ** 2).sum(axis=-1)  # (M, P)
        parts[members] = squared.argmin(axis=1)
    return parts


def _with_every_subject(
    trajectories: TrajectorySet,
    keep: NDArray[np.bool_],
    candidates: NDArray[np.bool_],
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Add a point to every subject that shows none: one seen on the first frame, else on any frame."""
    keep = keep.copy()
    first, ever = trajectories.visible[0], trajectories.visible.any(axis=0)
    for number, segment in enumerate(trajectories.meta.segments):
        members = candidates & (trajectories.seg_id == number)
        if segment.background:
            continue
        for seen in (first, ever):
            possible = np.flatnonzero(members & seen)
            if possible.size:
                if not keep[possible].any():
                    keep[rng.choice(possible)] = True
                break
    return keep
