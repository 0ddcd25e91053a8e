"""Conditioning videos frame by frame: how they are made, and what their stamps cover.

NumPy only: Blender's preview shows what the backend renders.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, StrEnum

import numpy as np
from numpy.typing import NDArray

from .errors import ErrorCode, FlexTrajError
from .sparsity import kept_frames, random_points, sparsify
from .stamping import FrameCover, stamp_frame
from .trajectories import TrajectorySet

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
    PHOTO_COLORS = "photo_colors"
    """The same, after the points took the colours that the photo shows at them on the first frame."""


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
        frames: the frames kept, as ascending indices; None = by `keep_frames`.
        seed: of the random choice of points.
        coverage: stamps or dense surface.
        color_cue: what the colour video shows.
        stamp_rule: size of the stamps.

    Raises:
        FlexTrajError: a number is out of range.
    """

    keep_points: float = 1.0
    keep_frames: float = 1.0
    frames: tuple[int, ...] | None = None
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


class StampedFrames:
    """Finds what the stamps of a shot cover, frame by frame, nearest point on top.

    Args:
        trajectories: the set.
        settings: which points and frames are kept, and the size of the stamps.
        fit: (2, 3) affine from pixels of the set to pixels of the photo, or None: as projected.
    """

    def __init__(
        self,
        trajectories: TrajectorySet,
        settings: ConditioningSettings,
        fit: NDArray[np.float64] | None = None,
    ) -> None:
        meta = trajectories.meta
        frames = frames_kept(trajectories.frame_count, settings)
        self._trajectories = trajectories
        self._fit = fit
        self._visible = sparsify(trajectories.visible, frames, points_kept(trajectories, settings))
        self._half_width = stamp_half_width(
            settings.stamp_rule, trajectories.point_count, settings.keep_points, meta.width, meta.height
        )

    def frame(self, index: int) -> FrameCover:
        """The cover of a frame; nothing on a frame that is not kept."""
        meta, fit = self._trajectories.meta, self._fit
        positions = self._trajectories.positions[index]  # (N, 3)
        xy = positions[:, :2] if fit is None else positions[:, :2] @ fit[:, :2].T + fit[:, 2]
        # Depth grows away from the camera, priority toward the top.
        return stamp_frame(
            xy, self._visible[index], -positions[:, 2], self._half_width, meta.height, meta.width
        )


def frames_kept(frame_count: int, settings: ConditioningSettings) -> NDArray[np.int64]:
    """The frames that carry points, (K,) ascending indices.

    Raises:
        FlexTrajError: a frame is asked for that the set does not have.
    """
    if settings.frames is None:
        return kept_frames(frame_count, settings.keep_frames)
    frames = np.unique(np.array(settings.frames, dtype=np.int64))
    if len(frames) == 0 or frames[0] < 0 or frames[-1] >= frame_count:
        raise FlexTrajError(
            f"The kept frames must be of the set's {frame_count}, 0 to {frame_count - 1}: choose others.",
            ErrorCode.REQUEST,
        )
    return frames


def points_kept(trajectories: TrajectorySet, settings: ConditioningSettings) -> NDArray[np.bool_]:
    """The points of a set that its conditioning videos keep, (N,) bool."""
    generator = np.random.default_rng(settings.seed)
    return random_points(trajectories.point_count, settings.keep_points, generator)


def cue_colors(
    trajectories: TrajectorySet, settings: ConditioningSettings, frame: int
) -> NDArray[np.uint8] | None:
    """Colours of the points in the colour video on a frame, (N, 3) uint8; None where that is black."""
    color = trajectories.color
    if color is None or settings.color_cue is ColorCue.OFF:
        return None
    return color if color.ndim == 2 else color[frame]
