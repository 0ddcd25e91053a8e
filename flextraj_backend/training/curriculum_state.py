"""Where a run stands in its curriculum: a value that goes into checkpoint and log."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from flextraj_backend.synthesis.record_json import from_json, to_json
from flextraj_backend.training.curriculum import Adaptive, Curriculum, CurriculumError, Stage


class StageEndReason(StrEnum):
    """Why a stage ended."""

    STEPS = "steps"
    """It took the steps that it was given."""
    CONVERGED = "converged"
    """Its validation error stopped falling."""


@dataclass(frozen=True)
class StageEnd:
    """A stage that is over.

    Attributes:
        first_step, end_step: steps of the run that it took, the end not included.
        best_error: smallest validation error, None where there was none.
    """

    name: str
    first_step: int
    end_step: int
    reason: StageEndReason
    best_error: float | None


@dataclass(frozen=True)
class CurriculumState:
    """Progress through a curriculum.

    Attributes:
        stage: index of the stage; the number of stages once the run is over.
        stage_start: step of the run at which it began.
        best_error: smallest validation error in it, None before the first.
        stale_validations: validations since then without enough improvement.
        history: the stages that are over.
    """

    stage: int = 0
    stage_start: int = 0
    best_error: float | None = None
    stale_validations: int = 0
    history: tuple[StageEnd, ...] = ()

    def finished(self, curriculum: Curriculum) -> bool:
        return self.stage >= len(curriculum.stages)

    def current(self, curriculum: Curriculum) -> Stage:
        """The stage that is trained. Raises CurriculumError when the run is over."""
        if self.finished(curriculum):
            raise CurriculumError(
                f"The run is through all stages of the curriculum '{curriculum.name}': start another run."
            )
        return curriculum.stages[self.stage]

    def learning_rate(self, curriculum: Curriculum, step: int) -> float:
        """Learning rate of a step (from 0) of the run."""
        return curriculum.learning_rate(self.stage, step - self.stage_start)

    def to_json(self) -> dict[str, Any]:
        """The state as a JSON object."""
        return to_json(self)

    @staticmethod
    def from_json(value: Any) -> CurriculumState:
        """Read a state back. Raises CurriculumError where the object is of another form."""
        try:
            return from_json(CurriculumState, value)
        except ValueError as error:
            raise CurriculumError(
                f"The state of the curriculum cannot be read ({error}): resume from another checkpoint."
            ) from error


def advance(
    curriculum: Curriculum, state: CurriculumState, step: int, validation_error: float | None = None
) -> CurriculumState:
    """The state after a step.

    Args:
        curriculum: with lengths in steps (`Curriculum.scaled_to`).
        step: steps of the run that are done.
        validation_error: of the current stage's tasks, None where this step was not validated. One that is
            not a finite number counts as no improvement.
    """
    if state.finished(curriculum):
        return state
    length = state.current(curriculum).length
    if validation_error is not None:
        state = _with_validation(state, validation_error, length)
    done = step - state.stage_start
    if done >= state.current(curriculum).max_steps:
        return _next_stage(curriculum, state, step, StageEndReason.STEPS)
    # An old streak of validations must not end the stage between two of them.
    if (
        isinstance(length, Adaptive)
        and validation_error is not None
        and done >= length.min_steps
        and state.stale_validations >= length.patience
    ):
        return _next_stage(curriculum, state, step, StageEndReason.CONVERGED)
    return state


def _with_validation(state: CurriculumState, error: float, length: object) -> CurriculumState:
    best = state.best_error
    margin = length.min_improvement if isinstance(length, Adaptive) else 0.0
    if math.isfinite(error) and (best is None or error < best - margin * abs(best)):
        return replace(state, best_error=error, stale_validations=0)
    return replace(state, stale_validations=state.stale_validations + 1)


def _next_stage(
    curriculum: Curriculum, state: CurriculumState, step: int, reason: StageEndReason
) -> CurriculumState:
    name = curriculum.stages[state.stage].name
    ended = StageEnd(name, state.stage_start, step, reason, state.best_error)
    return CurriculumState(stage=state.stage + 1, stage_start=step, history=(*state.history, ended))
