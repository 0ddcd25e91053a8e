"""What the worker thread does with jobs: begins them, follows them, fetches their files, finds them again.

Each change that a user would miss after a restart is written to the records before it is told.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ..core.errors import ErrorCode, FlexTrajError
from ..core.trajectories import TrajectorySet
from .backend_link import BackendLink, GiveUp, RenderService
from .job_folder import discard, with_files, write_inputs
from .job_records import JobRecords
from .job_reports import (
    BlendFile,
    JobReport,
    JobStage,
    RenderOrder,
    Report,
    TroubleReport,
    UnsavedReport,
)
from .job_transfer import download_frames, download_log, download_results, is_unknown, upload_inputs
from .messages import JobState, JobStatus

_MAX_FAILED_CALLS = 4
_UNKNOWN = "The backend does not know this job any more: retry it."
_STAGE_OF_STATE = {
    JobState.QUEUED: JobStage.QUEUED,
    JobState.RUNNING: JobStage.RUNNING,
    JobState.CANCELLING: JobStage.CANCELLING,
}


@dataclass
class _Job:
    """A job that is under way; `report` is the last one told."""

    report: JobReport
    failed_calls: int = 0
    is_told_to_stop: bool = False

    @property
    def key(self) -> str:
        return self.report.key


class JobFollower:
    """All jobs that this Blender knows. `cancelled` and `unfinished` are shared with the main thread.

    Args:
        records: the job list on the disk.
        tell: takes the reports.
        is_closing: whether Blender ends.
    """

    def __init__(
        self,
        link: BackendLink,
        records: JobRecords,
        tell: Callable[[Report], None],
        is_closing: Callable[[], bool],
    ) -> None:
        self._link, self._records, self._tell, self._is_closing = link, records, tell, is_closing
        self.cancelled: set[str] = set()
        self.unfinished: set[str] = set()
        self._active: dict[str, _Job] = {}
        self._known: dict[str, JobReport] = {}

    # Commands

    def begin(self, order: RenderOrder, trajectories: TrajectorySet) -> None:
        """Store the inputs, start the backend, send the job. Every way out leaves it active or finished."""
        job = _Job(JobReport(order, JobStage.WAITING))
        with self._until_sent(job):
            self._enter(job, JobStage.WAITING)
            job.report = replace(job.report, folder=write_inputs(order, trajectories))
            self._enter(job, JobStage.STARTING)
            service = self._link.connect(lambda: self._is_unwanted(job))
            self._send(job, service)

    def retry(self, key: str) -> None:
        """Fetch the results of a job that has none here; if the backend has none either, render it again."""
        before = self._known.get(key)
        if before is None or key in self._active:
            self.unfinished.discard(key)
            return
        job = _Job(JobReport(before.order, JobStage.WAITING, before.job_id, folder=before.folder))
        with self._until_sent(job):
            self._enter(job, JobStage.STARTING)
            service = self._link.connect(lambda: self._is_unwanted(job))
            status = self._ask_again(job, service)
            if status is None:
                self._send(job, service)
            else:
                self._follow_from(job, status)

    def cancel(self, key: str) -> None:
        """Tell the backend that a job is to stop."""
        job = self._active.get(key)
        if job is not None:
            self._note(job, replace(job.report, stage=JobStage.CANCELLING))
            self._follow(job)

    def find(self, file: BlendFile) -> None:
        """Tell the jobs of a .blend file, and pick up those that had not ended when they were last seen."""
        recorded = self._records.read()
        ours = [report for report in recorded if report.order.file.is_same(file)]
        strangers = [
            report
            for report in recorded
            if not report.order.file.path and report not in ours and report.key not in self._active
        ]
        self._tell(UnsavedReport(len(strangers)))
        self._pick_up(ours)

    def adopt_unsaved(self, file: BlendFile) -> None:
        """Give the jobs of files that were never saved to this one."""
        for report in self._records.read():
            if not report.order.file.path and report.key not in self._active:
                self._write(replace(report, order=replace(report.order, file=file)))
        self.find(file)

    def move(self, keys: frozenset[str], file: BlendFile) -> None:
        """Jobs belong to this file from now on: theirs was saved under a new name."""
        for key in keys & self._known.keys():
            report = self._known[key]
            moved = replace(report, order=replace(report.order, file=file))
            if key in self._active:
                self._note(self._active[key], moved)
            else:
                self._write(moved)
                self._say(moved)

    def forget(self, key: str) -> None:
        """Take a job that has ended off the list; its files stay."""
        if key not in self._active:
            self._known.pop(key, None)
            self._records.remove(key)

    def fetch_frames(self, key: str) -> None:
        """Get the pictures of a finished video."""
        report = self._known.get(key)
        if report is None or report.stage is not JobStage.DONE:
            self.unfinished.discard(key)
            return
        self._say(replace(report, stage=JobStage.DOWNLOADING))
        try:
            service = self._link.connect(lambda: self._is_closing() or key in self.cancelled)
            report = download_frames(service, report)
        except GiveUp:
            pass
        except FlexTrajError as error:
            self._tell(TroubleReport(key, error.message, error.code))
        self._say(report)
        self.cancelled.discard(key)
        self.unfinished.discard(key)

    def follow_all(self) -> None:
        """Ask the backend where each job stands."""
        for job in list(self._active.values()):
            self._follow(job)

    def interrupt_all(self, sentence: str) -> None:
        """The backend is gone: its jobs can be retried."""
        for job in list(self._active.values()):
            self._finish(job, replace(job.report, stage=JobStage.INTERRUPTED, message=sentence))

    def drop_strays(self, error: FlexTrajError) -> None:
        """After a defect: jobs that were to be picked up when it happened can be retried."""
        for key in self.unfinished - self._active.keys():
            if key in self._known:
                self._leave(_Job(self._known[key]), JobStage.INTERRUPTED, error.message, error.code)

    # Sending

    @contextmanager
    def _until_sent(self, job: _Job) -> Iterator[None]:
        """However the block ends, the job is active or has an end."""
        self.unfinished.add(job.key)
        try:
            yield
        except GiveUp:
            # Blender that closes leaves the job as it is noted, to be found again.
            if not self._is_closing():
                self._end_cancelled(job)
        except FlexTrajError as error:
            if not self._is_closing():
                self._finish(job, _failed(job.report, error))
        except Exception as error:
            # A defect of ours ends this job, not the thread that all others need.
            traceback.print_exc()
            sentence = f"The add-on made a mistake ({type(error).__name__}): report Blender's console."
            self._finish(job, _failed(job.report, FlexTrajError(sentence, ErrorCode.DEFECT)))

    def _is_unwanted(self, job: _Job) -> bool:
        return self._is_closing() or job.key in self.cancelled

    def _enter(self, job: _Job, stage: JobStage) -> None:
        if self._is_unwanted(job):
            raise GiveUp
        self._note(job, replace(job.report, stage=stage))

    def _send(self, job: _Job, service: RenderService) -> None:
        self._enter(job, JobStage.UPLOADING)
        order = job.report.order
        request = upload_inputs(service, order, lambda: self._is_unwanted(job))
        status = service.submit(request, order.key)
        if _can_run_again(status):
            # It had been sent before, and nobody heard the answer.
            status = service.retry(status.id)
        self._follow_from(job, status)

    def _ask_again(self, job: _Job, service: RenderService) -> JobStatus | None:
        """Where the backend stands with a job that it had; it is queued again if need be. None = unknown."""
        if not job.report.job_id:
            return None
        try:
            status = service.job(job.report.job_id)
            return service.retry(status.id) if _can_run_again(status) else status
        except FlexTrajError as error:
            if is_unknown(error):
                return None
            raise

    def _follow_from(self, job: _Job, status: JobStatus) -> None:
        self._active[job.key] = job
        self._note(job, replace(job.report, job_id=status.id))
        self._take(job, status)

    # Following

    def _follow(self, job: _Job) -> None:
        """Ask where a job stands; tell it to stop until the backend has heard it."""
        service = self._link.service
        if service is None:
            return
        try:
            if job.key in self.cancelled and not job.is_told_to_stop:
                status = service.cancel(job.report.job_id)
                job.is_told_to_stop = True
            else:
                status = service.job(job.report.job_id)
        except FlexTrajError as error:
            self._bear(job, error)
            return
        job.failed_calls = 0
        self._take(job, status)

    def _bear(self, job: _Job, error: FlexTrajError) -> None:
        """A machine that is busy rendering may answer late; a backend that is gone never does."""
        if is_unknown(error):
            self._finish(job, replace(job.report, stage=JobStage.LOST, message=_UNKNOWN))
            return
        job.failed_calls += 1
        if job.failed_calls >= _MAX_FAILED_CALLS:
            ended = replace(job.report, stage=JobStage.INTERRUPTED, message=error.message, code=error.code)
            self._finish(job, ended)

    def _take(self, job: _Job, status: JobStatus) -> None:
        """Turn the backend's answer into a report; fetch the files of a finished job."""
        report = replace(
            job.report,
            phase=status.phase,
            step=status.step,
            steps=status.steps,
            eta_seconds=status.eta_seconds,
            label=status.label,
            warnings=status.warnings,
        )
        match status.state:
            case JobState.SUCCEEDED:
                self._fetch(job, report, status)
            case JobState.CANCELLED:
                self._end_cancelled(job)
            case JobState.INTERRUPTED:
                sentence = status.error or "The backend stopped while this job ran: retry it."
                self._finish(job, replace(report, stage=JobStage.INTERRUPTED, message=sentence))
            case JobState.FAILED:
                sentence = status.error or "The job failed and did not say why: look into its log."
                error = FlexTrajError(sentence, status.error_code or ErrorCode.DEFECT)
                if self._link.service is not None:
                    download_log(self._link.service, report)
                self._finish(job, _failed(report, error))
            case _:
                stage = _STAGE_OF_STATE[status.state]
                if job.key in self.cancelled:
                    stage = JobStage.CANCELLING
                self._note(job, replace(report, stage=stage))

    def _fetch(self, job: _Job, report: JobReport, status: JobStatus) -> None:
        service = self._link.service
        assert service is not None
        report = replace(report, stage=JobStage.DOWNLOADING, phase="", step=0, steps=1, eta_seconds=None)
        self._note(job, report)
        try:
            found = download_results(service, report, status)
        except FlexTrajError as error:
            self._finish(job, _failed(report, error))
        else:
            self._finish(job, found)

    # Finding

    def _pick_up(self, reports: list[JobReport]) -> None:
        waiting: list[_Job] = []
        for report in reports:
            if report.key in self._active:
                self._say(self._active[report.key].report)
            elif report.stage.is_finished:
                self._say(with_files(report))
            elif not report.job_id:
                sentence = "Blender was closed before this job was sent: retry it."
                self._say(replace(with_files(report), stage=JobStage.INTERRUPTED, message=sentence))
            else:
                waiting.append(_Job(replace(with_files(report), stage=JobStage.STARTING)))
                self.unfinished.add(report.key)
                if report.stage is JobStage.CANCELLING:
                    self.cancelled.add(report.key)
                self._say(waiting[-1].report)
        if not waiting:
            return
        try:
            service = self._link.connect(self._is_closing)
        except GiveUp:
            return
        except FlexTrajError as error:
            for job in waiting:
                self._leave(job, JobStage.INTERRUPTED, error.message, error.code)
        else:
            for job in waiting:
                self._resume(job, service)

    def _resume(self, job: _Job, service: RenderService) -> None:
        """Ask the backend about a job of an earlier session."""
        try:
            status = service.job(job.report.job_id)
        except FlexTrajError as error:
            if is_unknown(error):
                self._leave(job, JobStage.LOST, _UNKNOWN, None)
            else:
                self._leave(job, JobStage.INTERRUPTED, error.message, error.code)
        else:
            self._follow_from(job, status)

    def _leave(self, job: _Job, stage: JobStage, sentence: str, code: ErrorCode | None) -> None:
        """Show why a job cannot be picked up, without noting it: the next session asks again."""
        self._say(replace(job.report, stage=stage, message=sentence, code=code))
        self.cancelled.discard(job.key)
        self.unfinished.discard(job.key)

    # Telling

    def _end_cancelled(self, job: _Job) -> None:
        if job.report.folder is not None:
            discard(job.report.folder)
        self._finish(job, replace(job.report, stage=JobStage.CANCELLED, folder=None))

    def _finish(self, job: _Job, report: JobReport) -> None:
        self._active.pop(job.key, None)
        self._note(job, report)
        self.cancelled.discard(job.key)
        # After the report: the main thread stops looking for reports once nothing is unfinished.
        self.unfinished.discard(job.key)
        self._link.look_at_device()

    def _note(self, job: _Job, report: JobReport) -> None:
        """Write a report down and tell it."""
        job.report = report
        self._write(report)
        if report != self._known.get(job.key):
            self._say(report)

    def _write(self, report: JobReport) -> None:
        # A full disk must not end a job that runs; without its record it is only not found after a restart.
        with contextlib.suppress(OSError):
            if report.stage is JobStage.CANCELLED:
                self._records.remove(report.key)
            else:
                self._records.write(report)

    def _say(self, report: JobReport) -> None:
        self._known[report.key] = report
        self._tell(report)


def _can_run_again(status: JobStatus) -> bool:
    return status.state in (JobState.FAILED, JobState.INTERRUPTED, JobState.CANCELLED)


def _failed(report: JobReport, error: FlexTrajError) -> JobReport:
    return replace(report, stage=JobStage.FAILED, message=error.message, code=error.code)
