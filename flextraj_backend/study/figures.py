"""The figures of the study: what is measured of each sampled video, and how that is summed up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from flextraj_backend.evaluation.frechet import FrechetDistance
from flextraj_backend.training.tasks import ControlTask

ALIGNED = (ControlTask.DENSE, ControlTask.SPATIAL, ControlTask.TEMPORAL)
UNALIGNED = (ControlTask.UNALIGNED_CHARACTER, ControlTask.UNALIGNED_SHIFT)
STUDY_TASKS = ALIGNED + UNALIGNED


class Measure(StrEnum):
    """What is measured of one video; formulas: README, 'Metrics'. TrajErr is of the subjects' points."""

    TRAJ_ERR = "traj_err"
    TRAJ_ERR_CONDITIONED = "traj_err_conditioned"
    """Over the samples that the condition showed."""
    TRAJ_ERR_TRACKED = "traj_err_tracked"
    """Over the samples that were not lost."""
    PCK_1 = "pck_1"
    PCK_2 = "pck_2"
    PCK_5 = "pck_5"
    LOST = "lost"
    MASK_IOU = "mask_iou"
    DIFFERENCE = "difference"
    """To the clip itself, mean absolute, 0 to 1."""
    TRAJ_SIM = "traj_sim"
    TRAJ_SIM_MEAN_MOTION = "traj_sim_mean_motion"
    TRAJ_SIM_LOCAL = "traj_sim_local"
    SPEED = "speed"
    CONSISTENCY = "consistency"
    MOTION = "motion"
    FRECHET = "frechet"
    """Of all videos of a task together."""


class Better(StrEnum):
    """Which way a figure improves."""

    LOWER = "lower"
    HIGHER = "higher"
    NEITHER = "neither"


@dataclass(frozen=True)
class Figure:
    """A column of the table: a measure over some tasks."""

    name: str
    title: str
    measure: Measure
    tasks: tuple[ControlTask, ...]
    better: Better

    def cost(self, value: float) -> float:
        """A value as something to be low."""
        return -value if self.better is Better.HIGHER else value


TRAJ_ERR = Figure("traj_err", "TrajErr-LK", Measure.TRAJ_ERR, ALIGNED, Better.LOWER)
TRAJ_SIM = Figure("traj_sim", "TrajSIM-LK", Measure.TRAJ_SIM, UNALIGNED, Better.HIGHER)
FVD_ALIGNED = Figure("fvd_aligned", "FVD-like aligned", Measure.FRECHET, ALIGNED, Better.LOWER)
FVD_UNALIGNED = Figure("fvd_unaligned", "FVD-like unaligned", Measure.FRECHET, UNALIGNED, Better.LOWER)
MAIN_FIGURES = (
    TRAJ_ERR,
    Figure("traj_err_dense", "dense", Measure.TRAJ_ERR, ALIGNED[:1], Better.LOWER),
    Figure("traj_err_spatial", "spatial", Measure.TRAJ_ERR, ALIGNED[1:2], Better.LOWER),
    Figure("traj_err_temporal", "temporal", Measure.TRAJ_ERR, ALIGNED[2:], Better.LOWER),
    TRAJ_SIM,
    Figure("traj_sim_character", "other character", Measure.TRAJ_SIM, UNALIGNED[:1], Better.HIGHER),
    Figure("traj_sim_shift", "shift", Measure.TRAJ_SIM, UNALIGNED[1:], Better.HIGHER),
    FVD_ALIGNED,
    FVD_UNALIGNED,
    Figure("consistency", "consistency", Measure.CONSISTENCY, STUDY_TASKS, Better.NEITHER),
    Figure("motion", "motion", Measure.MOTION, STUDY_TASKS, Better.NEITHER),
)
"""The columns of the main table."""


@dataclass(frozen=True)
class SampleScore:
    """The figures of one sampled video; NaN where nothing could be measured."""

    task: ControlTask
    key: str
    values: Mapping[Measure, float]


@dataclass(frozen=True)
class SeedScores:
    """All held-out videos of one trained control, or of a baseline.

    Attributes:
        seed: of the training; None where nothing was trained.
    """

    seed: int | None
    samples: tuple[SampleScore, ...]
    frechet: Mapping[ControlTask, FrechetDistance]

    def mean(self, figure: Figure) -> float:
        """Mean over the figure's tasks of the mean over their videos; NaN without any."""
        return _mean([self.task_mean(figure.measure, task) for task in figure.tasks])

    def task_mean(self, measure: Measure, task: ControlTask) -> float:
        """Mean over a task's videos."""
        if measure is Measure.FRECHET:
            return self.frechet[task].distance if task in self.frechet else float("nan")
        return _mean(
            [sample.values.get(measure, float("nan")) for sample in self.samples if sample.task is task]
        )

    def by_clip(self, figure: Figure) -> dict[str, float]:
        """Mean over the figure's tasks of each clip that has a value."""
        values: dict[str, list[float]] = {}
        for sample in self.samples:
            value = sample.values.get(figure.measure, float("nan"))
            if sample.task in figure.tasks and np.isfinite(value):
                values.setdefault(sample.key, []).append(value)
        return {key: _mean(found) for key, found in values.items()}


@dataclass(frozen=True)
class Spread:
    """Mean over seeds, and their standard deviation; None with a single one."""

    mean: float
    deviation: float | None


def over_seeds(scores: Sequence[SeedScores], figure: Figure) -> Spread:
    """A figure's mean and spread over the seeds."""
    return spread([item.mean(figure) for item in scores])


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation of the finite values."""
    finite = [value for value in values if np.isfinite(value)]
    deviation = float(np.std(finite, ddof=1)) if len(finite) > 1 else None
    return Spread(_mean(finite), deviation)


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")
