"""What a training sample may ask of the model, and how often: control tasks and their mixture.

The authors' numbers are for 720x480, 49 frames and 4,900 points (conventions 1.8 to 1.10 and 4.3). Here a
length in pixels grows with the raster as stamps do, a number of kept frames is limited by the clip's length,
and a fraction of the points by a smallest number of points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

import numpy as np

from blender_addon.core.conditioning import Coverage
from blender_addon.core.errors import ErrorCode, FlexTrajError


class ControlTask(StrEnum):
    """What the trajectories of a sample are like."""

    DENSE = "dense"
    """All points on all frames."""
    SPATIAL = "spatial"
    """A few points, at random or by region."""
    TEMPORAL = "temporal"
    """All points on a few frames."""
    SPATIAL_TEMPORAL = "spatial_temporal"
    """A few points on a few frames."""
    UNALIGNED_SHIFT = "unaligned_shift"
    """The clip's own tracks, shifted or scaled."""
    UNALIGNED_CHARACTER = "unaligned_character"
    """Another character's tracks of the same motion."""

    @property
    def is_unaligned(self) -> bool:
        return self in (ControlTask.UNALIGNED_SHIFT, ControlTask.UNALIGNED_CHARACTER)

    @property
    def thins_points(self) -> bool:
        return self in (ControlTask.SPATIAL, ControlTask.SPATIAL_TEMPORAL)

    @property
    def thins_frames(self) -> bool:
        return self in (ControlTask.TEMPORAL, ControlTask.SPATIAL_TEMPORAL)


class IdAblation(StrEnum):
    """What is left out of the representation, for the study of what each part is good for."""

    NONE = "none"
    NO_TRAJ_ID = "no_traj_id"
    """Green and blue are 0: the points of a segment look alike."""
    NO_SEG_ID = "no_seg_id"
    """One red for everything that is painted."""
    NO_COLOR = "no_color"
    """The colour video is black."""


class BackgroundPoints(StrEnum):
    """How many of the background's points an aligned sample shows."""

    ALL = "all"
    """As in real video, where points cover the whole picture."""
    FEW = "few"
    """As in the authors' rendered clips: 1 % where there are more than 500, otherwise all."""
    NONE = "none"
    """As most shots made in Blender: only the subject carries points."""


class CoverageRule(StrEnum):
    """Coverage of the samples that keep all points of a subject."""

    SURFACE = "surface"
    STAMPS = "stamps"
    MIXED = "mixed"
    """Each with probability 1/2."""


_PROBABILITIES = (
    *("color_drop", "dense_color_drop", "photo_colors"),
    *("region", "random_frames", "large_subject", "scale_small"),
)
Choice = TypeVar("Choice", bound=StrEnum)
Probabilities = tuple[tuple[Choice, float], ...]


class MixtureError(FlexTrajError):
    """A mixture that cannot be drawn from; the sentence names the key."""

    def __init__(self, message: str, code: ErrorCode = ErrorCode.REQUEST) -> None:
        super().__init__(message, code)


