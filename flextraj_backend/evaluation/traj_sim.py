"""TrajSIM-LK: whether objects move like those of a driving shot that does not line up with them.

The paper publishes no formula for its TrajSIM; this one is ours and its figures are not the paper's.
Objects are matched by SegID, never point by point, since another character has other points:

1. Each object's points are normalised by its box on the first frame: the box's middle is the origin and
   r = sqrt(box width x box height) the unit. Translation and scale are gone; a rotation stays, because a
   wave to the side is another motion than a wave upwards.
2. D(t, c) = mean over the points of cell c of (p(t) - p(0)) / r, in a grid of cells over the box, of the
   cells that both objects occupy in frame t. Grids differ by less than bodies do.
3. similarity = sum_tc <D_a, D_b> / (|D_a| |D_b|), the cosine of the two displacement fields over all frames
   and cells, -1 to 1; large displacements weigh more, noise where nothing moves weighs nothing.
   `mean_motion` is the same of the mean over the cells, `local` of what remains without it.
4. speed = Pearson correlation of the root mean square speed per frame of the two.

An object whose field stays under `STILL` of its size counts as still: two still objects have similarity 1,
a still and a moving one 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blender_addon.core.errors import RequestError
from blender_addon.core.trajectories import TrajectorySet
from flextraj_backend.evaluation.point_tracking import TrackedPoints

GRID = 4
"""Cells of an object's box along each side."""
STILL = 0.02
"""Root mean square displacement, in object sizes, below which an object counts as still."""


@dataclass(frozen=True)
class ObjectSimilarity:
    """One object's motion against the driving object of the same SegID. NaN where nothing can be compared.

    Attributes:
        segment: SegID.
        similarity: cosine of the displacement fields, -1 to 1.
        mean_motion: cosine of the fields' means.
        local: cosine of the fields without their means.
        speed: correlation of the speed profiles, -1 to 1.
        cells: (frame, cell) pairs that were compared.
    """

    segment: int
    similarity: float
    mean_motion: float
    local: float
    speed: float
    cells: int


@dataclass(frozen=True)
class TrajSim:
    """Means over the objects that could be compared, and the objects.

    Attributes:
        similarity, mean_motion, local, speed: as in `ObjectSimilarity`.
        lost: share of the queried samples that the tracker lost.
    """

    similarity: float
    mean_motion: float
    local: float
    speed: float
    lost: float
    objects: tuple[ObjectSimilarity, ...]


def trajectory_similarity(
    tracks: TrackedPoints, segments: NDArray[np.integer], driving: TrajectorySet
) -> TrajSim:
    """Compare the motion of a video's objects with a driving shot of other characters.

    Args:
        tracks: T frames of N points, started inside the objects on the video's first frame.
        segments: (N,) SegID of each point (`Segment.id`, not its index).
        driving: T frames; only its controlled segments are compared.

    Raises:
        RequestError: the frame counts differ, or no SegID is in both.
    """
    if len(tracks.positions) != driving.frame_count:
        raise RequestError(
            f"The video has {len(tracks.positions)} frames and the driving trajectories "
            f"{driving.frame_count}: give trajectories of the same frames."
        )
    objects: list[ObjectSimilarity] = []
    for index, segment in enumerate(driving.meta.segments):
        ours, theirs = segments == segment.id, driving.seg_id == index
        if segment.background or not ours.any() or not theirs.any():
            continue
        objects.append(
            compare_objects(
                segment.id,
                (tracks.positions[:, ours], tracks.tracked[:, ours]),
                (driving.positions[:, theirs, :2], driving.visible[:, theirs]),
            )
        )
    if not objects:
        raise RequestError(
            "No object of the video has the SegID of a driving object: check the trajectories."
        )

    def mean(values: list[float]) -> float:
        finite = [value for value in values if np.isfinite(value)]
        return float(np.mean(finite)) if finite else float("nan")

    return TrajSim(
        similarity=mean([item.similarity for item in objects]),
        mean_motion=mean([item.mean_motion for item in objects]),
        local=mean([item.local for item in objects]),
        speed=mean([item.speed for item in objects]),
        lost=float(1 - tracks.tracked[1:].mean()) if tracks.tracked[1:].size else float("nan"),
        objects=tuple(objects),
    )


