"""The study's tables: printed, and as Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from flextraj_backend.evaluation.video_features import FEATURE_NAME
from flextraj_backend.study.conduct import StudyResult
from flextraj_backend.study.figures import (
    MAIN_FIGURES,
    STUDY_TASKS,
    Better,
    Measure,
    Spread,
    over_seeds,
    spread,
)
from flextraj_backend.study.paper import PAPER, paper_order
from flextraj_backend.training.tasks import ControlTask

_ARROWS = {Better.LOWER: " ↓", Better.HIGHER: " ↑", Better.NEITHER: ""}
_DETAILS = (
    Measure.TRAJ_ERR,
    Measure.TRAJ_ERR_CONDITIONED,
    Measure.TRAJ_ERR_TRACKED,
    Measure.PCK_1,
    Measure.PCK_2,
    Measure.PCK_5,
    Measure.LOST,
    Measure.MASK_IOU,
    Measure.DIFFERENCE,
    Measure.TRAJ_SIM,
    Measure.TRAJ_SIM_MEAN_MOTION,
    Measure.TRAJ_SIM_LOCAL,
    Measure.SPEED,
    Measure.FRECHET,
    Measure.CONSISTENCY,
    Measure.MOTION,
)
_NONE = "-"


@dataclass(frozen=True)
class TextTable:
    """Headings and rows of text; the first column is the row's name."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """The table under its title."""
        lines = [f"**{self.title}**", "", _line(self.columns), _line(("---",) * len(self.columns))]
        return "\n".join([*lines, *map(_line, self.rows)])

    def rich(self) -> Table:
        table = Table(title=self.title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        for number, name in enumerate(self.columns):
            table.add_column(name, justify="right" if number else "left", no_wrap=number == 0)
        for row in self.rows:
            # The spread stands below its mean, so that the columns fit a terminal.
            table.add_row(*(cell.replace(" ± ", "\n±") for cell in row))
        return table


def main_table(result: StudyResult) -> TextTable:
    """Mean ± spread over the seeds of every variant and baseline."""
    rows = []
    for row, scores in result.scores.items():
        values = [_text(over_seeds(scores, figure)) for figure in MAIN_FIGURES]
        rows.append((row.heading, *values))
    seeds = len(result.settings.seeds)
    note = f"mean ± standard deviation over {seeds} seeds" if seeds > 1 else "one seed, so no spread"
    return TextTable(
        f"Held-out clips, {note}",
        ("", *(figure.title + _ARROWS[figure.better] for figure in MAIN_FIGURES)),
        tuple(rows),
    )


def paper_table(result: StudyResult) -> TextTable:
    """Our order beside the paper's order and figures, in columns of their own."""
    variants = [variant for variant in result.variants if any(variant in PAPER[figure] for figure in PAPER)]
    columns = [""]
    for figure in PAPER:
        columns += [f"{figure.title}: our rank", "paper's rank", "paper's figure*"]
    rows = []
    for variant in variants:
        cells = [variant.heading]
        for figure, values in PAPER.items():
            measured = [item for item in paper_order(figure) if item in result.variants]
            ours = sorted(
                measured, key=lambda item: figure.cost(over_seeds(result.variants[item], figure).mean)
            )
            theirs = [values[item] for item in measured]
            better = sum(figure.cost(value) < figure.cost(values[variant]) for value in theirs)
            cells += [str(ours.index(variant) + 1), str(better + 1), f"{values[variant]:g}"]
        rows.append(tuple(cells))
    return TextTable("Order beside the paper's ablation", tuple(columns), tuple(rows))


PAPER_NOTE = (
    "\\* CogVideoX-5B on DAVIS with learned trackers and I3D features: another model, other data and other "
    "formulas than ours. Only the order can be compared. Our ranks are those of the means alone: below "
    "stands which of them can be told apart."
)


def detail_tables(result: StudyResult) -> tuple[TextTable, ...]:
    """All measures of each task."""
    tables = []
    for task in STUDY_TASKS:
        rows, used = [], [measure for measure in _DETAILS if _is_measured(result, measure, task)]
        for row, scores in result.scores.items():
            values = [spread([item.task_mean(measure, task) for item in scores]) for measure in used]
            rows.append((row.heading, *map(_text, values)))
        if used:
            tables.append(TextTable(f"Task {task}", ("", *(measure.value for measure in used)), tuple(rows)))
    return tuple(tables)


def training_table(result: StudyResult) -> TextTable:
    """What each training cost and where its losses ended."""
    rows = []
    for variant in result.settings.trained_variants:
        runs = [run for run in result.runs if run.variant is variant]
        validation = [sum(run.validation.values()) / max(len(run.validation), 1) for run in runs]
        shown = spread(validation) if runs[0].validation else spread([])
        rows.append(
            (
                variant.heading,
                str(runs[0].steps),
                str(runs[0].samples),
                f"{runs[0].parameters:,}",
                f"{sum(run.seconds for run in runs) / len(runs):.0f}",
                _text(spread([run.last_loss for run in runs])),
                _text(shown),
            )
        )
    columns = ("", "steps", "samples", "trained parameters", "seconds", "last loss", "validation loss")
    return TextTable("Trainings: the same budget for all", columns, tuple(rows))


def frechet_note(result: StudyResult) -> str:
    """Name, numbers and limits of the FVD-like distance."""
    distances = [
        distance for scores in result.scores.values() for item in scores for distance in item.frechet.values()
    ]
    if not distances:
        return "FVD-like distance: fewer than two clips, none was computed."
    one = distances[0]
    note = (
        ", fewer videos than dimensions, so the covariances are rank-deficient: read differences, not values"
    )
    return (
        f"FVD-like distance: features {FEATURE_NAME} (fixed random filters, no learned weights), N = "
        f"{one.samples_a} and {one.samples_b} a task, {one.dimensions} dimensions"
        f"{note if one.rank_deficient else ''}. It is no FVD."
    )


def print_tables(result: StudyResult, console: Console) -> None:
    """Print the main table, the order beside the paper's and the trainings."""
    for table in (main_table(result), paper_table(result), training_table(result)):
        if table.rows:
            console.print(table.rich())


def _is_measured(result: StudyResult, measure: Measure, task: ControlTask) -> bool:
    return any(
        math.isfinite(item.task_mean(measure, task)) for scores in result.scores.values() for item in scores
    )


def _text(value: Spread) -> str:
    if not math.isfinite(value.mean):
        return _NONE
    if value.deviation is None:
        return f"{value.mean:.4f}"
    return f"{value.mean:.4f} ± {value.deviation:.4f}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
