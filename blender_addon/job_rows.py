"""The job list as the panel shows it: rows of run-time properties, filled from reports."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from .client.job_reports import JobReport
from .client.job_texts import origin_text, progress_fraction, progress_text
from .properties import FlexTrajJobRow, FlexTrajRuntime


def fill_rows(state: FlexTrajRuntime, jobs: Iterable[JobReport], is_own: Callable[[JobReport], bool]) -> None:
    """Show these jobs, the oldest first; a new one is selected.

    Args:
        is_own: whether a job was made in the open file; the others name theirs.
    """
    reports = sorted(jobs, key=lambda report: report.order.created)
    before = [row.key for row in state.jobs]
    selected = before[state.job_index] if 0 <= state.job_index < len(before) else ""
    keys = [report.key for report in reports]
    if before != keys:
        state.jobs.clear()
        for key in keys:
            state.jobs.add().key = key
        is_longer = len(keys) > len(before)
        newest = max((index for index, report in enumerate(reports) if is_own(report)), default=len(keys) - 1)
        state.job_index = keys.index(selected) if selected in keys and not is_longer else newest
    for row, report in zip(state.jobs, reports, strict=True):
        _fill(row, report, is_own(report))
    state.job_index = min(max(state.job_index, 0), max(len(reports) - 1, 0))


def _fill(row: FlexTrajJobRow, report: JobReport, is_own: bool) -> None:
    row.title = report.title
    row.stage = report.stage.value
    row.text = progress_text(report)
    row.factor = progress_fraction(report)
    row.message = report.message
    row.code = "" if report.code is None else report.code.value
    row.label = report.label
    row.warnings = "\n".join(report.warnings)
    row.folder = _text(report.folder)
    row.video = _text(report.video)
    row.thumbnail = _text(report.thumbnail)
    row.file = "" if is_own else Path(report.order.file.path).name or "an unsaved file"
    row.origin = origin_text(report, row.file)
    row.first_frame = report.order.first_frame


def _text(path: Path | None) -> str:
    return "" if path is None else str(path)
