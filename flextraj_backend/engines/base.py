"""The one interface of all engines and the messages that pass through it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.request import RenderRequest
from blender_addon.core.trajectories import TrajectorySet


class EngineError(FlexTrajError):
    """An engine cannot render a request; the sentence says what to change."""

    def __init__(self, message: str, code: ErrorCode = ErrorCode.ENGINE) -> None:
        super().__init__(message, code)


class Cancelled(Exception):
    """Raised inside an engine after `cancelled()` returned True."""


@dataclass(frozen=True)
class Availability:
    """Whether an engine can run here.

    Attributes:
        reason: where it cannot, one sentence that says why and what to do; a command to run stands in it as
            run '...'.
        code: kind of the reason, such as ErrorCode.WEIGHTS; a panel picks its fix button by it.
    """

    available: bool
    reason: str = ""
    code: ErrorCode = ErrorCode.ENGINE


@dataclass(frozen=True)
class Limits:
    """What an engine can make.

    Attributes:
        min_frames, max_frames, frame_step, frame_offset: frame counts are `frame_step * k + frame_offset`
            within the range.
        side_multiple, max_side: width and height are multiples of the first, at most the second, in pixels.
        fixed_width, fixed_height: the one size that can be made, in pixels; 0 where the size is free.
    """

    min_frames: int
    max_frames: int
    frame_step: int = 1
    frame_offset: int = 0
    side_multiple: int = 2
    max_side: int = 4096
    fixed_width: int = 0
    fixed_height: int = 0


@dataclass(frozen=True)
class Estimate:
    """What a job will take.

    Attributes:
        seconds: wall time on this machine.
        memory_bytes: peak main memory.
        vram_bytes: peak GPU memory, 0 without a GPU.
        note: one sentence to show with the figures, may be empty.
    """

    seconds: float
    memory_bytes: int
    vram_bytes: int = 0
    note: str = ""


@dataclass(frozen=True)
class Progress:
    """Where a job stands: `step` of `steps` within a phase such as 'fitting', 'rendering', 'encoding'."""

    phase: str
    step: int = 0
    steps: int = 1


@dataclass(frozen=True, eq=False)
class ConditioningVideos:
    """The two videos that tell a model where points go: (T, H, W, 3) uint8 each; color may be all black."""

    ids: NDArray[np.uint8]
    color: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class EngineInputs:
    """What an engine gets.

    Attributes:
        request: the job.
        trajectories: as sampled, at the output's raster, before any fit.
        photo: (H, W, 3) uint8 RGB, already cover-cropped to the raster.
        mask: (H, W) bool subject mask of the photo from the user, or None.
        fit: (2, 3) float64 affine from rig pixels to photo pixels; identity where rig and photo are aligned.
        subject_mask: (H, W) bool, the mask the fit was made with, or None.
        conditioning: the two videos of the fitted, sparsified trajectories.
    """

    request: RenderRequest
    trajectories: TrajectorySet
    photo: NDArray[np.uint8]
    fit: NDArray[np.float64]
    conditioning: ConditioningVideos
    mask: NDArray[np.bool_] | None = None
    subject_mask: NDArray[np.bool_] | None = None


@dataclass(frozen=True, eq=False)
class EngineOutput:
    """What an engine returns.

    Attributes:
        frames: (T, H, W, 3) uint8 RGB.
        label: what to call the video to be honest, such as 'motion draft'; empty for a final.
        warnings: sentences for the user, in the sidecar and the panel.
        record: how the engine made it, as JSON values, for the sidecar.
    """

    frames: NDArray[np.uint8]
    label: str = ""
    warnings: tuple[str, ...] = field(default=())
    record: dict[str, Any] = field(default_factory=dict)


ReportProgress = Callable[[Progress], None]
IsCancelled = Callable[[], bool]


class Engine(Protocol):
    """One way to turn trajectories and a photo into a video. Same inputs, same seed: same video."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def reads(self) -> frozenset[str]:
        """Names of the request's settings that the video depends on, beside its assets and the fit."""
        ...

    def availability(self) -> Availability: ...

    def limits(self) -> Limits: ...

    def prepare(self, request: RenderRequest, trajectories: TrajectorySet) -> Estimate:
        """Check that the job can be made and estimate it. Raises EngineError."""
        ...

    def render(
        self, inputs: EngineInputs, report_progress: ReportProgress, cancelled: IsCancelled
    ) -> EngineOutput:
        """Render. Raises EngineError, or Cancelled soon after `cancelled()` turned True."""
        ...
