"""What a study leaves: results.json, table.md, plots and contact sheets."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flextraj_backend.atomic_file import write_text
from flextraj_backend.evaluation.video_features import FEATURE_NAME
from flextraj_backend.json_values import plain
from flextraj_backend.study.conduct import StudyResult, settings_to_json, versions
from flextraj_backend.study.figures import MAIN_FIGURES, over_seeds
from flextraj_backend.study.paper import PAPER
from flextraj_backend.study.plots import BARS, CURVES, write_bars, write_curves
from flextraj_backend.study.scoring import choices_to_json, scores_to_json
from flextraj_backend.study.sheets import write_sheets
from flextraj_backend.study.statements import order_checks, order_text
from flextraj_backend.study.table import (
    PAPER_NOTE,
    detail_tables,
    frechet_note,
    main_table,
    paper_table,
    training_table,
)

RESULTS, TABLE = "results.json", "table.md"


def write_report(result: StudyResult) -> list[Path]:
    """Write everything into the study's folder. Raises FlexTrajError where it cannot be written."""
    folder = result.settings.folder
    return [
        write_text(folder / RESULTS, json.dumps(results_to_json(result), indent=1, allow_nan=False) + "\n"),
        write_text(folder / TABLE, table_text(result)),
        write_bars(result, folder / BARS),
        write_curves(result, folder / CURVES),
        *write_sheets(result, folder),
    ]


def results_to_json(result: StudyResult) -> dict[str, Any]:
    """All figures of all videos, settings, seeds and versions as JSON values."""
    orders = order_checks(result.variants)
    return {
        "settings": settings_to_json(result.settings),
        "versions": versions(),
        "features": FEATURE_NAME,
        "asked": choices_to_json(result.samples),
        "trainings": [plain(run.to_json()) for run in result.runs],
        "rows": {
            row.value: {
                "title": row.heading,
                "figures": {
                    figure.name: plain(asdict(over_seeds(scores, figure))) for figure in MAIN_FIGURES
                },
                "seeds": [scores_to_json(item) for item in scores],
            }
            for row, scores in result.scores.items()
        },
        "cache": [{**asdict(check), "is_equal": check.is_equal} for check in result.cache],
        "paper": {
            figure.name: {variant.value: value for variant, value in values.items()}
            for figure, values in PAPER.items()
        },
        "orders": {
            figure.name: [
                {**plain(asdict(check.pair)), "agreement": check.agreement.value} for check in checks
            ]
            for figure, checks in orders.items()
        },
    }


def table_text(result: StudyResult) -> str:
    """The tables and what follows from them, as Markdown."""
    study = result.settings
    parts = [
        "# Reproduction study",
        f"{study.held_out} held-out clips of unseen characters and motions; {len(study.seeds)} seeds, "
        f"{study.steps} steps of {study.batch} samples for every variant; {study.sample_steps} denoising "
        "steps. "
        "Formulas: README, *Metrics*. No figure here may stand in a column with the paper's.",
        main_table(result).markdown(),
        frechet_note(result),
        *_cache_lines(result),
    ]
    beside = paper_table(result)
    if beside.rows:
        parts += [beside.markdown(), PAPER_NOTE]
    text = order_text(result.variants)
    if text:
        parts += ["## Our order and the paper's", text]
    parts += ["## Trainings", training_table(result).markdown(), "## All measures by task"]
    parts += [table.markdown() for table in detail_tables(result)]
    return "\n\n".join(parts) + "\n"


def _cache_lines(result: StudyResult) -> list[str]:
    lines = [
        f"- seed {check.seed}: {check.videos} videos, largest difference {check.max_difference} of 255, "
        f"{100 * check.changed_share:.4f} % of the values differ: "
        f"{'equal but for rounding' if check.is_equal else 'NOT EQUAL'}"
        for check in result.cache
    ]
    return ["**Without the condition cache**\n\n" + "\n".join(lines)] if lines else []
