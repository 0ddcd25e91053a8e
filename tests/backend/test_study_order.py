"""What the study says about hand-made figures: means, spreads, order beside the paper's."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from flextraj_backend.evaluation.frechet import FrechetDistance
from flextraj_backend.study.comparison import Agreement, Verdict, check_order, order_of
from flextraj_backend.study.figures import (
    FVD_ALIGNED,
    STUDY_TASKS,
    TRAJ_ERR,
    TRAJ_SIM,
    Measure,
    SampleScore,
    SeedScores,
    over_seeds,
)
from flextraj_backend.study.paper import PAPER, paper_order
from flextraj_backend.study.statements import order_text
from flextraj_backend.study.variants import Variant

NOISE = (0.004, -0.003, 0.002, -0.004, 0.001, 0.0)
"""How clips differ from each other."""


def scores(seed: int, error: float, similarity: float = 0.5, distance: float = 1.0) -> SeedScores:
    """A seed whose clips have about these figures in every task."""
    samples = tuple(
        SampleScore(
            task,
            f"clip{number}",
            {Measure.TRAJ_SIM: similarity - noise}
            if task.is_unaligned
            else {Measure.TRAJ_ERR: error + noise},
        )
        for task in STUDY_TASKS
        for number, noise in enumerate(NOISE)
    )
    frechet = {task: FrechetDistance(distance, 6, 6, 80, True) for task in STUDY_TASKS}
    return SeedScores(seed, samples, frechet)


def seeds(*errors: float) -> tuple[SeedScores, ...]:
    return tuple(scores(seed, error) for seed, error in enumerate(errors))


def verdict(first: Sequence[SeedScores], second: Sequence[SeedScores]) -> Verdict:
    return order_of(TRAJ_ERR, (Variant.FULL, first), (Variant.CONTROLNET, second)).verdict


def test_the_table_has_mean_and_spread_over_seeds() -> None:
    found = over_seeds(seeds(0.02, 0.04), TRAJ_ERR)
    assert found.mean == pytest.approx(0.03) and found.deviation == pytest.approx(math.sqrt(2) * 0.01)
    assert over_seeds(seeds(0.02), TRAJ_ERR).deviation is None


def test_what_could_not_be_measured_does_not_spoil_a_mean() -> None:
    known = scores(0, 0.03)
    lost = SampleScore(STUDY_TASKS[0], "clip9", {Measure.TRAJ_ERR: float("nan")})
    both = SeedScores(0, (*known.samples, lost), known.frechet)
    assert both.mean(TRAJ_ERR) == pytest.approx(known.mean(TRAJ_ERR))
    assert "clip9" not in both.by_clip(TRAJ_ERR)
    assert math.isnan(SeedScores(0, (), {}).mean(TRAJ_ERR))


def test_a_clear_difference_is_told_from_one_within_the_spread() -> None:
    assert verdict(seeds(0.02, 0.022), seeds(0.05, 0.06)) is Verdict.FIRST
    assert verdict(seeds(0.05, 0.06), seeds(0.02, 0.022)) is Verdict.SECOND
    # The seeds overlap: which one is better depends on the seed.
    assert verdict(seeds(0.02, 0.06), seeds(0.05, 0.07)) is Verdict.UNDECIDED


def test_a_difference_that_the_clips_do_not_share_is_not_one() -> None:
    calm = scores(0, 0.03)
    one_clip_off = tuple(
        SampleScore(
            item.task,
            item.key,
            {name: value + (0.2 if item.key == "clip0" else 0.0) for name, value in item.values.items()},
        )
        for item in calm.samples
    )
    other = SeedScores(0, one_clip_off, calm.frechet)
    assert verdict((calm,), (other,)) is Verdict.UNDECIDED


def test_a_frechet_distance_is_compared_over_seeds_alone() -> None:
    near, far = ([scores(seed, 0.1, distance=base + 0.1 * seed) for seed in (0, 1)] for base in (1.0, 3.0))
    pair = order_of(FVD_ALIGNED, (Variant.FULL, near), (Variant.CONTROLNET, far))
    assert pair.verdict is Verdict.FIRST and pair.difference == pytest.approx(2.0)
    single = order_of(FVD_ALIGNED, (Variant.FULL, near[:1]), (Variant.CONTROLNET, far[:1]))
    assert single.verdict is Verdict.UNDECIDED


def test_higher_is_better_where_it_is() -> None:
    ours = {
        Variant.FULL: [scores(seed, 0.1, similarity=0.9) for seed in (0, 1)],
        Variant.CONTROLNET: [scores(seed, 0.1, similarity=0.5) for seed in (0, 1)],
    }
    (check,) = check_order(TRAJ_SIM, PAPER[TRAJ_SIM], ours)
    assert check.pair.first is Variant.FULL and check.agreement is Agreement.AGREES
    assert paper_order(TRAJ_SIM)[0] is Variant.FULL and paper_order(TRAJ_ERR)[-1] is Variant.CONTROLNET


def test_pairs_that_the_paper_has_equal_are_not_judged() -> None:
    ours = {Variant.RANDOM_MIX: seeds(0.1, 0.1), Variant.SPARSE_TO_DENSE: seeds(0.2, 0.2)}
    assert check_order(TRAJ_ERR, PAPER[TRAJ_ERR], ours) == ()


def test_the_text_says_where_the_order_is_the_papers_and_where_not() -> None:
    text = order_text(
        {
            Variant.FULL: seeds(0.02, 0.021),
            Variant.NO_TRAJ_ID: seeds(0.0201, 0.0212),
            Variant.CONTROLNET: seeds(0.08, 0.09),
            Variant.RANDOM_MIX: seeds(0.01, 0.011),
            Variant.NO_COLOR: seeds(0.05, 0.05),
        }
    )
    paragraph = text.split("\n\n")[0]
    agrees, differs, undecided = paragraph.split("\n")[1:4]
    assert "Paper, best first: full, no_traj_id, random_mix, controlnet" in paragraph
    assert "Here: random_mix, full, no_traj_id, controlnet" in paragraph
    assert agrees.startswith("- As in the paper: full (0.0205) better than controlnet (0.085;")
    assert differs.startswith("- Other than in the paper: full (0.0205) worse than random_mix (0.0105")
    assert undecided.startswith("- Not distinguishable here: full (0.0205) and no_traj_id (0.0207")
    # The paper's table has no figures without colour.
    assert "no_color" not in text
