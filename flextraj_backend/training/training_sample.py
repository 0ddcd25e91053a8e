"""One training sample: a video, what controls it, and every choice that was made for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blender_addon.core.conditioning import ColorCue, Coverage
from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.engines.base import ConditioningVideos
from flextraj_backend.synthesis.record_json import from_json, to_json
from flextraj_backend.training.tasks import BackgroundPoints, ControlTask


@dataclass(frozen=True)
class RandomPoints:
    """Keep this fraction of the points, at random."""

    fraction: float


@dataclass(frozen=True)
class RegionPoints:
    """Keep whole regions of every segment up to this fraction of its points."""

    region_fraction: float


@dataclass(frozen=True)
class SidewaysShift:
    """All tracks move by whole pixels to the right."""

    dx: int


@dataclass(frozen=True)
class SubjectScaling:
    """The subjects' tracks are scaled about track `reference`, frame by frame."""

    reference: int
    factor_x: float
    factor_y: float


@dataclass(frozen=True)
class OtherCharacter:
    """The tracks of the clip's `others[index]`.

    They are scaled about the middle of that character's bounding box on the first frame, which comes `dx`
    pixels right of and `dy` below the middle of that of the clip's own characters.
    """

    index: int
    scale: float
    dx: float
    dy: float


Thinning = RandomPoints | RegionPoints
Misalignment = SidewaysShift | SubjectScaling | OtherCharacter


@dataclass(frozen=True)
class SampleChoices:
    """Everything that was drawn for a sample; with the clip it gives the sample again.

    Attributes:
        task: what the model is asked.
        coverage: how points become pixels.
        color_cue: whose colours the colour video shows, or whether it is black.
        background: which background points stay.
        seed: of the choice of single points.
        thinning: which points stay; None = all.
        frames: indices of the kept frames, ascending; None = all.
        misalignment: how the tracks are out of line with the picture; None = they are not.
    """

    task: ControlTask
    coverage: Coverage
    color_cue: ColorCue
    background: BackgroundPoints
    seed: int
    thinning: Thinning | None = None
    frames: tuple[int, ...] | None = None
    misalignment: Misalignment | None = None

    def to_json(self) -> dict[str, Any]:
        """The choices as a JSON object."""
        return to_json(self)

    @staticmethod
    def from_json(value: Any) -> SampleChoices:
        """Read choices back. Raises FlexTrajError where the object is of another form."""
        try:
            return from_json(SampleChoices, value)
        except ValueError as error:
            raise FlexTrajError(
                f"The recorded choices of a sample cannot be read ({error}): use the record of this version.",
                ErrorCode.REQUEST,
            ) from error


@dataclass(frozen=True, eq=False)
class TrainingSample:
    """What the trainer learns from.

    Attributes:
        key: of the clip.
        video: (T, H, W, 3) uint8, what the model shall make.
        conditioning: the two videos that control it, of the same shape.
        prompt: with the prefix of unaligned control where the task is unaligned.
        choices: everything that was drawn.
    """

    key: str
    video: NDArray[np.uint8]
    conditioning: ConditioningVideos
    prompt: str
    choices: SampleChoices

    @property
    def task(self) -> ControlTask:
        return self.choices.task

    @property
    def first_frame(self) -> NDArray[np.uint8]:
        """The reference photo, (H, W, 3)."""
        return self.video[0]
