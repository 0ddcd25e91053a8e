"""What a training run tells its caller while it goes on, and in the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class StepReport:
    """A step that was done.

    Attributes:
        step: from 1.
        total: steps of the run, at most.
        loss: mean over the step's samples and processes.
        stage: name of the curriculum's.
        seconds: the step took.
    """

    step: int
    total: int
    loss: float
    stage: str
    seconds: float


OnStep = Callable[[StepReport], None]
OnNote = Callable[[str], None]


@dataclass(frozen=True)
class TrainResult:
    """A run that is over.

    Attributes:
        run: its folder.
        control: the trained control, in the authors' format.
        steps: of the whole run, earlier sittings included.
        losses: of the steps of this call.
        validation: the last validation loss of each task.
    """

    run: Path
    control: Path
    steps: int
    losses: tuple[float, ...]
    validation: dict[str, float]
