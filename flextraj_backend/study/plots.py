"""The study's plots: bars of the figures, and the trainings' curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from flextraj_backend.atomic_file import atomic_path
from flextraj_backend.study.conduct import StudyResult
from flextraj_backend.study.figures import (
    FVD_ALIGNED,
    FVD_UNALIGNED,
    MAIN_FIGURES,
    TRAJ_ERR,
    TRAJ_SIM,
    Better,
    Figure,
    over_seeds,
)
from flextraj_backend.study.runs import TrainedRun, running_mean
from flextraj_backend.study.variants import Baseline, Variant
from flextraj_backend.training.train_logs import read_log

matplotlib.use("Agg")
from matplotlib import pyplot as plt

BARS, CURVES = "bars.png", "curves.png"
_SHOWN = (TRAJ_ERR, TRAJ_SIM, FVD_ALIGNED, FVD_UNALIGNED, *MAIN_FIGURES[-2:])
_COLORS = dict(zip(Variant, plt.get_cmap("tab10").colors, strict=False))  # pyright: ignore[reportAttributeAccessIssue]
_LINES = {
    Baseline.BASE: ("#b03030", "--"),
    Baseline.STILL: ("#777777", ":"),
    Baseline.EXACT: ("#208040", "-."),
}
_WINDOW = 50
"""Largest number of steps that a shown training loss is a mean of."""


def write_bars(result: StudyResult, path: Path) -> Path:
    """A panel a figure: a bar a variant with a dot a seed, a line a baseline."""
    figure, panels = plt.subplots(2, 3, figsize=(15, 9), layout="constrained")
    variants = list(result.variants)
    for panel, shown in zip(panels.flat, _SHOWN, strict=True):
        _bars(panel, result, variants, shown)
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle("Held-out clips: bar = mean over seeds, dots = seeds, whiskers = standard deviation")
    return _save(figure, path)


def write_curves(result: StudyResult, path: Path) -> Path:
    """Training loss and validation loss of each variant over the steps, a line a seed."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(15, 5.5), layout="constrained")
    for run in result.runs:
        _curve(left, right, run, is_first=run.seed == result.settings.seeds[0])
    for panel, title in (
        (left, "training loss (running mean)"),
        (right, "validation loss, mean of the tasks"),
    ):
        panel.set(title=title, xlabel="step", yscale="log")
        panel.grid(alpha=0.3, which="both")
        panel.spines[["top", "right"]].set_visible(False)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return _save(figure, path)


def _bars(panel: Any, result: StudyResult, variants: Sequence[Variant], shown: Figure) -> None:
    for place, variant in enumerate(variants):
        scores = result.variants[variant]
        found = over_seeds(scores, shown)
        panel.bar(place, found.mean, color=_COLORS[variant], alpha=0.75, width=0.7)
        if found.deviation is not None:
            panel.errorbar(place, found.mean, found.deviation, color="black", capsize=4, lw=1.2)
        panel.plot([place] * len(scores), [item.mean(shown) for item in scores], "o", color="black", ms=3.5)
    for baseline, (color, style) in _LINES.items():
        value = result.scores[baseline][0].mean(shown)
        if np.isfinite(value):
            panel.axhline(value, color=color, ls=style, lw=1.5, label=baseline.heading)
    arrow = {Better.LOWER: " (lower is better)", Better.HIGHER: " (higher is better)", Better.NEITHER: ""}
    panel.set_title(shown.title + arrow[shown.better])
    panel.set_xticks(range(len(variants)), [variant.value for variant in variants], rotation=35, ha="right")
    panel.grid(axis="y", alpha=0.3)
    panel.spines[["top", "right"]].set_visible(False)


def _curve(left: Any, right: Any, run: TrainedRun, *, is_first: bool) -> None:
    log = read_log(run.folder)
    steps = [line for line in log if line["event"] == "step"]
    checks = [line for line in log if line["event"] == "validation"]
    look: dict[str, Any] = {"color": _COLORS[run.variant], "lw": 1.5, "alpha": 1.0 if is_first else 0.5}
    losses = [line["loss"] for line in steps]
    window = max(1, min(_WINDOW, len(losses) // 10))
    label = run.variant.heading if is_first else None
    left.plot([line["step"] for line in steps], running_mean(losses, window), label=label, **look)
    means = [sum(line["tasks"].values()) / len(line["tasks"]) for line in checks]
    right.plot([line["step"] for line in checks], means, marker="o", ms=3, **look)


def _save(figure: Any, path: Path) -> Path:
    try:
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=110)
    finally:
        plt.close(figure)
    return path
