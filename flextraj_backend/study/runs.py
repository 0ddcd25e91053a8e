"""The trainings of a study: each is made once, and one that was interrupted goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flextraj_backend.models.safetensors_header import read_header
from flextraj_backend.study.study_settings import StudySettings
from flextraj_backend.study.variants import Variant
from flextraj_backend.training.run_folder import SETTINGS_FILE, check_same, has_steps
from flextraj_backend.training.train_logs import read_log
from flextraj_backend.training.train_reports import OnStep
from flextraj_backend.training.trainer import CONTROL_NAME, train

_LAST = 50
"""Steps that the last loss is a mean of."""


@dataclass(frozen=True)
class TrainedRun:
    """A finished training.

    Attributes:
        control: its file.
        steps: done.
        samples: training samples seen.
        parameters: that were trained.
        seconds: of its steps.
        last_loss: mean of the last steps.
        validation: last validation loss of each task.
    """

    variant: Variant
    seed: int
    control: Path
    steps: int
    samples: int
    parameters: int
    seconds: float
    last_loss: float
    validation: dict[str, float]

    @property
    def folder(self) -> Path:
        return self.control.parent

    @property
    def name(self) -> str:
        return self.folder.name

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "control": f"{self.name}/{self.control.name}"}


def trained_run(
    study: StudySettings, variant: Variant, seed: int, on_step: OnStep | None = None
) -> TrainedRun:
    """Train a variant, go on with its training, or find it finished.

    Raises:
        FlexTrajError: the training cannot be made, or was begun with other settings.
    """
    settings = study.training(variant, seed)
    begun = settings.run / SETTINGS_FILE
    control = settings.run / CONTROL_NAME
    if control.exists() and begun.exists():
        check_same(settings, begun)
    else:
        settings.run.parent.mkdir(parents=True, exist_ok=True)
        control = train(replace(settings, resume=has_steps(settings.run)), on_step).control
    log = read_log(settings.run)
    steps = [line for line in log if line["event"] == "step"]
    checks = [line for line in log if line["event"] == "validation"]
    return TrainedRun(
        variant=variant,
        seed=seed,
        control=control,
        steps=steps[-1]["step"],
        samples=sum(steps[-1]["task_counts"].values()),
        parameters=sum(prod(tensor.shape) for tensor in read_header(control).tensors.values()),
        seconds=round(sum(line["seconds"] for line in steps), 1),
        last_loss=running_mean([line["loss"] for line in steps], _LAST)[-1].item(),
        validation=checks[-1]["tasks"] if checks else {},
    )


def running_mean(values: Sequence[float], window: int) -> NDArray[np.float64]:
    """Mean of each value and those before it, `window` at most, (N,); NaN where none of them is finite."""
    losses = np.asarray(values, float)
    finite = np.isfinite(losses)
    total, count = (np.cumsum([0.0, *part]) for part in (np.where(finite, losses, 0.0), finite))
    ends = np.arange(1, len(losses) + 1)
    starts = np.maximum(ends - window, 0)
    with np.errstate(invalid="ignore"):
        return (total[ends] - total[starts]) / (count[ends] - count[starts])