MovingPoints = tuple[NDArray[np.floating], NDArray[np.bool_]]
"""Positions (T, N, 2) in pixels and where they are known (T, N)."""


def compare_objects(segment: int, ours: MovingPoints, theirs: MovingPoints) -> ObjectSimilarity:
    """Compare two objects' motions; steps 1 to 4 above."""
    field_a, known_a = displacement_field(*ours)
    field_b, known_b = displacement_field(*theirs)
    both = known_a & known_b  # (T, C)
    both[0] = False
    nan = float("nan")
    if not both.any():
        return ObjectSimilarity(segment, nan, nan, nan, nan, 0)
    frames = both.any(axis=1)
    mean_a, mean_b = _mean_motion(field_a, both), _mean_motion(field_b, both)  # (T, 2)
    return ObjectSimilarity(
        segment=segment,
        similarity=_cosine(field_a[both], field_b[both]),
        mean_motion=_cosine(mean_a[frames], mean_b[frames]),
        local=_cosine((field_a - mean_a[:, None])[both], (field_b - mean_b[:, None])[both]),
        speed=_speed_correlation(field_a, field_b, both),
        cells=int(both.sum()),
    )


def displacement_field(
    positions: NDArray[np.floating], known: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return an object's displacement since the first frame per cell of its box, in object sizes.

    Args:
        positions: (T, N, 2) in pixels.
        known: (T, N) where the positions are known; points unknown in the first frame are left out.

    Returns:
        (T, GRID * GRID, 2) displacements and (T, GRID * GRID) whether the cell holds a known point.
    """
    started = known[0]
    frames = len(positions)
    field = np.zeros((frames, GRID * GRID, 2))
    occupied = np.zeros((frames, GRID * GRID), dtype=np.bool_)
    if not started.any():
        return field, occupied
    points = positions[:, started].astype(np.float64)  # (T, N, 2)
    known = known[:, started]
    low, high = points[0].min(axis=0), points[0].max(axis=0)
    sides = np.maximum(high - low, 1e-6)
    unit = max(float(np.sqrt(sides[0] * sides[1])), 1e-6)
    place = np.clip(((points[0] - low) / sides * GRID).astype(np.intp), 0, GRID - 1)  # (N, 2)
    cell = place[:, 1] * GRID + place[:, 0]
    for index in range(frames):
        seen = known[index]
        count = np.bincount(cell[seen], minlength=GRID * GRID)
        displacement = (points[index, seen] - points[0, seen]) / unit
        for axis in (0, 1):
            total = np.bincount(cell[seen], displacement[:, axis], minlength=GRID * GRID)
            field[index, :, axis] = total / np.maximum(count, 1)
        occupied[index] = count > 0
    return field, occupied


def _mean_motion(field: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean over the known cells of (T, C, 2): (T, 2)."""
    return (field * known[..., None]).sum(axis=1) / np.maximum(known.sum(axis=1), 1)[:, None]


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Cosine of two fields (K, 2) as one vector each; still fields as the module says."""
    still = [float(np.sqrt((field**2).sum(axis=1).mean())) < STILL for field in (a, b)]
    if any(still):
        return 1.0 if all(still) else 0.0
    return float((a * b).sum() / (np.linalg.norm(a) * np.linalg.norm(b)))


def _speed_correlation(a: NDArray[np.float64], b: NDArray[np.float64], both: NDArray[np.bool_]) -> float:
    """Pearson correlation of the objects' speeds per frame; NaN where one has no variation."""
    steps = both[1:] & (both[:-1] | (np.arange(len(both) - 1) == 0)[:, None])  # (T - 1, C)
    frames = steps.any(axis=1)
    profiles = []
    for field in (a, b):
        squared = (np.diff(field, axis=0) ** 2).sum(axis=2)  # (T - 1, C)
        profiles.append(np.sqrt((squared * steps).sum(axis=1)[frames] / steps.sum(axis=1)[frames]))
    first, second = (profile - profile.mean() if profile.size else profile for profile in profiles)
    norm = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float((first * second).sum() / norm) if norm > 1e-12 else float("nan")
