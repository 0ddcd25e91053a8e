"""The validation loss: the same clips, choices, noise and noise levels each time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from flextraj_backend.training.batch_loss import LEVELS, BatchLoss
from flextraj_backend.training.batches import PhotoRule
from flextraj_backend.training.clip_source import ClipSource, PlannedSample, sample_generator
from flextraj_backend.training.run_setup import TrainingData
from flextraj_backend.training.tasks import ControlTask, TaskMixture

_STREAM = 1 << 60
"""Stands for the step in the seeds, so that no training step draws the same."""


@dataclass(frozen=True)
class ValidationLoss:
    """Mean loss of each task on the held-out clips."""

    tasks: dict[ControlTask, float]

    def of_mixture(self, mixture: TaskMixture) -> float:
        """What a stage shows, by its probabilities."""
        return sum(mixture.probability(task) * loss for task, loss in self.tasks.items())


class Validation:
    """Computes the validation loss.

    Args:
        source: of fixed choices (one variant).
        batch: samples of a forward.
    """

    def __init__(
        self, data: TrainingData, source: ClipSource, loss: BatchLoss, batch: int, seed: int
    ) -> None:
        self._data = data
        self._source = source
        self._loss = loss
        self._batch = batch
        self._seed = seed

    @torch.no_grad()
    def __call__(self, transformer: Any, device: torch.device, mixture: TaskMixture) -> ValidationLoss:
        """The loss of each task, whose samples are otherwise like those of a stage.

        In a run of several processes each computes all of it.
        """
        keys = self._data.split.validation
        items = [(task, key) for task in ControlTask for key in keys]
        levels = _spread_levels(len(keys))
        losses: dict[ControlTask, list[float]] = {task: [] for task in ControlTask}
        was_training = transformer.training
        transformer.eval()
        try:
            for start in range(0, len(items), self._batch):
                group = items[start : start + self._batch]
                samples = [
                    self._source.fetch(PlannedSample(key, 0), replace(mixture, tasks=((task, 1.0),)))
                    for task, key in group
                ]
                places = range(start, start + len(group))
                # The same noise for every task: their losses differ by the control alone.
                generators = [sample_generator(self._seed, _STREAM, place % len(keys)) for place in places]
                fixed = torch.tensor([levels[place % len(keys)] for place in places])
                batch = self._data.builder.build(
                    samples, generators, PhotoRule(noise=False, shown=True), lambda _, fixed=fixed: fixed
                )
                found = self._loss(transformer, batch.to(device)).tolist()
                for (task, _), loss in zip(group, found, strict=True):
                    losses[task].append(loss)
        finally:
            transformer.train(was_training)
        return ValidationLoss({task: float(np.mean(values)) for task, values in losses.items()})


def _spread_levels(count: int) -> list[int]:
    """One noise level of each clip, evenly spread and in a mixed order."""
    levels = [int((place + 0.5) / count * LEVELS) for place in range(count)]
    return np.random.default_rng(0).permutation(levels).tolist()
