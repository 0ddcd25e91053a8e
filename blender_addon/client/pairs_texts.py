"""How far the generation of training pairs is, in words."""

from __future__ import annotations

from dataclasses import dataclass

from .job_texts import duration_text
from .pairs_runner import PairsReport, PairsStage


@dataclass(frozen=True)
class Phrase:
    """A text with places, so that it can be translated before they are filled."""

    pattern: str
    places: tuple[tuple[str, object], ...] = ()


def progress_phrase(report: PairsReport) -> Phrase:
    """What the progress bar says."""
    match report.stage:
        case PairsStage.STARTING:
            return Phrase("Starting…")
        case PairsStage.CANCELLING:
            return Phrase("Cancelling")
        case _:
            progress = report.progress
            return Phrase("{done} of {clips} clips", (("done", progress.done), ("clips", progress.clips)))


def speed_phrase(report: PairsReport) -> Phrase | None:
    """Clips a minute and what is left, None as long as nobody knows."""
    progress = report.progress
    if report.stage is not PairsStage.RUNNING or not progress.clips_per_minute:
        return None
    speed = (("speed", f"{progress.clips_per_minute:.3g}"),)
    if progress.eta_seconds is None:
        return Phrase("{speed} clips a minute", speed)
    left = duration_text(max(progress.eta_seconds, 1.0))
    return Phrase("{speed} clips a minute, {time} left", (*speed, ("time", left)))


def end_phrase(report: PairsReport) -> Phrase | None:
    """How the last generation ended, None while it runs or where an error says it."""
    progress = report.progress
    match report.stage:
        case PairsStage.DONE if progress.failed:
            places = (("clips", progress.done), ("failed", progress.failed))
            return Phrase("Finished clips: {clips}; failed: {failed}", places)
        case PairsStage.DONE:
            return Phrase("Done; finished clips: {clips}", (("clips", progress.done),))
        case PairsStage.CANCELLED:
            return Phrase("Cancelled; finished clips: {done}", (("done", progress.done),))
        case _:
            return None
