"""Following points of a video's first frame without weights: chained pyramidal Lucas-Kanade on colours.

Small videos are enlarged first, since Lucas-Kanade's windows are of some pixels. Each step is tried from the
point's last place and from where its speed leads. A point counts as followed while it can be followed back
to where it came from (forward-backward error, Kalal et al. 2010). Where it cannot, it is followed in softened
frames: a generated frame is softer than the photo before it, and Lucas-Kanade compares colours. A lost point
is looked for again in every frame: with the patch around its last place, where its neighbours went and where
its speed leads. Neighbours are points of a regular grid, so that a point's track does not depend on the other
queries. `flextraj bench tracking` compares variants.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from blender_addon.core.errors import RequestError

REFERENCE_WIDTH = 480
"""Distances of the settings are pixels at this width."""
NEIGHBORS = 12
MEMORY = 12
"""A point that was lost for more frames is not looked for any more."""


@dataclass(frozen=True, eq=False)
class TrackedPoints:
    """Where the points of the first frame went.

    Attributes:
        positions: (T, N, 2) float32 in pixels, centres at +0.5; a lost point keeps its last position.
        tracked: (T, N) bool; False from the frame on in which a point was lost, until it is found again.
    """

    positions: NDArray[np.float32]
    tracked: NDArray[np.bool_]


class Channels(StrEnum):
    """What Lucas-Kanade compares."""

    GREY = "grey"
    COLOR = "color"


class Reacquisition(StrEnum):
    """What happens to a lost point."""

    NONE = "none"
    NEIGHBORS = "neighbors"


@dataclass(frozen=True)
class TrackerSettings:
    """How points are followed; distances in pixels of a video enlarged to `REFERENCE_WIDTH`.

    Attributes:
        working_width: narrower videos are enlarged to about this width.
        window: side of Lucas-Kanade's window in enlarged pixels.
        levels: pyramid levels above the first.
        gate: largest forward-backward error.
        found_gate: the same for points that are found again.
        found_difference: largest mean difference of the patches of points found again, in grey levels.
        softness: sigmas of the Gaussians by which frames are softened, in the order in which they are tried.
        soft_window: side of Lucas-Kanade's window in softened frames.
        soft_gate, soft_found_gate, soft_found_difference: as above, in softened frames.
        grid: spacing of the neighbours.
    """

    working_width: int = 480
    window: int = 21
    levels: int = 3
    gate: float = 6.0
    found_gate: float = 4.0
    found_difference: float = 40.0
    softness: tuple[float, ...] = (6.0, 12.0, 20.0)
    soft_window: int = 45
    soft_gate: float = 5.0
    soft_found_gate: float = 5.0
    soft_found_difference: float = 25.0
    grid: float = 36.0
    channels: Channels = Channels.COLOR
    reacquisition: Reacquisition = Reacquisition.NEIGHBORS


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
    points = len(queries)
    height, width = frames.shape[1:3]
    neighbors = _grid(width, height, settings.grid * width / REFERENCE_WIDTH)
    if settings.reacquisition is Reacquisition.NONE:
        neighbors = neighbors[:0]
    tracker = _Tracker(frames, np.concatenate([np.asarray(queries, np.float32), neighbors]), points, settings)
    for frame in range(1, len(frames)):
        tracker.follow(frame)
        if settings.reacquisition is Reacquisition.NEIGHBORS:
            tracker.find_again(frame)
    return TrackedPoints(tracker.positions[:, :points], tracker.tracked[:, :points])


@dataclass(frozen=True, eq=False)
class _Look:
    """The enlarged frames, as they are or softened, and the `TrackerSettings` for them."""

    pictures: list[NDArray[np.uint8]]
    window: int
    gate: float
    found_gate: float
    found_difference: float


class _Tracker:
    """Tracks under way: queries first, then their neighbours."""

    def __init__(
        self,
        frames: NDArray[np.uint8],
        starts: NDArray[np.float32],
        queries: int,
        settings: TrackerSettings,
    ) -> None:
        count, self.height, self.width = frames.shape[:3]
        self.settings = settings
        self.queries = queries
        self.scale = max(1.0, settings.working_width / self.width)
        self.unit = self.width * self.scale / REFERENCE_WIDTH
        self.sharp = _Look(
            [self._prepare(frame) for frame in frames],
            settings.window,
            settings.gate,
            settings.found_gate,
            settings.found_difference,
        )
        self.positions = np.repeat(starts[None], count, axis=0)  # (T, N, 2)
        self.tracked = np.zeros(self.positions.shape[:2], dtype=np.bool_)
        self.tracked[0] = self._inside(starts)
        self.last = np.zeros(len(starts), dtype=np.intp)  # the frame in which each was seen last

    def follow(self, frame: int) -> None:
        """Move the points that were seen in the frame before."""
        self.positions[frame] = self.positions[frame - 1]
        alive = np.flatnonzero(self.tracked[frame - 1])
        if not alive.size:
            return
        start = self.positions[frame - 1, alive]
        end, error = self._flow(frame - 1, frame, start, None, self.settings.levels, self.sharp)
        if frame > 1:
            guess = 2 * start - self.positions[frame - 2, alive]
            other, other_error = self._flow(frame - 1, frame, start, guess, 1, self.sharp)
            better = other_error < error
            end[better], error[better] = other[better], other_error[better]
        good = error < self.sharp.gate * self.unit
        self._accept(frame, alive[good], end[good])
        for softness in range(len(self.settings.softness)):
            alive, start = alive[~good], start[~good]
            if not alive.size:
                return
            look = self.softened[softness]
            end, error = self._flow(frame - 1, frame, start, None, self.settings.levels, look)
            good = error < look.gate * self.unit
            self._accept(frame, alive[good], end[good])

    @cached_property
    def softened(self) -> list[_Look]:
        """The frames without their details, for each of the settings' sigmas."""
        return [
            _Look(
                [
                    cv2.GaussianBlur(picture, (0, 0), sigma * self.unit).astype(np.uint8, copy=False)
                    for picture in self.sharp.pictures
                ],
                self.settings.soft_window,
                self.settings.soft_gate,
                self.settings.soft_found_gate,
                self.settings.soft_found_difference,
            )
            for sigma in self.settings.softness
        ]

    def find_again(self, frame: int) -> None:
        """Look for the queries that are not seen in this frame."""
        lost = np.flatnonzero(~self.tracked[frame, : self.queries])
        lost = lost[self.tracked[0, lost] & (frame - self.last[lost] <= MEMORY)]
        for softness in range(1 + len(self.settings.softness)):
            if not lost.size:
                return
            found, places = self._found(lost, frame, self.softened[softness - 1] if softness else self.sharp)
            self._accept(frame, lost[found], places[found])
            lost = lost[~found]

    def _found(
        self, lost: NDArray[np.intp], frame: int, look: _Look
    ) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Which lost points (L,) are in a frame after all, and where, (L, 2)."""
        guesses = self._guesses(lost, frame)  # (G, L, 2)
        sources = self.last[lost]
        places = np.zeros((len(lost), 2), dtype=np.float32)
        cost = np.full(len(lost), np.inf)
        for source in np.unique(sources):
            chosen = np.flatnonzero(sources == source)
            start = np.tile(self.positions[source, lost[chosen]], (len(guesses), 1))
            end, error = self._flow(source, frame, start, guesses[:, chosen].reshape(-1, 2), 1, look)
            difference = self._patch_difference(source, start, frame, end, look)
            good = (error < look.found_gate * self.unit) & (difference < look.found_difference)
            costs = np.where(good, difference, np.inf).reshape(len(guesses), -1)  # (G, l)
            best = costs.argmin(axis=0)
            columns = np.arange(len(chosen))
            places[chosen] = end.reshape(len(guesses), -1, 2)[best, columns]
            cost[chosen] = costs[best, columns]
        return np.isfinite(cost), places

    def _guesses(self, lost: NDArray[np.intp], frame: int) -> NDArray[np.float32]:
        """Where lost points may be: by speed, by their neighbours' median and by their nearest neighbour."""
        last = self.last[lost]
        place = self.positions[last, lost]
        speed = np.where((last > 0)[:, None], place - self.positions[np.maximum(last - 1, 0), lost], 0)
        guesses = [place + speed * (frame - last)[:, None]]
        seen = np.flatnonzero(self.tracked[frame, self.queries :]) + self.queries
        if seen.size:
            start = self.positions[0]
            distance = np.linalg.norm(start[lost][:, None] - start[seen][None], axis=2)  # (L, S)
            nearest = seen[np.argsort(distance, axis=1)[:, :NEIGHBORS]]  # (L, K)
            moved = self.positions[frame, nearest] - start[nearest]  # (L, K, 2)
            guesses += [start[lost] + np.median(moved, axis=1), start[lost] + moved[:, 0]]
        return np.stack(guesses).astype(np.float32)

    def _flow(
        self,
        source: int,
        target: int,
        start: NDArray[np.float32],
        guess: NDArray[np.float32] | None,
        levels: int,
        look: _Look,
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Follow (N, 2) points from one frame into another: their ends and their forward-backward errors."""
        begin = self._enlarge(start)
        first, second = look.pictures[source], look.pictures[target]
        there = begin if guess is None else self._enlarge(guess)
        end, found = self._lucas_kanade(first, second, begin, there, levels, look.window)
        back_from = end if guess is None else begin
        back, returned = self._lucas_kanade(second, first, end, back_from, levels, look.window)
        error = np.linalg.norm(back - begin, axis=1).astype(np.float64)
        places = ((end + 0.5) / self.scale).astype(np.float32)
        error[~(found & returned & self._inside(places))] = np.inf
        return places, error

    def _lucas_kanade(
        self,
        source: NDArray[np.uint8],
        target: NDArray[np.uint8],
        points: NDArray[np.float32],
        guess: NDArray[np.float32],
        levels: int,
        window: int,
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        end, status, _ = cv2.calcOpticalFlowPyrLK(
            source,
            target,
            points[:, None],
            guess[:, None].copy(),
            winSize=(window, window),
            maxLevel=levels,
            criteria=(cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 15, 0.02),
            flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
            minEigThreshold=1e-6,
        )
        return end[:, 0].astype(np.float32), status[:, 0] > 0

    def _patch_difference(
        self, source: int, start: NDArray[np.float32], target: int, end: NDArray[np.float32], look: _Look
    ) -> NDArray[np.float64]:
        """Mean absolute difference of the patches around (N, 2) points of two frames, in grey levels."""
        offsets = np.linspace(-8, 8, 5) * self.unit
        grid = np.stack(np.meshgrid(offsets, offsets), axis=-1).reshape(-1, 2)  # (25, 2)

        def patches(frame: int, points: NDArray[np.float32]) -> NDArray[np.float32]:
            places = (self._enlarge(points)[:, None] + grid).astype(np.float32)  # (N, 25, 2)
            picture = look.pictures[frame]
            sampled = cv2.remap(
                picture, places[..., 0], places[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
            return sampled.astype(np.float32).reshape(len(points), -1)

        return np.abs(patches(source, start) - patches(target, end)).mean(axis=1).astype(np.float64)

    def _prepare(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        picture = frame
        if self.scale > 1:
            size = (round(self.width * self.scale), round(self.height * self.scale))
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)
        if self.settings.channels is Channels.GREY:
            picture = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        return np.ascontiguousarray(picture, dtype=np.uint8)

    def _enlarge(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        return (points * self.scale - 0.5).astype(np.float32)

    def _inside(self, points: NDArray[np.float32]) -> NDArray[np.bool_]:
        return ((points >= 0) & (points < (self.width, self.height))).all(axis=1)

    def _accept(self, frame: int, points: NDArray[np.intp], places: NDArray[np.float32]) -> None:
        self.positions[frame, points] = places
        self.tracked[frame, points] = True
        self.last[points] = frame


def _grid(width: int, height: int, spacing: float) -> NDArray[np.float32]:
    """Points (N, 2) of a regular grid over the picture."""
    columns, rows = np.meshgrid(
        np.arange(spacing / 2, width, spacing), np.arange(spacing / 2, height, spacing)
    )
    return np.stack([columns.ravel(), rows.ravel()], axis=1).astype(np.float32)
