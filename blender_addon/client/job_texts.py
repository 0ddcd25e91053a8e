"""What a job is called in the panel while it runs."""

from __future__ import annotations

import time

from .estimates import EstimateAnswer
from .job_reports import JobReport, JobStage
from .messages import DeviceInfo

_GIB = 1 << 30
_TITLES = {
    JobStage.WAITING: "Waiting",
    JobStage.STARTING: "Starting the backend",
    JobStage.UPLOADING: "Sending photo and trajectories",
    JobStage.QUEUED: "Queued",
    JobStage.RUNNING: "Rendering",
    JobStage.CANCELLING: "Cancelling",
    JobStage.DOWNLOADING: "Fetching the results",
    JobStage.DONE: "Done",
    JobStage.FAILED: "Failed",
    JobStage.CANCELLED: "Cancelled",
    JobStage.INTERRUPTED: "Interrupted",
    JobStage.LOST: "Lost",
}


def stage_title(stage: JobStage) -> str:
    """Return such as 'Rendering'."""
    return _TITLES[stage]


def progress_text(report: JobReport) -> str:
    """Return such as 'Rendering 12 / 49, 8 s left'."""
    if report.stage is not JobStage.RUNNING:
        return _TITLES[report.stage]
    text = report.phase.capitalize() or _TITLES[report.stage]
    if report.steps > 1:
        text += f" {report.step} / {report.steps}"
    if report.eta_seconds is not None and report.eta_seconds >= 1:
        text += f", {duration_text(report.eta_seconds)} left"
    return text


def progress_fraction(report: JobReport) -> float:
    """Return the bar's length, 0 to 1."""
    return 1.0 if report.stage is JobStage.DONE else report.fraction if not report.stage.is_finished else 0.0


def origin_text(report: JobReport, file: str = "", now: float | None = None) -> str:
    """Return such as 'preview, seed 3, 14:05', which tells jobs of one subject apart.

    Args:
        file: name of another .blend file that it was made in, empty where it is the open one.
        now: Unix time in seconds.
    """
    made = time.localtime(report.order.created)
    is_today = made[:3] == time.localtime(now)[:3]
    when = time.strftime("%H:%M" if is_today else "%Y-%m-%d %H:%M", made)
    request = report.order.request
    text = f"{request.engine}, seed {request.seed}, {when}"
    return f"{text}, made in {file}" if file else text


def memory_text(device: DeviceInfo) -> str:
    """Return such as '20.1 of 24.0 GiB free'; empty where it is not known."""
    if device.total_bytes is None or device.free_bytes is None:
        return ""
    return f"{device.free_bytes / _GIB:.1f} of {device.total_bytes / _GIB:.1f} GiB free"


def estimate_text(answer: EstimateAnswer) -> str:
    """Return such as 'About 2 min, 6.1 GiB of memory and 11.3 GiB of GPU memory'."""
    gpu = f" and {answer.vram_bytes / _GIB:.1f} GiB of GPU memory" if answer.vram_bytes else ""
    return f"About {duration_text(answer.seconds)}, {answer.memory_bytes / _GIB:.1f} GiB of memory{gpu}"


def duration_text(seconds: float) -> str:
    """Return such as '8 s', '2 min 5 s' or '1 h 10 min'."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
