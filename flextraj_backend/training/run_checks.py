"""What is refused before a run's first step, each with a sentence that says what to change."""

from __future__ import annotations

from typing import Any

import torch
from accelerate import Accelerator

from blender_addon.core.errors import ErrorCode, FlexTrajError, RequestError
from flextraj_backend.training.curriculum import Adaptive, Curriculum
from flextraj_backend.training.resume import TrainerState
from flextraj_backend.training.run_setup import ClipSplit
from flextraj_backend.training.train_settings import TrainSettings


def check_validation(settings: TrainSettings, curriculum: Curriculum, split: ClipSplit) -> tuple[str, ...]:
    """Return a sentence where no clips could be held out.

    Raises:
        RequestError: a stage ends by a validation that there is not.
    """
    notes: tuple[str, ...] = ()
    why = "nothing is validated between the steps"
    if settings.validation_clips and not split.validation:
        why = f"the dataset has no group of {settings.validation_clips} clips or fewer to hold out"
        notes = (f"There is no validation, because {why}.",)
    adaptive = [stage.name for stage in curriculum.stages if isinstance(stage.length, Adaptive)]
    if adaptive and not (split.validation and settings.validate_every):
        raise RequestError(
            f"The stage '{adaptive[0]}' ends when its validation error stops falling, but {why}: change "
            "--validate-every or --validation-clips, make more clips, or give the stage a 'steps' length."
        )
    return notes


def check_same_plan(settings: TrainSettings, started: TrainerState, now: TrainerState) -> None:
    """Refuse to go on with another curriculum or other clips than a run was started with.

    Raises:
        RequestError: they differ. A checkpoint that does not name them is taken as it is.
    """
    if started.plan and started.plan != now.plan:
        raise RequestError(
            f"The curriculum {settings.curriculum} is not what {settings.run} was started with any more: put "
            "it back, or give another folder with -o."
        )
    if started.clips and started.clips != now.clips:
        raise RequestError(
            f"The clips of {settings.data} are not those that {settings.run} was started with: put them "
            "back, or give another folder with -o."
        )


def check_same_step(accelerator: Accelerator, step: int) -> None:
    """Refuse processes that go on from different checkpoints, as on machines that share no folder.

    Raises:
        FlexTrajError: they do; all processes must ask together.
    """
    steps: Any = accelerator.gather(torch.tensor([step], device=accelerator.device))
    if len(set(steps.tolist())) > 1:
        found = ", ".join(map(str, steps.tolist()))
        raise FlexTrajError(
            f"The processes would go on from different steps ({found}): put the run's folder where all "
            "machines see it.",
            ErrorCode.WEIGHTS,
        )