@dataclass(frozen=True)
class TaskMixture:
    """How often a stage shows which task, and the ranges from which a sample is drawn.

    Attributes:
        tasks: probability of each task; they sum to 1.
        color_drop: p_c, probability that the colour cue of an aligned sample is dropped. Unaligned samples
            never have one.
        dense_color_drop: the same of dense samples alone; None = `color_drop`.
        photo_colors: probability that a colour cue shows what the first frame shows at the points, instead of
            the points' own colours.
        coverage: of samples that keep all points.
        background: probability of each rule for background points; they sum to 1.
        random_fraction: p_s, range of the fraction of points kept at random, drawn log-uniformly.
        min_points: at least this many points are kept at random.
        region: probability that points are kept by region instead.
        region_fractions: fractions kept by region, each as likely.
        frame_fractions: p_t, fractions of 49 frames that are kept, each as likely; at least the first and the
            last frame, at most every second.
        random_frames: probability that kept frames are drawn at random instead of evenly spread.
        scale_range: factor by which a large subject is scaled about one of its points.
        min_scale_change: factors nearer to 1 than this are not used.
        large_subject: subjects that cover more than this fraction of the picture are scaled, others shifted.
        scale_small: probability that a smaller subject is scaled all the same.
        shift_pixels: range of the sideways shift, in pixels at 720x480; the upper end is not reached.
        other_scale: range of the size of another character relative to its own.
        other_shift: largest distance, in x and in y, between the middles of the two characters' bounding
            boxes, in pixels at 720x480.

    Raises:
        MixtureError: a value is out of its range.
    """

    tasks: Probabilities[ControlTask]
    color_drop: float = 0.5
    dense_color_drop: float | None = None
    photo_colors: float = 0.0
    coverage: CoverageRule = CoverageRule.MIXED
    background: Probabilities[BackgroundPoints] = field(
        default=((BackgroundPoints.ALL, 0.4), (BackgroundPoints.FEW, 0.2), (BackgroundPoints.NONE, 0.4))
    )
    random_fraction: tuple[float, float] = (0.001, 0.1)
    min_points: int = 4
    region: float = 0.5
    region_fractions: tuple[float, ...] = (0.3, 0.2, 0.1)
    frame_fractions: tuple[float, ...] = (0.2, 0.1, 0.1, 0.0, 0.0)
    random_frames: float = 0.5
    scale_range: tuple[float, float] = (0.3, 1.8)
    min_scale_change: float = 0.15
    large_subject: float = 0.2
    scale_small: float = 0.5
    shift_pixels: tuple[float, float] = (30.0, 50.0)
    other_scale: tuple[float, float] = (0.8, 1.25)
    other_shift: float = 50.0

    def __post_init__(self) -> None:
        for name in ("tasks", "background"):
            check_probabilities(name, getattr(self, name))
        for name in _PROBABILITIES:
            value = getattr(self, name)
            if value is not None:
                _expect_between(name, value, 0, 1)
        for name in ("region_fractions", "frame_fractions"):
            if not getattr(self, name):
                raise MixtureError(f"The mixture's '{name}' is empty: give at least one fraction.")
            for value in getattr(self, name):
                _expect_between(name, value, 0, 1)
        _expect_range("random_fraction", self.random_fraction, 1e-6, 1)
        _expect_range("scale_range", self.scale_range, 0.05, 10)
        _expect_range("other_scale", self.other_scale, 0.05, 10)
        _expect_range("shift_pixels", self.shift_pixels, 1, 720)
        _expect_between("other_shift", self.other_shift, 0, 720)
        _expect_between("min_points", self.min_points, 1, 1_000_000)
        _expect_between("min_scale_change", self.min_scale_change, 0, 10)
        low, high = self.scale_range
        if low > 1 - self.min_scale_change and high < 1 + self.min_scale_change:
            raise MixtureError(
                "The mixture's 'scale_range' holds no factor that differs from 1 by 'min_scale_change': "
                "widen the range."
            )

    def probability(self, task: ControlTask) -> float:
        return dict(self.tasks).get(task, 0.0)

    def drop_probability(self, task: ControlTask) -> float:
        """How often a sample of a task has no colour cue."""
        if task.is_unaligned:
            return 1.0
        if task is ControlTask.DENSE and self.dense_color_drop is not None:
            return self.dense_color_drop
        return self.color_drop

    def draw_task(self, rng: np.random.Generator) -> ControlTask:
        return draw(self.tasks, rng)

    def draw_background(self, rng: np.random.Generator) -> BackgroundPoints:
        return draw(self.background, rng)

    def draw_coverage(self, rng: np.random.Generator) -> Coverage:
        surface = rng.random() < 0.5
        if self.coverage is CoverageRule.MIXED:
            return Coverage.SURFACE if surface else Coverage.STAMPS
        return Coverage(self.coverage.value)


def draw(probabilities: Probabilities[Choice], rng: np.random.Generator) -> Choice:
    """Draw one of the choices by its probability."""
    weights = np.array([weight for _, weight in probabilities])
    return probabilities[int(rng.choice(len(weights), p=weights / weights.sum()))][0]


def check_probabilities(name: str, probabilities: Probabilities[Any]) -> None:
    """Raise MixtureError unless these are probabilities of different choices that sum to 1."""
    for choice, weight in probabilities:
        _expect_between(f"{name}.{choice}", weight, 0, 1)
    choices = [choice for choice, _ in probabilities]
    if len(set(choices)) != len(choices):
        raise MixtureError(f"The mixture's '{name}' names a choice twice: keep one of them.")
    total = math.fsum(weight for _, weight in probabilities)
    if abs(total - 1) > 1e-6:
        raise MixtureError(
            f"The probabilities in the mixture's '{name}' sum to {total:g}: make them sum to 1."
        )


def only(task: ControlTask, **settings: Any) -> TaskMixture:
    """A mixture of one task alone, as validation and the study use it."""
    return TaskMixture(tasks=((task, 1.0),), **settings)


def _expect_between(name: str, value: float, low: float, high: float) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        raise MixtureError(f"The mixture's '{name}' is {value:g}: give a number from {low:g} to {high:g}.")


def _expect_range(name: str, ends: tuple[float, float], low: float, high: float) -> None:
    if not (all(map(math.isfinite, ends)) and low <= ends[0] <= ends[1] <= high):
        raise MixtureError(
            f"The mixture's '{name}' is {ends[0]:g} to {ends[1]:g}: give two numbers, the smaller first, "
            f"from {low:g} to {high:g}."
        )
