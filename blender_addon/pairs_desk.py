"""The generation of training pairs as the panel knows it; main thread only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .client.dataset_folder import FolderReport
from .client.pairs_runner import PairsOrder, PairsReport, PairsRunner, PairsStage
from .core.errors import FlexTrajError

PAIRS_KEY = "training pairs"
"""Stands for a job's key where an error is the generation's."""
_WAIT_SECONDS = 0.5


@dataclass(frozen=True)
class PairsNews:
    """What came since the last look.

    Attributes:
        has_news: whether the panel has something else to show.
        error: why a generation has just failed.
    """

    has_news: bool
    error: FlexTrajError | None = None


class PairsDesk:
    """Holds the last reports of a runner.

    Attributes:
        report: how far the generation is, or how the last one ended; None before the first.
    """

    def __init__(self, runner: PairsRunner | None = None) -> None:
        self.runner = PairsRunner() if runner is None else runner
        self.report: PairsReport | None = None
        self._folder: FolderReport | None = None
        self._asked: Path | None = None

    @property
    def is_running(self) -> bool:
        """Whether pairs are being generated, as far as has been told."""
        return self.report is not None and not self.report.stage.is_finished

    @property
    def has_work(self) -> bool:
        """Whether something is still to come."""
        return self.is_running or self.runner.has_work

    def start(self, order: PairsOrder) -> None:
        """Begin to generate; not while `is_running`."""
        self.runner.start(order)
        self.report = PairsReport(order, PairsStage.STARTING)

    def folder_report(self, folder: Path) -> FolderReport | None:
        """What lies in a folder, None until it has been looked at, which begins with the first question."""
        if self._asked != folder:
            self._asked = folder
            self.runner.look(folder)
        return self._folder if self._folder is not None and self._folder.folder == folder else None

    def collect(self) -> PairsNews:
        """Take what the runner has told."""
        return self._take(self.runner.drain())

    def wait_until_ended(self, on_report: Callable[[PairsReport], None] | None = None) -> PairsReport:
        """Wait for the end of the generation (headless runs); Ctrl-C cancels it, finished clips stay."""
        try:
            while self.has_work:
                self.wait()
                if on_report is not None and self.report is not None and self.is_running:
                    on_report(self.report)
        except KeyboardInterrupt:
            self.runner.cancel()
            while self.has_work:
                self.wait()
            raise
        assert self.report is not None
        return self.report

    def wait(self) -> PairsNews:
        """Wait a moment for what comes next (headless runs)."""
        return self._take(self.runner.wait(_WAIT_SECONDS))

    def close(self) -> None:
        """End the generation."""
        self.runner.close()

    def _take(self, reports: list[PairsReport | FolderReport]) -> PairsNews:
        before = (self.report, self._folder)
        error: FlexTrajError | None = None
        for report in reports:
            if isinstance(report, FolderReport):
                self._folder, self._asked = report, report.folder
            else:
                self.report = report
                error = report.error or error
        return PairsNews((self.report, self._folder) != before, error)
