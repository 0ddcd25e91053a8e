"""The folder of one job: everything about it, readable without the server.

request.json                 the render request
inputs/trajectories.npz      what it renders from (hard links into the asset store where possible)
inputs/image, inputs/mask
video.mp4 id.mp4 color.mp4   results
job.json                     sidecar of the results
thumbnail.png                small picture of the video
status.json                  how the job ended
log.txt                      what the worker wrote
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from blender_addon.client.messages import JobStatus, ResultKind
from blender_addon.core.request import RenderRequest
from flextraj_backend.atomic_file import write_text
from flextraj_backend.rendering import OutputPaths


@dataclass(frozen=True)
class JobFolder:
    """Names of the files in a job's folder."""

    path: Path

    @property
    def request(self) -> Path:
        return self.path / "request.json"

    @property
    def inputs(self) -> Path:
        return self.path / "inputs"

    @property
    def trajectories(self) -> Path:
        return self.inputs / "trajectories.npz"

    @property
    def image(self) -> Path:
        return self.inputs / "image"

    @property
    def mask(self) -> Path:
        return self.inputs / "mask"

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    @property
    def status(self) -> Path:
        return self.path / "status.json"

    @property
    def outputs(self) -> OutputPaths:
        return OutputPaths.in_job_folder(self.path)

    def result(self, kind: ResultKind) -> Path:
        """Path of a result, which may not be there yet."""
        return self.path / kind.file_name

    def results(self) -> tuple[ResultKind, ...]:
        """The results that are there."""
        return tuple(kind for kind in ResultKind if self.result(kind).is_file())

    def create(self, request: RenderRequest, asset_path: Callable[[str], Path]) -> None:
        """Make the folder with its request and inputs.

        Args:
            asset_path: from an asset's SHA-256 to its file.
        """
        self.inputs.mkdir(parents=True)
        _link_or_copy(asset_path(request.trajectories), self.trajectories)
        _link_or_copy(asset_path(request.image), self.image)
        if request.mask is not None:
            _link_or_copy(asset_path(request.mask), self.mask)
        write_text(self.request, request.to_json() + "\n")

    def write_status(self, status: JobStatus) -> None:
        """Leave behind how the job ended."""
        write_text(self.status, json.dumps(status.to_dict(), indent=2, sort_keys=True) + "\n")

    def discard(self) -> None:
        """Remove the whole folder."""
        shutil.rmtree(self.path, ignore_errors=True)

    def discard_outputs(self) -> None:
        """Remove results and everything unfinished; request, inputs and log stay."""
        for path in (*map(self.result, ResultKind), self.status):
            path.unlink(missing_ok=True)
        for leftover in self.path.glob(".*"):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        # Another file system, or one without hard links.
        shutil.copyfile(source, target)
