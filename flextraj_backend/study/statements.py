"""What comes out, in words: where our order is the paper's, where not, and where nothing can be said."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from flextraj_backend.study.comparison import Agreement, OrderCheck, check_order
from flextraj_backend.study.figures import Figure, Measure, SeedScores, over_seeds
from flextraj_backend.study.paper import PAPER, paper_order
from flextraj_backend.study.variants import Variant

_LEADS = {
    Agreement.AGREES: "As in the paper",
    Agreement.DIFFERS: "Other than in the paper",
    Agreement.UNDECIDED: "Not distinguishable here",
}


def order_checks(scores: Mapping[Variant, Sequence[SeedScores]]) -> dict[Figure, tuple[OrderCheck, ...]]:
    """Every figure of the paper's table, pair by pair."""
    return {figure: check_order(figure, values, scores) for figure, values in PAPER.items()}


def order_text(scores: Mapping[Variant, Sequence[SeedScores]]) -> str:
    """A paragraph of Markdown for each figure of the paper's table; empty with fewer than two variants."""
    parts = []
    for figure, checks in order_checks(scores).items():
        if checks:
            parts.append(_paragraph(figure, checks, scores))
    return "\n\n".join(parts)


def _paragraph(
    figure: Figure, checks: Sequence[OrderCheck], scores: Mapping[Variant, Sequence[SeedScores]]
) -> str:
    measured = [variant for variant in paper_order(figure) if variant in scores]
    ours = sorted(measured, key=lambda variant: figure.cost(over_seeds(scores[variant], figure).mean))
    count = sum(check.agreement is Agreement.AGREES for check in checks)
    lines = [
        f"**{figure.title}.** Paper, best first: {_ordered(measured)}. Here: {_ordered(ours)}. "
        f"Of {len(checks)} pairs {count} {'is' if count == 1 else 'are'} ordered as in the paper."
    ]
    for agreement, lead in _LEADS.items():
        pairs = [_pair(figure, check, scores) for check in checks if check.agreement is agreement]
        if pairs:
            lines.append(f"- {lead}: {'; '.join(pairs)}.")
    if figure.measure is Measure.FRECHET:
        lines.append("- A Fréchet distance has no value of a single clip: only the spread over seeds counts.")
    return "\n".join(lines)


def _pair(figure: Figure, check: OrderCheck, scores: Mapping[Variant, Sequence[SeedScores]]) -> str:
    pair = check.pair
    first, second = (over_seeds(scores[name], figure).mean for name in (pair.first, pair.second))
    error = f" ± {pair.standard_error:.2g}" if math.isfinite(pair.standard_error) else ""
    relation = {
        Agreement.AGREES: "better than",
        Agreement.DIFFERS: "worse than",
        Agreement.UNDECIDED: "and",
    }[check.agreement]
    return (
        f"{pair.first} ({first:.3g}) {relation} {pair.second} ({second:.3g}; "
        f"difference {pair.difference:+.2g}{error})"
    )


def _ordered(variants: Sequence[Variant]) -> str:
    return ", ".join(variants)
