"""Tracks that do not line up with the picture, made from aligned real clips (conventions 1.9).

What is drawn at random and what is done with it are separate, so that a recorded choice can be replayed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from flextraj_backend.conditioning.masks import foreground_mask, inside_dilated

LARGE_FOREGROUND = 0.2
"""Fraction of the picture above which the foreground is scaled; below, the whole picture is shifted."""
FOREGROUND_BOX = 7
"""Pixels: the foreground is dilated by a box of this size before its points are chosen."""
BACKGROUND_FRACTION = 0.05
_SHIFT_RANGE = (30, 50)


class ScaleAxis(Enum):
    """Along which axes a single scale factor acts."""

    X = (True, False)
    Y = (False, True)
    BOTH = (True, True)

    def factors(self, scale: float) -> tuple[float, float]:
        """Scale in x and in y."""
        on_x, on_y = self.value
        return (scale if on_x else 1.0, scale if on_y else 1.0)


@dataclass(frozen=True, eq=False)
class ForegroundScaling:
    """Scale the foreground's tracks about one of them and thin out the rest.

    Attributes:
        inside: (N,) bool, the tracks that are scaled.
        reference: index of the track that stays where it is.
        factors: scale in x and y.
        background: indices of the tracks outside that stay visible.
    """

    inside: NDArray[np.bool_]
    reference: int
    factors: tuple[float, float]
    background: NDArray[np.int64]

    def apply(
        self, tracks: NDArray[np.float32], visible: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the changed tracks (T, N, 3) and visibility (T, N)."""
        keep = self.inside.copy()
        keep[self.background] = True
        return scale_about_track(tracks, self.inside, self.reference, self.factors), visible & keep


@dataclass(frozen=True)
class HorizontalShift:
    """Move all tracks by `dx` pixels."""

    dx: float

    def apply(
        self, tracks: NDArray[np.float32], visible: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the changed tracks (T, N, 3) and visibility (T, N)."""
        moved = tracks.copy()
        moved[..., 0] += np.float32(self.dx)
        return moved, visible


Misalignment = ForegroundScaling | HorizontalShift


def scale_about_track(
    tracks: NDArray[np.float32],
    inside: NDArray[np.bool_],
    reference: int,
    factors: tuple[float, float],
) -> NDArray[np.float32]:
    """Scale tracks about another one, frame by frame: p' = r + (p - r) * factors, with r of the same frame.

    Args:
        tracks: (T, N, 2 or more) x, y in pixels; further columns stay.
        inside: (N,) the tracks that are scaled.
        reference: index of the track that is the centre.
        factors: in x and y.

    Returns:
        Tracks of the same shape, float32.
    """
    scaled = tracks.copy()
    xy = tracks[:, inside, :2].astype(np.float64)
    center = tracks[:, reference, None, :2].astype(np.float64)  # (T, 1, 2)
    scaled[:, inside, :2] = center + (xy - center) * np.asarray(factors)
    return scaled


def draw_misalignment(
    tracks: NDArray[np.floating],
    masks: NDArray[np.bool_],
    scale: float | tuple[float, float],
    generator: np.random.Generator,
) -> Misalignment:
    """Choose how a clip's tracks are put out of line with its picture.

    A foreground of more than 20 % of the picture is scaled about one of its points, along x, y or both; 5 %
    of the other points stay. Otherwise everything moves 30 to 49 px to the left or right.

    Args:
        tracks: (T, N, 2 or more) x, y in pixels.
        masks: (S, H, W) segment masks of the first frame.
        scale: one factor for an axis drawn at random, or one for x and one for y.
    """
    foreground = masks[foreground_mask(masks)]  # (H, W)
    inside = inside_dilated(tracks[0], foreground, FOREGROUND_BOX)
    if np.count_nonzero(foreground) <= LARGE_FOREGROUND * foreground.size or not inside.any():
        return HorizontalShift(float(generator.integers(*_SHIFT_RANGE) * generator.choice((-1, 1))))
    reference = int(generator.choice(np.flatnonzero(inside)))
    if isinstance(scale, tuple):
        factors = scale
    else:
        factors = list(ScaleAxis)[int(generator.integers(len(ScaleAxis)))].factors(scale)
    return ForegroundScaling(inside, reference, factors, draw_background(inside, generator))


def draw_background(inside: NDArray[np.bool_], generator: np.random.Generator) -> NDArray[np.int64]:
    """Choose the points outside the foreground that stay: 5 % of them, at least one where there is one."""
    outside = np.flatnonzero(~inside)
    count = min(len(outside), max(1, int(len(outside) * BACKGROUND_FRACTION)))
    return np.sort(generator.choice(outside, count, replace=False))
