"""Whether two variants can be told apart, and whether their order is the paper's.

Every clip is its own control: the difference of two variants is taken clip by clip, each a mean over seeds
and tasks. Two variants differ where the mean difference exceeds `STANDARD_ERRORS` standard errors over the
clips and every seed of the one is better than every seed of the other. A Fréchet distance has no value of one
clip: there the standard error is that over the seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

import numpy as np

from flextraj_backend.study.figures import Figure, Measure, SeedScores, over_seeds
from flextraj_backend.study.variants import Variant

STANDARD_ERRORS = 2.0


class Verdict(StrEnum):
    """Which of two variants is better in a figure."""

    FIRST = "first"
    SECOND = "second"
    UNDECIDED = "not distinguishable"


class Agreement(StrEnum):
    """Our order beside the paper's."""

    AGREES = "agrees"
    DIFFERS = "differs"
    UNDECIDED = "not distinguishable"


@dataclass(frozen=True)
class PairOrder:
    """Two variants in one figure.

    Attributes:
        difference: second minus first, in the figure's unit.
        standard_error: of the difference; NaN where there is none.
    """

    first: Variant
    second: Variant
    difference: float
    standard_error: float
    verdict: Verdict


@dataclass(frozen=True)
class OrderCheck:
    """A pair as the paper orders it (its `first` is the paper's better one), and whether ours is so too."""

    pair: PairOrder
    agreement: Agreement


def order_of(
    figure: Figure, first: tuple[Variant, Sequence[SeedScores]], second: tuple[Variant, Sequence[SeedScores]]
) -> PairOrder:
    """Compare two variants that were measured on the same clips."""
    (name_a, scores_a), (name_b, scores_b) = first, second
    if figure.measure is Measure.FRECHET:
        difference, error = _over_seeds(figure, scores_a, scores_b)
    else:
        difference, error = _over_clips(figure, scores_a, scores_b)
    costs_a, costs_b = (
        [figure.cost(item.mean(figure)) for item in scores] for scores in (scores_a, scores_b)
    )
    verdict = Verdict.UNDECIDED
    if np.isfinite(error) and abs(difference) > STANDARD_ERRORS * error:
        if max(costs_a) < min(costs_b):
            verdict = Verdict.FIRST
        elif max(costs_b) < min(costs_a):
            verdict = Verdict.SECOND
    return PairOrder(name_a, name_b, difference, error, verdict)


def check_order(
    figure: Figure, paper: Mapping[Variant, float], ours: Mapping[Variant, Sequence[SeedScores]]
) -> tuple[OrderCheck, ...]:
    """Check every pair of measured variants that the paper orders; those that it has equal are left out."""
    known = sorted(
        (variant for variant in paper if variant in ours), key=lambda variant: figure.cost(paper[variant])
    )
    checks = []
    for better, worse in combinations(known, 2):
        if paper[better] == paper[worse]:
            continue
        pair = order_of(figure, (better, ours[better]), (worse, ours[worse]))
        agreement = {
            Verdict.FIRST: Agreement.AGREES,
            Verdict.SECOND: Agreement.DIFFERS,
            Verdict.UNDECIDED: Agreement.UNDECIDED,
        }[pair.verdict]
        checks.append(OrderCheck(pair, agreement))
    return tuple(checks)


def _over_clips(
    figure: Figure, first: Sequence[SeedScores], second: Sequence[SeedScores]
) -> tuple[float, float]:
    """Mean and standard error of second minus first over the clips that all of them have."""
    tables_a, tables_b = ([item.by_clip(figure) for item in scores] for scores in (first, second))
    keys = sorted(set.intersection(*(set(table) for table in (*tables_a, *tables_b))))
    if len(keys) < 2:
        return float("nan"), float("nan")
    means_a, means_b = (
        np.array([[table[key] for key in keys] for table in tables]).mean(axis=0)
        for tables in (tables_a, tables_b)
    )
    differences = means_b - means_a  # (clips,)
    return float(differences.mean()), float(differences.std(ddof=1) / np.sqrt(len(keys)))


def _over_seeds(
    figure: Figure, first: Sequence[SeedScores], second: Sequence[SeedScores]
) -> tuple[float, float]:
    spread_a, spread_b = over_seeds(first, figure), over_seeds(second, figure)
    difference = spread_b.mean - spread_a.mean
    if spread_a.deviation is None or spread_b.deviation is None:
        return difference, float("nan")
    error = np.sqrt(spread_a.deviation**2 / len(first) + spread_b.deviation**2 / len(second))
    return difference, float(error)
