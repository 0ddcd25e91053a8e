"""A backend made of plain Python that answers every job with one small real video."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from blender_addon.client.messages import EngineInfo, JobState, JobStatus, ResultKind
from blender_addon.core.errors import FlexTrajError
from blender_addon.core.request import RenderRequest
from flextraj_backend.video_io import write_video

FRAMES = 5


class FakeRenderService:
    def __init__(self) -> None:
        self.requests: list[RenderRequest] = []
        self.uploads: list[Path] = []
        self.outcome = JobStatus(
            "job1",
            JobState.SUCCEEDED,
            "preview",
            label="motion draft",
            warnings=("The rig does not line up with the photo.",),
            results=(ResultKind.VIDEO,),
        )

    def engines(self) -> tuple[EngineInfo, ...]:
        missing = EngineInfo("wan", "Wan 2.2", False, "The weights are missing: download them.")
        return EngineInfo("preview", "Preview", True, max_frames=1000, max_side=2048), missing

    def upload(self, source: Path | bytes, give_up: Callable[[], bool] = lambda: False) -> str:
        assert isinstance(source, Path)
        self.uploads.append(source)
        return f"{len(self.uploads):064x}"

    def submit(self, request: RenderRequest, idempotency_key: str) -> JobStatus:
        self.requests.append(request)
        return JobStatus("job1", JobState.QUEUED, request.engine)

    def job(self, job_id: str) -> JobStatus:
        return self.outcome

    def cancel(self, job_id: str) -> JobStatus:
        self.outcome = JobStatus(job_id, JobState.CANCELLED, "preview")
        return self.outcome

    def download(self, job_id: str, kind: ResultKind, destination: Path) -> Path:
        frames = np.zeros((FRAMES, 32, 48, 3), np.uint8)
        frames[:, :, :, 0] = np.arange(FRAMES)[:, None, None] * 40
        write_video(destination, frames, 24)
        return destination


class FakeBackend:
    def __init__(self) -> None:
        self.service = FakeRenderService()
        self.connect_error: FlexTrajError | None = None
        self.stops = 0

    def connect(self, give_up: Callable[[], bool]) -> FakeRenderService:
        if self.connect_error is not None:
            raise self.connect_error
        return self.service

    def failure(self) -> FlexTrajError | None:
        return None

    def stop(self) -> None:
        self.stops += 1
