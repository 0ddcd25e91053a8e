"""Runs one render job: photo and trajectories in, video, conditioning videos and sidecar out.

The server's worker and `flextraj render` call the same function, so they make the same files.
"""

from __future__ import annotations

import json
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from blender_addon.client.messages import ResultKind
from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.request import RenderRequest
from blender_addon.core.trajectories import TrajectorySet
from blender_addon.core.version import PROTOCOL_VERSION, package_version
from flextraj_backend.conditioning.render import render_conditioning
from flextraj_backend.conditioning.requested import colored_as_requested, conditioning_settings
from flextraj_backend.engines.base import (
    Cancelled,
    ConditioningVideos,
    EngineInputs,
    EngineOutput,
    Estimate,
    IsCancelled,
    Progress,
    ReportProgress,
)
from flextraj_backend.engines.registry import engine as engine_by_name
from flextraj_backend.fitting.motion_fit import MotionFit, fit_motion
from flextraj_backend.image_io import ImageError, cover_and_crop, cover_and_crop_mask
from flextraj_backend.video_io import write_video

SIDECAR_SCHEMA = 1
_ASPECT_TOLERANCE = 0.01
_MUCH_CROPPED = 0.2


@dataclass(frozen=True)
class OutputPaths:
    """Where a job's files go; all in one folder."""

    video: Path
    ids: Path
    color: Path
    sidecar: Path

    @classmethod
    def in_job_folder(cls, folder: Path) -> OutputPaths:
        """The names in a job folder of the server."""
        return cls(
            folder / ResultKind.VIDEO.file_name,
            folder / ResultKind.ID_VIDEO.file_name,
            folder / ResultKind.COLOR_VIDEO.file_name,
            folder / ResultKind.SIDECAR.file_name,
        )

    @classmethod
    def beside(cls, video: Path) -> OutputPaths:
        """`out.mp4`, `out.id.mp4`, `out.color.mp4`, `out.json`."""
        return cls(
            video, video.with_suffix(".id.mp4"), video.with_suffix(".color.mp4"), video.with_suffix(".json")
        )

    def all(self) -> tuple[Path, Path, Path, Path]:
        """Every path; the video comes last because its presence says that the job is complete."""
        return self.ids, self.color, self.sidecar, self.video


@dataclass(frozen=True, eq=False)
class RenderOutcome:
    """What a job made.

    Attributes:
        paths: the files.
        label: what to call the video to be honest, such as 'motion draft'; empty for a final.
        warnings: sentences for the user, of the fit and of the engine.
        fit: how the motion was placed on the photo.
        frame_count: frames of each video.
        seconds: wall time by phase.
        record: how the engine made it, as JSON values.
    """

    paths: OutputPaths
    label: str
    warnings: tuple[str, ...]
    fit: MotionFit
    frame_count: int
    seconds: dict[str, float]
    record: dict[str, Any]


@dataclass(frozen=True, eq=False)
class PlacedMotion:
    """A motion on its photo.

    Attributes:
        fit: how it was placed.
        photo: (H, W, 3) uint8 RGB, cropped to the raster of the trajectories.
        mask: (H, W) bool, the user's subject mask likewise, or None.
        notes: sentences for the user about the photo.
    """

    fit: MotionFit
    photo: NDArray[np.uint8]
    mask: NDArray[np.bool_] | None
    notes: tuple[str, ...]


def place_motion(
    request: RenderRequest,
    trajectories: TrajectorySet,
    photo: NDArray[np.uint8],
    mask: NDArray[np.bool_] | None,
) -> PlacedMotion:
    """Crop photo and mask to the shot's raster and place the motion on the photo.

    Args:
        photo: (H, W, 3) uint8 RGB, any size.
        mask: (H, W) bool subject mask in the photo's proportions, or None.

    Raises:
        FlexTrajError: photo, mask and motion do not go together; the sentence says how.
    """
    meta = trajectories.meta
    if mask is not None:
        _check_same_aspect(photo, mask)
        mask = cover_and_crop_mask(mask, meta.width, meta.height)
    notes = _crop_notes(photo, meta.width, meta.height)
    photo = cover_and_crop(photo, meta.width, meta.height)  # (H, W, 3)
    return PlacedMotion(fit_motion(trajectories, photo, mask, request), photo, mask, notes)


def estimate_job(request: RenderRequest, trajectories: TrajectorySet) -> Estimate:
    """Check that the request's engine is here and can make the job. Raises EngineError."""
    return engine_by_name(request.engine).prepare(request, trajectories)


