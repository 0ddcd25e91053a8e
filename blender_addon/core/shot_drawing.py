"""What a viewport draws of a trajectory set: the points of a frame and their paths, as arrays for the GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .id_coding import trajectory_colors
from .trajectories import TrajectorySet

HIDDEN_OPACITY = 0.2
"""Of points that the camera does not see."""
FUTURE_OPACITY = 0.4
"""Of the part of a path that is still to come."""
_FADE_STEPS = 8
_BEYOND_RASTER = 1.0
"""Points farther outside than this many raster sizes are not drawn."""


@dataclass(frozen=True, eq=False)
class DrawnPoints:
    """The points of one frame in painting order: hidden ones first.

    Attributes:
        pixels: (n, 2) float32, pixels of the raster.
        colors: (n, 4) uint8 RGBA: ID colour and opacity.
    """

    pixels: NDArray[np.float32]
    colors: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class DrawnPaths:
    """Paths of M points over T frames.

    Attributes:
        pixels: (T * M, 2) float32, frame by frame, pixels of the raster.
        colors: (T * M, 4) uint8 RGBA, likewise.
        lines: ((T - 1) * M, 2) uint32, indices of both ends of every step, frame by frame: the steps from
            frame t to t + 1 are the rows from t * M on.
    """

    pixels: NDArray[np.float32]
    colors: NDArray[np.uint8]
    lines: NDArray[np.uint32]


@dataclass(frozen=True)
class TrailPart:
    """Steps between frames that are drawn alike: from frame `first` to frame `last`, with an opacity."""

    first: int
    last: int
    opacity: float


def nearest_frame(source_frames: Sequence[float], scene_frame: float) -> int:
    """Index of the shot's frame that is nearest to a frame of the scene; the earlier of two."""
    return int(np.argmin(np.abs(np.asarray(source_frames) - scene_frame)))


class ShotDrawing:
    """Makes the arrays of a shot.

    Args:
        trajectories: the set; it is not copied.

    Raises:
        FlexTrajError: it has more segments than ID colours can tell apart.
    """

    def __init__(self, trajectories: TrajectorySet) -> None:
        self._trajectories = trajectories
        self._colors = np.full((trajectories.point_count, 4), 255, np.uint8)
        self._colors[:, :3] = trajectory_colors(trajectories)
        meta = trajectories.meta
        self._raster = np.array([meta.width, meta.height], np.float32)

    def points(self, frame: int) -> DrawnPoints:
        """The points of a frame that are near the raster."""
        positions, visible = self._trajectories.positions[frame], self._trajectories.visible[frame]
        near = self._is_near(positions)
        hidden = np.flatnonzero(near & ~visible)
        seen = np.flatnonzero(near & visible)
        order = np.concatenate([hidden, seen])
        colors = self._colors[order]
        colors[: len(hidden), 3] = round(255 * HIDDEN_OPACITY)
        return DrawnPoints(np.ascontiguousarray(positions[order, :2]), colors)

    def paths(self, most: int) -> DrawnPaths:
        """The paths of at most so many points, spread evenly over all."""
        frames, count = self._trajectories.frame_count, self._trajectories.point_count
        chosen = np.unique(np.linspace(0, count - 1, min(most, count)).astype(np.intp))
        positions = self._trajectories.positions[:, chosen]  # (T, M, 3)
        near = self._is_near(positions)
        colors = np.tile(self._colors[chosen], (frames, 1, 1))  # (T, M, 4)
        colors[~self._trajectories.visible[:, chosen], 3] = round(255 * HIDDEN_OPACITY)
        starts = np.arange((frames - 1) * len(chosen), dtype=np.uint32)
        # A step from or to where a point is not drawn has no length.
        drawn = (near[:-1] & near[1:]).reshape(-1)
        ends = np.where(drawn, starts + np.uint32(len(chosen)), starts)
        return DrawnPaths(
            np.ascontiguousarray(positions[..., :2]).reshape(-1, 2),
            colors.reshape(-1, 4),
            np.stack([starts, ends], axis=1),
        )

    def _is_near(self, positions: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Whether positions (..., 3) are in front of the camera and not far outside of the raster: (...)."""
        beyond = self._raster * _BEYOND_RASTER
        inside = (positions[..., :2] >= -beyond) & (positions[..., :2] <= self._raster + beyond)
        return inside.all(axis=-1) & (positions[..., 2] > 0)


def trail_parts(frame: int, length: int, frame_count: int) -> tuple[TrailPart, ...]:
    """Cut the trail around a frame into parts that fade out with their distance in time.

    Args:
        frame: the current one.
        length: frames on either side; 0 = no trail.
        frame_count: T.

    Returns:
        Parts without gaps or overlaps, in painting order: the current frame's neighbours last.
    """
    parts: list[TrailPart] = []
    band = max(1, -(-length // _FADE_STEPS))
    for near in reversed(range(0, length, band)):
        far = min(near + band, length)
        opacity = 1.0 - near / length
        for first, last, strength in (
            (frame + near, frame + far, FUTURE_OPACITY),
            (frame - far, frame - near, 1.0),
        ):
            first, last = max(first, 0), min(last, frame_count - 1)
            if last > first:
                parts.append(TrailPart(first, last, opacity * strength))
    return tuple(parts)
