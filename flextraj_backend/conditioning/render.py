"""From a trajectory set to its two conditioning videos."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum

import numpy as np
from numpy.typing import NDArray

from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.trajectories import TrajectorySet
from flextraj_backend.conditioning.id_coding import trajectory_colors
from flextraj_backend.conditioning.sparsity import kept_frames, random_points, sparsify
from flextraj_backend.conditioning.stamping import FrameCover, pack_colors, stamp_frame
from flextraj_backend.conditioning.surface import SurfaceCover
from flextraj_backend.engines.base import ConditioningVideos

REFERENCE_WIDTH, REFERENCE_HEIGHT = 720, 480
LARGE_STAMP, SMALL_STAMP = 6.0, 3.0
"""Half widths of a stamp in pixels of the reference raster."""
FEW_POINTS = 300
SPARSE_FRACTION = 0.1


class Coverage(StrEnum):
    """Which pixels carry an ID."""

    STAMPS = "stamps"
    """A rectangle around each visible point, as in the reference."""
    SURFACE = "surface"
    """Every pixel of the visible surface carries the ID of its nearest visible point: no holes."""


class ColorCue(StrEnum):
    """What the colour video shows."""

    OFF = "off"
    """Black."""
    TRAJECTORY_COLORS = "trajectory_colors"
    """The colour of the set's point under every painted pixel."""


class StampRule(Enum):
    """Half width of a stamp, in pixels at 720x480."""

    REAL_VIDEO = "real_video"
    """6 where less than a tenth of the points is kept or the set has under 300 points, otherwise 3."""
    SYNTHETIC = "synthetic"
    """Always 6."""


@dataclass(frozen=True)
class ConditioningSettings:
    """How conditioning videos are made.

    Attributes:
        keep_points: fraction of the points kept, 0 < f <= 1 (spatial sparsity).
        keep_frames: fraction of the frames kept, 0 < f <= 1 (temporal sparsity); at least the first and the
            last.
        seed: of the random choice of points.
        coverage: stamps or dense surface.
        color_cue: what the colour video shows.
        stamp_rule: size of the stamps.

    Raises:
        FlexTrajError: a number is out of range.
    """

    keep_points: float = 1.0
    keep_frames: float = 1.0
    seed: int = 0
    coverage: Coverage = Coverage.STAMPS
    color_cue: ColorCue = ColorCue.TRAJECTORY_COLORS
    stamp_rule: StampRule = StampRule.REAL_VIDEO

    def __post_init__(self) -> None:
        for name, value in (("points", self.keep_points), ("frames", self.keep_frames)):
            if not (math.isfinite(value) and 0 < value <= 1):
                raise FlexTrajError(
                    f"The fraction of {name} to keep is {value:g}: give a number above 0 and at most 1.",
                    ErrorCode.REQUEST,
                )
        if self.seed < 0:
            raise FlexTrajError(
                f"The seed is {self.seed}: give a whole number of at least 0.", ErrorCode.REQUEST
            )


def stamp_half_width(rule: StampRule, point_count: int, keep_points: float, width: int, height: int) -> float:
    """Half width of a stamp in pixels of the raster.

    The reference renders at 720x480 and enlarges the video until it covers another raster; stamps made at
    that raster directly grow by the same factor, max(width / 720, height / 480), but never below 1 px.

    Args:
        point_count: of the whole set, hidden points included.
        keep_points: fraction of them that is kept.
    """
    few = keep_points < SPARSE_FRACTION or point_count < FEW_POINTS
    base = LARGE_STAMP if rule is StampRule.SYNTHETIC or few else SMALL_STAMP
    return max(1.0, base * max(width / REFERENCE_WIDTH, height / REFERENCE_HEIGHT))


def render_conditioning(
    trajectories: TrajectorySet,
    settings: ConditioningSettings,
    fit: NDArray[np.float64] | None = None,
    on_frame: Callable[[int], None] | None = None,
) -> ConditioningVideos:
    """Render the ID video and the colour video of a set, nearest point on top.

    Colours are those of the full set whatever is kept. Dropped frames are black in both videos. Without
    `color` in the set, or with the colour cue off, the colour video is black.

    Args:
        fit: (2, 3) affine from pixels of the set to pixels of the photo, or None: as projected. Points that
            the set calls hidden stay hidden.
        on_frame: called with the number of frames done.

    Raises:
        FlexTrajError: the fit is not an invertible (2, 3) matrix of finite numbers, or there are too many
            segments.
    """
    if fit is not None:
        fit = _checked_fit(fit)
    meta = trajectories.meta
    frame_count = trajectories.frame_count
    generator = np.random.default_rng(settings.seed)
    points_kept = random_points(trajectories.point_count, settings.keep_points, generator)
    frames_kept = kept_frames(frame_count, settings.keep_frames)
    frame_cover = _frame_cover(trajectories, settings, points_kept, fit)
    id_palette = pack_colors(trajectory_colors(trajectories))
    ids = np.zeros((frame_count, meta.height, meta.width, 3), np.uint8)
    color = np.zeros_like(ids)
    cue = trajectories.color if settings.color_cue is ColorCue.TRAJECTORY_COLORS else None
    for done, frame in enumerate(frames_kept.tolist(), start=1):
        cover = frame_cover(frame)
        cover.paint(ids[frame], id_palette)
        if cue is not None:
            cover.paint(color[frame], pack_colors(cue if cue.ndim == 2 else cue[frame]))
        if on_frame is not None:
            on_frame(done)
    return ConditioningVideos(ids=ids, color=color)


def _checked_fit(fit: NDArray[np.float64]) -> NDArray[np.float64]:
    matrix = np.asarray(fit, np.float64)
    if matrix.shape != (2, 3) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:, :2])) < 1e-9:
        raise FlexTrajError(
            "The fit must be an invertible 2x3 matrix of finite numbers: fit the motion to the photo again.",
            ErrorCode.REQUEST,
        )
    return matrix


def _frame_cover(
    trajectories: TrajectorySet,
    settings: ConditioningSettings,
    points_kept: NDArray[np.bool_],
    fit: NDArray[np.float64] | None,
) -> Callable[[int], FrameCover]:
    meta = trajectories.meta
    if settings.coverage is Coverage.SURFACE:
        return SurfaceCover(trajectories, points_kept, fit).frame
    visible = sparsify(trajectories.visible, np.arange(trajectories.frame_count), points_kept)
    half_width = stamp_half_width(
        settings.stamp_rule, trajectories.point_count, settings.keep_points, meta.width, meta.height
    )

    def stamp(frame: int) -> FrameCover:
        positions = trajectories.positions[frame]  # (N, 3)
        xy = positions[:, :2] if fit is None else positions[:, :2] @ fit[:, :2].T + fit[:, 2]
        # Depth grows away from the camera, priority toward the top.
        return stamp_frame(xy, visible[frame], -positions[:, 2], half_width, meta.height, meta.width)

    return stamp