def render_job(
    request: RenderRequest,
    trajectories: TrajectorySet,
    photo: NDArray[np.uint8],
    mask: NDArray[np.bool_] | None,
    paths: OutputPaths,
    report_progress: ReportProgress,
    cancelled: IsCancelled,
) -> RenderOutcome:
    """Run a job and write its files: all of them or none.

    Args:
        photo: (H, W, 3) uint8 RGB, any size; scaled and cropped to the raster of the trajectories.
        mask: (H, W) bool subject mask of the photo, or None.
        paths: files that are there already are replaced.

    Raises:
        FlexTrajError: the job cannot be made, or its files cannot be written; the sentence says why.
        Cancelled: soon after `cancelled()` turned True.
    """
    clock = _PhaseClock(report_progress, cancelled)
    engine = engine_by_name(request.engine)
    engine.prepare(request, trajectories)
    with clock.phase("fitting"):
        placed = place_motion(request, trajectories, photo, mask)
    fit, trajectories, photo, mask = placed.fit, placed.fit.trajectories, placed.photo, placed.mask
    meta = trajectories.meta
    with clock.phase("conditioning"):
        trajectories = colored_as_requested(request, trajectories, photo, fit.matrix)
        conditioning = render_conditioning(
            trajectories,
            conditioning_settings(request),
            fit.matrix,
            on_frame=lambda frame: clock.report("conditioning", frame, trajectories.frame_count),
        )
    inputs = EngineInputs(request, trajectories, photo, fit.matrix, conditioning, mask, fit.subject_mask)
    with clock.timed("rendering"):
        # The engine reports its own phases and looks at `cancelled` where it can stop cleanly.
        output = engine.render(inputs, report_progress, cancelled)
    with _staging_folder(paths.video.parent) as folder:
        staged = OutputPaths.in_job_folder(folder)
        with clock.phase("encoding"):
            _write_videos(staged, output, conditioning, request, meta.fps, clock)
        outcome = RenderOutcome(
            paths,
            output.label,
            (*placed.notes, *fit.warnings, *output.warnings),
            fit,
            len(output.frames),
            clock.seconds,
            output.record,
        )
        sidecar = json.dumps(_sidecar(request, trajectories, outcome), indent=2, sort_keys=True) + "\n"
        staged.sidecar.write_text(sidecar, encoding="utf-8")
        clock.stop_if_cancelled()
        for source, destination in zip(staged.all(), paths.all(), strict=True):
            source.replace(destination)
    return outcome


def _crop_notes(photo: NDArray[np.uint8], width: int, height: int) -> tuple[str, ...]:
    """A sentence where covering the shot's raster costs much of the photo."""
    photo_height, photo_width = photo.shape[:2]
    ratio = photo_width * height / (photo_height * width)
    lost = 1 - min(ratio, 1 / ratio)
    if lost < _MUCH_CROPPED:
        return ()
    return (
        f"{lost:.0%} of the photo ({photo_width}x{photo_height} px) was cropped to cover the shot's "
        f"{width}x{height} px: sample the shot in the photo's proportions to keep all of it.",
    )


def _check_same_aspect(photo: NDArray[np.uint8], mask: NDArray[np.bool_]) -> None:
    photo_height, photo_width = photo.shape[:2]
    mask_height, mask_width = mask.shape
    if abs(photo_width * mask_height / (photo_height * mask_width) - 1) > _ASPECT_TOLERANCE:
        raise ImageError(
            f"The mask is {mask_width}x{mask_height} px and the photo {photo_width}x{photo_height} px: "
            "export the mask in the photo's proportions.",
            ErrorCode.MASK,
        )


def _write_videos(
    staged: OutputPaths,
    output: EngineOutput,
    conditioning: ConditioningVideos,
    request: RenderRequest,
    fps: float,
    clock: _PhaseClock,
) -> None:
    title = request.title or "FlexTraj"
    total = len(output.frames) + len(conditioning.ids) + len(conditioning.color)
    done = 0
    for path, frames, comment in (
        (staged.ids, conditioning.ids, "FlexTraj ID video"),
        (staged.color, conditioning.color, "FlexTraj colour cue"),
        (staged.video, output.frames, output.label),
    ):
        before = done
        write_video(
            path,
            frames,
            fps,
            on_frame=lambda count, before=before: clock.report("encoding", before + count, total),
            metadata={"title": title, "comment": comment},
        )
        done += len(frames)


def _sidecar(request: RenderRequest, trajectories: TrajectorySet, outcome: RenderOutcome) -> dict[str, Any]:
    meta = trajectories.meta
    return {
        "schema_version": SIDECAR_SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "title": request.title,
        "engine": request.engine,
        "seed": request.seed,
        "label": outcome.label,
        "warnings": list(outcome.warnings),
        "request": asdict(request),
        "inputs_sha256": {
            "trajectories": request.trajectories,
            "image": request.image,
            "mask": request.mask,
        },
        "fit": {
            "matrix": np.asarray(outcome.fit.matrix).tolist(),
            "iou": outcome.fit.iou,
            "pinned": _group_fits(outcome.fit),
        },
        "video": {
            "width": meta.width,
            "height": meta.height,
            "fps": meta.fps,
            "frames": outcome.frame_count,
        },
        "generation": outcome.record,
        "seconds": {phase: round(value, 3) for phase, value in outcome.seconds.items()},
        "versions": {
            "flextraj": package_version(),
            "protocol": PROTOCOL_VERSION,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "opencv": cv2.__version__,
        },
    }


def _group_fits(fit: MotionFit) -> list[dict[str, Any]]:
    return [{"group": group, "matrix": matrix.tolist()} for group, matrix in sorted(fit.pinned.items())]


@contextmanager
def _staging_folder(parent: Path) -> Iterator[Path]:
    """A folder beside the results, so that a rename completes them; gone afterwards whatever happens."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=".flextraj-", dir=parent))
    except OSError as error:
        raise _disk_error(parent, error) from error
    try:
        yield folder
    except OSError as error:
        raise _disk_error(parent, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _disk_error(folder: Path, error: OSError) -> FlexTrajError:
    return FlexTrajError(
        f"The results cannot be written to {folder} ({error.strerror or error}): "
        "check that the folder exists, is writable and has free space.",
        ErrorCode.DISK,
    )


@dataclass
class _PhaseClock:
    """Reports progress, times the phases and looks whether the job was cancelled."""

    report_progress: ReportProgress
    cancelled: IsCancelled
    seconds: dict[str, float] = field(default_factory=dict)

    def stop_if_cancelled(self) -> None:
        if self.cancelled():
            raise Cancelled

    def report(self, phase: str, step: int, steps: int) -> None:
        self.stop_if_cancelled()
        self.report_progress(Progress(phase, step, steps))

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self.report(name, 0, 1)
        with self.timed(name):
            yield
