"""Following points of a video's first frame without weights: chained pyramidal Lucas-Kanade.

Small videos are enlarged first, since Lucas-Kanade's windows are of some pixels. A point counts as followed
while it can be followed back to where it came from (Kalal et al. 2010, forward-backward error).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from blender_addon.core.errors import RequestError


@dataclass(frozen=True, eq=False)
class TrackedPoints:
    """Where the points of the first frame went.

    Attributes:
        positions: (T, N, 2) float32 in pixels, centres at +0.5; a lost point keeps its last position.
        tracked: (T, N) bool; False from the frame on in which a point was lost, until it is found again.
    """

    positions: NDArray[np.float32]
    tracked: NDArray[np.bool_]


@dataclass(frozen=True)
class TrackerSettings:
    """How points are followed.

    Attributes:
        working_width: videos narrower than this are enlarged to about this width, in pixels.
        window: side of Lucas-Kanade's window in enlarged pixels.
        levels: pyramid levels above the first.
        gate: largest forward-backward error, in enlarged pixels at a width of 480; it grows with the width.
    """

    working_width: int = 480
    window: int = 31
    levels: int = 4
    gate: float = 3.0


def track_points(
    frames: NDArray[np.uint8], queries: NDArray[np.floating], settings: TrackerSettings | None = None
) -> TrackedPoints:
    """Follow points from the first frame through the video.

    Args:
        frames: (T, H, W, 3) uint8 RGB.
        queries: (N, 2) pixel positions in the first frame, centres at +0.5.
        settings: None for those that did best in `flextraj bench tracking`.

    Raises:
        RequestError: the arrays have other shapes or types.
    """
    settings = settings or TrackerSettings()
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or not len(frames):
        raise RequestError("Points can be followed only in frames of shape (T, H, W, 3) and type uint8.")
    if queries.ndim != 2 or queries.shape[1] != 2 or not np.isfinite(queries).all():
        raise RequestError("The points to follow must be (N, 2) finite pixel positions.")
    count, height, width = frames.shape[:3]
    points = len(queries)
    positions = np.repeat(np.asarray(queries, np.float32)[None], count, axis=0)  # (T, N, 2)
    tracked = np.zeros((count, points), dtype=np.bool_)
    if not points:
        return TrackedPoints(positions, tracked)
    tracked[0] = _inside(positions[0], width, height)
    scale = max(1.0, settings.working_width / width)
    gate = settings.gate * width * scale / 480
    enlarged = [_prepare(frame, scale) for frame in frames]
    for index in range(1, count):
        alive = np.flatnonzero(tracked[index - 1])
        positions[index] = positions[index - 1]
        if not alive.size:
            continue
        start = (positions[index - 1, alive] * scale - 0.5).astype(np.float32)
        end, found = _flow(enlarged[index - 1], enlarged[index], start, settings)
        back, returned = _flow(enlarged[index], enlarged[index - 1], end, settings)
        error = np.linalg.norm(back - start, axis=1)
        moved = ((end + 0.5) / scale).astype(np.float32)
        good = found & returned & (error < gate) & _inside(moved, width, height)
        positions[index, alive[good]] = moved[good]
        tracked[index, alive[good]] = True
    return TrackedPoints(positions, tracked)


def _prepare(frame: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    if scale > 1:
        size = (round(frame.shape[1] * scale), round(frame.shape[0] * scale))
        frame = cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    return frame


def _flow(
    source: NDArray[np.uint8],
    target: NDArray[np.uint8],
    points: NDArray[np.float32],
    settings: TrackerSettings,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    end, status, _ = cv2.calcOpticalFlowPyrLK(
        source,
        target,
        points[:, None],
        None,  # pyright: ignore[reportCallIssue, reportArgumentType]
        winSize=(settings.window, settings.window),
        maxLevel=settings.levels,
        criteria=(cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 0.01),
        minEigThreshold=1e-5,
    )
    return end[:, 0], status[:, 0] > 0


def _inside(points: NDArray[np.float32], width: int, height: int) -> NDArray[np.bool_]:
    return ((points >= 0) & (points < (width, height))).all(axis=1)
