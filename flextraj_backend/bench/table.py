"""Rows of a benchmark: measured beside their reference in one run, printed as a table, written as JSON."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from flextraj_backend.atomic_file import write_text


@dataclass(frozen=True)
class BenchRow:
    """One piece of work, and a reference measured in the same run on the same input.

    For a limit in seconds (not a ratio to a peer) the reference is the budget itself and `limit` is 1.

    Attributes:
        work: what was measured, in words.
        points: number of points, or None where the work has none.
        seconds: time of the work.
        reference: what it is compared with, in words.
        reference_seconds: time of the reference, or the budget.
        limit: largest ratio allowed.
        note: anything a reader needs to judge the row (agreement, frames, repeats).
    """

    work: str
    points: int | None
    seconds: float
    reference: str
    reference_seconds: float
    limit: float
    note: str = ""

    @property
    def ratio(self) -> float:
        """Time of the work over time of the reference."""
        return self.seconds / self.reference_seconds

    @property
    def within_limit(self) -> bool:
        return self.ratio <= self.limit


def best_of(repeats: int, function: Callable[[], object]) -> float:
    """Run `function` and return its shortest wall time in seconds (the least disturbed run)."""
    shortest = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        shortest = min(shortest, time.perf_counter() - start)
    return shortest


def print_rows(title: str, rows: Sequence[BenchRow], console: Console | None = None) -> None:
    """Print the rows as a table with notes; a row over its limit is marked, the last line counts them."""
    console = console or Console()
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("work")
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("against", overflow="fold")
    table.add_column("its time", justify="right", no_wrap=True)
    table.add_column("ratio", justify="right", no_wrap=True)
    table.add_column("limit", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for number, row in enumerate(rows, start=1):
        table.add_row(
            str(number),
            row.work if row.points is None else f"{row.work}, {row.points:,} points",
            _format_seconds(row.seconds),
            row.reference,
            _format_seconds(row.reference_seconds),
            f"{row.ratio:.3f}",
            f"{row.limit:g}",
            "ok" if row.within_limit else "[bold red]OVER[/]",
        )
    console.print(table)
    for number, row in enumerate(rows, start=1):
        if row.note:
            console.print(f"{number}: {row.note}", markup=False, highlight=False)
    over = sum(not row.within_limit for row in rows)
    if over:
        console.print(f"{over} of {len(rows)} rows are over their limit.")
    else:
        console.print(f"All {len(rows)} rows are within their limits.")


def write_rows(path: Path, rows: Sequence[BenchRow]) -> Path:
    """Write `{"machine": {...}, "rows": [...]}` atomically; a row has its fields, ratio and within_limit."""
    document = {
        "machine": describe_machine(),
        "rows": [{**asdict(row), "ratio": row.ratio, "within_limit": row.within_limit} for row in rows],
    }
    return write_text(path, json.dumps(document, indent=2) + "\n")


def describe_machine() -> dict[str, str | int | None]:
    """Facts about this machine that a reader of the figures needs."""
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "cpu_count": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def _format_seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"
