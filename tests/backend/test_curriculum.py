"""The curriculum: what a run would train, for how long and in which order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flextraj_backend.training.curriculum import (
    BUNDLED,
    Adaptive,
    Curriculum,
    CurriculumError,
    FixedSteps,
    Share,
    Stage,
    load_curriculum,
)
from flextraj_backend.training.curriculum_state import CurriculumState, StageEndReason, advance
from flextraj_backend.training.tasks import ControlTask, only

DENSE = only(ControlTask.DENSE)


def total_mixture(curriculum: Curriculum) -> dict[ControlTask, float]:
    """Share of each task in the whole run."""
    steps = curriculum.max_steps
    return {
        task: sum(stage.max_steps * stage.mixture.probability(task) for stage in curriculum.stages) / steps
        for task in ControlTask
    }


@pytest.mark.parametrize("name", BUNDLED)
@given(total=st.integers(4, 100_000))
@settings(max_examples=25, deadline=None)
def test_every_bundled_curriculum_takes_exactly_the_steps_of_the_run(name: str, total: int) -> None:
    curriculum = load_curriculum(name).scaled_to(total)
    assert curriculum.max_steps == total
    assert all(stage.max_steps >= 1 for stage in curriculum.stages)


def test_annealing_goes_from_dense_and_aligned_to_sparse_and_unaligned() -> None:
    first, second, third, fourth = load_curriculum("annealing").stages
    assert first.mixture.probability(ControlTask.DENSE) == 1 and first.mixture.color_drop == 0
    assert second.mixture.probability(ControlTask.DENSE) == 1 and second.mixture.color_drop > 0
    for task in (ControlTask.SPATIAL, ControlTask.TEMPORAL, ControlTask.DENSE):
        assert third.mixture.probability(task) > 0
    assert not any(third.mixture.probability(task) for task in ControlTask if task.is_unaligned)
    assert all(fourth.mixture.probability(task) > 0 for task in ControlTask)
    assert fourth.learning_rate < third.learning_rate == second.learning_rate == first.learning_rate


def colored_steps(curriculum: Curriculum, task: ControlTask) -> float:
    """In how many steps a sample of a task with its colour cue is expected."""
    return sum(
        stage.max_steps * stage.mixture.probability(task) * (1 - stage.mixture.drop_probability(task))
        for stage in curriculum.stages
    )


def test_the_reverse_order_has_the_same_stages_and_the_random_mix_the_same_tasks() -> None:
    annealing, reverse, mix = (
        load_curriculum(name).scaled_to(10_000) for name in ("annealing", "sparse_to_dense", "random_mix")
    )
    assert [s.mixture for s in reverse.stages] == [s.mixture for s in reversed(annealing.stages)]
    assert [s.max_steps for s in reverse.stages] == [s.max_steps for s in reversed(annealing.stages)]
    assert total_mixture(mix) == pytest.approx(total_mixture(annealing), abs=0.002)
    first, second = mix.stages
    assert first.mixture == second.mixture
    assert (second.learning_rate, second.max_steps) == (annealing.stages[-1].learning_rate, 3000)
    for task in ControlTask:
        assert colored_steps(mix, task) == pytest.approx(colored_steps(annealing, task), rel=0.005), task


def test_learning_rates_keep_their_proportions_when_another_peak_is_asked_for() -> None:
    curriculum = load_curriculum("annealing").with_learning_rate(1e-3)
    assert [stage.learning_rate for stage in curriculum.stages] == pytest.approx([1e-3, 1e-3, 1e-3, 5e-4])


def test_the_learning_rate_rises_from_the_stage_before_and_then_stays() -> None:
    curriculum = Curriculum(
        "c", (Stage("a", FixedSteps(100), 1.0, DENSE, 0.1), Stage("b", FixedSteps(100), 0.5, DENSE, 0.1))
    )
    rates = [curriculum.learning_rate(0, step) for step in range(100)]
    assert 0 < rates[0] < 0.2 and rates == sorted(rates) and set(rates[10:]) == {1.0}
    rates = [curriculum.learning_rate(1, step) for step in range(100)]
    assert 0.9 < rates[0] < 1.0 and set(rates[10:]) == {0.5}
    state = CurriculumState(stage=1, stage_start=100)
    assert state.learning_rate(curriculum, 100) == curriculum.learning_rate(1, 0)


def test_fixed_stages_follow_each_other_and_the_run_ends() -> None:
    curriculum = load_curriculum("annealing").scaled_to(50)
    state, seen = CurriculumState(), []
    for step in range(1, 51):
        seen.append(state.current(curriculum).name)
        state = advance(curriculum, state, step)
    assert [seen.count(stage.name) for stage in curriculum.stages] == [
        stage.max_steps for stage in curriculum.stages
    ]
    assert state.finished(curriculum) and advance(curriculum, state, 51, 0.1) == state
    assert {end.reason for end in state.history} == {StageEndReason.STEPS}
    with pytest.raises(CurriculumError, match="annealing"):
        state.current(curriculum)


def adaptive(min_steps: int = 10, max_steps: int = 100, patience: int = 2) -> Curriculum:
    rule = Adaptive(min_steps, max_steps, patience, 0.1)
    return Curriculum("c", (Stage("a", rule, 1.0, DENSE), Stage("b", FixedSteps(5), 1.0, DENSE)))


def run(curriculum: Curriculum, errors: dict[int, float], steps: int) -> CurriculumState:
    state = CurriculumState()
    for step in range(1, steps + 1):
        state = advance(curriculum, state, step, errors.get(step))
    return state


def test_an_adaptive_stage_ends_when_its_error_stops_falling() -> None:
    errors = {10: 1.0, 20: 0.5, 30: 0.49, 40: 0.48}  # from 0.5 on it falls by less than a tenth
    assert run(adaptive(), errors, 39).stage == 0
    state = run(adaptive(), errors, 40)
    assert state.stage == 1 and state.stage_start == 40 and state.best_error is None
    assert state.history[0].reason is StageEndReason.CONVERGED and state.history[0].best_error == 0.5


def test_an_adaptive_stage_goes_on_while_its_error_falls_but_not_forever() -> None:
    falling = {step: 0.8**step for step in range(10, 101, 10)}
    assert run(adaptive(), falling, 99).stage == 0
    state = run(adaptive(), falling, 100)
    assert state.stage == 1 and state.history[0].reason is StageEndReason.STEPS


def test_an_adaptive_stage_is_not_left_before_its_shortest_length() -> None:
    flat = {step: 1.0 for step in range(2, 101, 2)}
    assert run(adaptive(min_steps=30), flat, 29).stage == 0
    assert run(adaptive(min_steps=30), flat, 30).stage == 1


def test_an_error_that_is_no_number_is_no_improvement() -> None:
    assert run(adaptive(), {10: float("nan"), 20: float("nan")}, 20).stage == 1


def test_adaptive_lengths_shrink_with_the_run() -> None:
    curriculum = adaptive().scaled_to(21)
    assert curriculum.max_steps == 21
    length = curriculum.stages[0].length
    assert isinstance(length, Adaptive) and length.min_steps == 2 and length.patience == 2


@given(steps=st.lists(st.one_of(st.none(), st.floats(0, 10)), max_size=120), cut=st.integers(0, 120))
@settings(max_examples=60, deadline=None)
def test_a_state_read_back_from_a_checkpoint_goes_on_exactly(steps: list[float | None], cut: int) -> None:
    curriculum = adaptive()
    states = [CurriculumState()]
    for step, error in enumerate(steps, start=1):
        states.append(advance(curriculum, states[-1], step, error))
    cut = min(cut, len(steps))
    state = CurriculumState.from_json(json.loads(json.dumps(states[cut].to_json())))
    assert state == states[cut]
    for step, error in enumerate(steps[cut:], start=cut + 1):
        state = advance(curriculum, state, step, error)
    assert state == states[-1]


def test_a_damaged_state_is_refused() -> None:
    with pytest.raises(CurriculumError, match="stage"):
        CurriculumState.from_json({"stage": "one"})


GOOD = """
[[stages]]
name = "a"
share = 1.0
learning_rate = 1e-4
[stages.mixture]
tasks = { dense = 0.5, spatial = 0.5 }
"""


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name = "a"', "", r"lacks 'stages\[1\].name'"),
        ("share = 1.0", "", "exactly one of 'share', 'steps' and 'adaptive'"),
        ("share = 1.0", "share = 1.0\nsteps = 5", "exactly one of 'share', 'steps' and 'adaptive'"),
        ("share = 1.0", "share = 0.4", "sum to 0.4"),
        ("share = 1.0", "steps = 0", "steps of stage 'a' is 0"),
        ("share = 1.0", "steps = true", "steps of stage 'a' is True"),
        ("share = 1.0", "adaptive = { min_steps = 1 }", "lacks 'adaptive.max_steps of stage 'a''"),
        (
            "share = 1.0",
            "adaptive = { min_steps = 9, max_steps = 5, patience = 1, min_improvement = 0.1 }",
            "adaptive.min_steps",
        ),
        ("learning_rate = 1e-4", "", "lacks 'learning_rate of stage 'a''"),
        ("learning_rate = 1e-4", 'learning_rate = "fast"', "learning_rate of stage 'a' is 'fast'"),
        ("learning_rate = 1e-4", "learning_rate = nan", "learning_rate of stage 'a' is nan"),
        ("learning_rate = 1e-4", "learning_rate = 1e-4\nlr = 2", "key 'lr'"),
        ("spatial = 0.5", "spatial = 0.4", "'tasks' sum to 0.9"),
        ("spatial = 0.5", "sparse = 0.5", "key 'sparse'"),
        ("tasks = {", "colour_drop = 0.1\ntasks = {", "key 'colour_drop'"),
        ("tasks = {", "color_drop = 2\ntasks = {", "color_drop"),
        ("tasks = {", 'coverage = "dots"\ntasks = {', "give one of surface, stamps, mixed"),
        ("tasks = {", "scale_range = [0.3]\ntasks = {", "scale_range in the mixture of stage 'a'"),
        ("tasks = {", "min_points = 1.5\ntasks = {", "min_points in the mixture of stage 'a'"),
        ("tasks = { dense = 0.5, spatial = 0.5 }", "", "lacks 'mixture.tasks'"),
        ("[[stages]]", "[mixture]\nregions = 1\n[[stages]]", "key 'regions'"),
        ("[[stages]]", "stage = 1\n[[stages]]", "key 'stage'"),
        ("tasks = {", "tasks = ", "cannot be read"),
    ],
)
def test_a_mistake_in_a_curriculum_is_one_sentence_that_names_the_key(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    assert load_curriculum(path).stages[0].length == Share(1.0)
    assert old in GOOD
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(CurriculumError, match=words) as caught:
        load_curriculum(path)
    assert caught.value.message.endswith(".") and "\n" not in caught.value.message


def test_the_curriculum_for_small_models_is_the_papers_with_a_longer_start() -> None:
    small, full = (load_curriculum(name).scaled_to(1000).stages for name in ("annealing_small", "annealing"))
    assert [stage.name for stage in small] == [stage.name for stage in full]
    assert [stage.mixture.tasks for stage in small] == [stage.mixture.tasks for stage in full]
    assert small[0].max_steps == max(stage.max_steps for stage in small)
    assert small[0].max_steps > full[0].max_steps


def test_a_curriculum_that_is_not_there_is_answered_with_those_that_are() -> None:
    with pytest.raises(CurriculumError, match="annealing, annealing_small, random_mix, sparse_to_dense"):
        load_curriculum("anealing")


def test_a_run_shorter_than_its_stages_is_refused() -> None:
    with pytest.raises(CurriculumError, match="4 stages"):
        load_curriculum("annealing").scaled_to(3)


def test_stages_of_shares_and_of_steps_cannot_be_mixed() -> None:
    with pytest.raises(CurriculumError, match="share"):
        Curriculum("c", (Stage("a", Share(0.5), 1.0, DENSE), Stage("b", FixedSteps(5), 1.0, DENSE)))
    with pytest.raises(CurriculumError, match="two stages 'a'"):
        Curriculum("c", (Stage("a", FixedSteps(5), 1.0, DENSE), Stage("a", FixedSteps(5), 1.0, DENSE)))
