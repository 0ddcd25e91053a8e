"""The curriculum: which tasks are trained when, for how long and how fast (paper, section 3.3).

A curriculum is a TOML file; `annealing`, `annealing_small`, `random_mix` and `sparse_to_dense` are bundled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.training.tasks import TaskMixture

BUNDLED = ("annealing", "annealing_small", "random_mix", "sparse_to_dense")


class CurriculumError(FlexTrajError):
    """A curriculum that cannot be run; the sentence names the key."""

    def __init__(self, message: str, code: ErrorCode = ErrorCode.REQUEST) -> None:
        super().__init__(message, code)


@dataclass(frozen=True)
class Share:
    """The stage takes this share of the whole run's steps."""

    share: float


@dataclass(frozen=True)
class FixedSteps:
    """The stage takes this many steps."""

    steps: int


@dataclass(frozen=True)
class Adaptive:
    """The stage ends when its validation error stops falling.

    Attributes:
        min_steps, max_steps: it takes at least and at most this many steps.
        patience: validations without improvement after which it ends.
        min_improvement: fraction of the best error so far by which an improvement must go below it.
    """

    min_steps: int
    max_steps: int
    patience: int
    min_improvement: float


Length = Share | FixedSteps | Adaptive


@dataclass(frozen=True)
class Stage:
    """A part of the training.

    Attributes:
        name: unique in its curriculum.
        length: when it ends.
        learning_rate: after the warm-up, constant.
        warmup: share of the stage, of its longest length where that is open, in which the learning rate rises
            linearly from the stage before.
        mixture: what is trained.
    """

    name: str
    length: Length
    learning_rate: float
    mixture: TaskMixture
    warmup: float = 0.0

    @property
    def max_steps(self) -> int:
        """Longest length in steps. Raises CurriculumError where it is a share that was not scaled yet."""
        if isinstance(self.length, FixedSteps):
            return self.length.steps
        if isinstance(self.length, Adaptive):
            return self.length.max_steps
        raise CurriculumError(
            f"The length of stage '{self.name}' is a share of the run: choose the number of steps of the run."
        )


@dataclass(frozen=True)
class Curriculum:
    """Stages in the order in which they are trained.

    Raises:
        CurriculumError: there is no stage, a name comes twice, or lengths do not go together.
    """

    name: str
    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        if not self.stages:
            raise CurriculumError(f"The curriculum '{self.name}' has no 'stages': give at least one.")
        names = [stage.name for stage in self.stages]
        for name in names:
            if names.count(name) > 1:
                raise CurriculumError(f"The curriculum names two stages '{name}': rename one of them.")
        shares = [stage.length.share for stage in self.stages if isinstance(stage.length, Share)]
        if shares and len(shares) != len(self.stages):
            raise CurriculumError(
                "Some stages of the curriculum have a 'share' and some have steps: give a 'share' to all of "
                "them or to none."
            )
        if shares and abs(math.fsum(shares) - 1) > 1e-6:
            raise CurriculumError(
                f"The 'share's of the curriculum's stages sum to {math.fsum(shares):g}: make them sum to 1."
            )

    @property
    def max_steps(self) -> int:
        """The longest that the whole run can take, in steps."""
        return sum(stage.max_steps for stage in self.stages)

    def scaled_to(self, total_steps: int) -> Curriculum:
        """The curriculum in proportion to a run of `total_steps`, which its longest lengths sum to exactly.

        Raises:
            CurriculumError: there are fewer steps than stages.
        """
        if total_steps < len(self.stages):
            raise CurriculumError(
                f"The curriculum '{self.name}' has {len(self.stages)} stages, but the run has {total_steps} "
                "steps: give the run more steps."
            )
        weights = [
            stage.length.share if isinstance(stage.length, Share) else float(stage.max_steps)
            for stage in self.stages
        ]
        lengths = _apportion(weights, total_steps)
        stages = (
            replace(stage, length=_scaled(stage.length, steps))
            for stage, steps in zip(self.stages, lengths, strict=True)
        )
        return replace(self, stages=tuple(stages))

    def with_learning_rate(self, peak: float) -> Curriculum:
        """The curriculum with all learning rates in proportion, the largest one being `peak`."""
        factor = peak / max(stage.learning_rate for stage in self.stages)
        stages = (replace(stage, learning_rate=stage.learning_rate * factor) for stage in self.stages)
        return replace(self, stages=tuple(stages))

    def learning_rate(self, stage_index: int, step_in_stage: int) -> float:
        """Learning rate of a step (from 0) of a stage: linear from the stage before, then constant."""
        stage = self.stages[stage_index]
        before = self.stages[stage_index - 1].learning_rate if stage_index else 0.0
        warmup_steps = round(stage.warmup * stage.max_steps)
        rise = min(1.0, (step_in_stage + 1) / (warmup_steps + 1))
        return before + (stage.learning_rate - before) * rise


def load_curriculum(name: str | Path) -> Curriculum:
    """Read a curriculum from its file, or a bundled one by its name.

    Raises:
        CurriculumError: there is no such file, it is no TOML, or a key of it is missing, unknown or out of
            range; the sentence names the key.
    """
    # The reader needs the classes of this module.
    from flextraj_backend.training.curriculum_file import read_curriculum

    path = Path(name)
    if str(name) in BUNDLED:
        path = Path(__file__).parent / "curricula" / f"{name}.toml"
    elif not path.is_file():
        raise CurriculumError(
            f"There is no curriculum '{name}': give a TOML file, or one of {', '.join(BUNDLED)}."
        )
    return read_curriculum(path)


def _apportion(weights: list[float], total: int) -> list[int]:
    """Whole numbers of at least 1 in proportion to the weights, that sum to `total`."""
    spare = total - len(weights)
    exact = [spare * weight / math.fsum(weights) for weight in weights]
    whole = [math.floor(value) for value in exact]
    # Largest remainders first; of equal ones the earlier stage.
    order = sorted(range(len(weights)), key=lambda index: (whole[index] - exact[index], index))
    for index in order[: spare - sum(whole)]:
        whole[index] += 1
    return [1 + value for value in whole]


def _scaled(length: Length, steps: int) -> FixedSteps | Adaptive:
    if isinstance(length, Adaptive):
        shortest = min(steps, max(1, round(length.min_steps * steps / length.max_steps)))
        return replace(length, min_steps=shortest, max_steps=steps)
    return FixedSteps(steps)
