"""ID video against the loop that stamps one rectangle per point, on the same points, pixel for pixel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from blender_addon.core.conditioning import ColorCue, ConditioningSettings
from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.id_coding import trajectory_colors
from blender_addon.core.stamping import HEIGHT_RATIO
from blender_addon.core.trajectories import Segment, TrajectoryMeta, TrajectorySet
from flextraj_backend.bench.table import BenchRow, best_of
from flextraj_backend.conditioning.render import render_conditioning

FRAMES, WIDTH, HEIGHT = 49, 720, 480
HALF_WIDTH = 3.0
SEGMENTS = 4
LIMITS = {10_000: 0.15, 100_000: 0.05}
_REPEATS = 7
_VISIBLE_FRACTION = 0.9


def rows() -> list[BenchRow]:
    """Measure the ID video of points that drift over the whole raster.

    Raises:
        FlexTrajError: the videos differ in a pixel, so the times must not be compared.
    """
    return [_measure(count, limit) for count, limit in LIMITS.items()]


def drifting_points(point_count: int, seed: int) -> TrajectorySet:
    """A set of points on smooth paths over the whole raster, nine of ten visible in each frame."""
    generator = np.random.default_rng(seed)
    start = generator.uniform((0, 0, 1), (WIDTH, HEIGHT, 10), (point_count, 3))
    drift = generator.uniform(-60, 60, (point_count, 3)) * (1, 1, 0.01)
    time = np.linspace(0, 1, FRAMES)[:, None, None]
    order = np.arange(point_count)
    return TrajectorySet(
        positions=(start + time * drift).astype(np.float32),
        visible=generator.random((FRAMES, point_count)) < _VISIBLE_FRACTION,
        seg_id=(order % SEGMENTS).astype(np.uint16),
        traj_id=(order // SEGMENTS).astype(np.uint16),
        meta=TrajectoryMeta(
            width=WIDTH,
            height=HEIGHT,
            fps=24,
            source_frames=tuple(float(frame) for frame in range(FRAMES)),
            segments=tuple(Segment(index, f"part {index}") for index in range(SEGMENTS)),
        ),
    )


def stamp_in_a_loop(trajectories: TrajectorySet, colors: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The reference: sort the visible points of a frame far to near and paint a rectangle for each."""
    video = np.zeros((trajectories.frame_count, HEIGHT, WIDTH, 3), np.uint8)
    half = np.array([HALF_WIDTH, HALF_WIDTH / HEIGHT_RATIO])
    for canvas, positions, visible in zip(video, trajectories.positions, trajectories.visible, strict=True):
        points = np.flatnonzero(visible)
        points = points[np.argsort(-positions[points, 2], kind="stable")]
        center = positions[points, :2].astype(np.float64)
        # Corners and colours for all points at once: the loop proper does nothing but paint.
        first = np.clip(np.trunc(center - half), 0, (WIDTH, HEIGHT)).astype(int).tolist()
        last = np.clip(np.trunc(center + half), 0, (WIDTH, HEIGHT)).astype(int).tolist()
        for (x1, y1), (x2, y2), color in zip(first, last, colors[points], strict=True):
            canvas[y1:y2, x1:x2] = color
    return video


def _measure(point_count: int, limit: float) -> BenchRow:
    trajectories = drifting_points(point_count, seed=point_count)
    settings = ConditioningSettings(color_cue=ColorCue.OFF)
    colors = trajectory_colors(trajectories)
    if not np.array_equal(
        render_conditioning(trajectories, settings).ids, stamp_in_a_loop(trajectories, colors)
    ):
        raise FlexTrajError(
            f"The ID video of {point_count} points differs from the stamped one: report this as a bug.",
            ErrorCode.BACKEND,
        )
    return BenchRow(
        work="ID video",
        points=point_count,
        seconds=best_of(_REPEATS, lambda: render_conditioning(trajectories, settings)),
        reference="loop that stamps a rectangle per point",
        reference_seconds=best_of(_REPEATS, lambda: stamp_in_a_loop(trajectories, colors)),
        limit=limit,
        note=f"{FRAMES} frames, {WIDTH}x{HEIGHT}, pixel-identical",
    )
