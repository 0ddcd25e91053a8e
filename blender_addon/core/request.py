"""All that a render job needs to know, in one frozen message of add-on, command line and server."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from itertools import pairwise
from typing import Any

from .errors import ErrorCode, RequestError
from .model_options import ModelOptions
from .trajectories import MAX_FRAMES
from .version import PROTOCOL_VERSION

_SHA256 = re.compile(r"[0-9a-f]{64}")
_ENGINE = re.compile(r"[a-z][a-z0-9_]{0,31}")
MAX_PROMPT = 20_000
MAX_PINS = 256
_MAX_IDS = 1 << 16
_FARTHEST_PIN = 1e6


class FitMode(StrEnum):
    """How the motion is placed on the photo."""

    NONE = "none"
    """As projected by the scene's camera."""
    AUTO = "auto"
    """Identity where rig and photo are aligned, otherwise the bounding-box similarity of rig and subject."""
    GIVEN = "given"
    """`fit_matrix` is used."""


@dataclass(frozen=True)
class FitPin:
    """A sampled point and the place of the photo where it belongs on the first frame.

    The pins of segments that share a group move that group alone: one pin shifts it, several turn and scale
    it, too.

    Attributes:
        segment: `Segment.id` of the point's segment.
        point: its TrajID.
        x, y: pixels of the photo as it is cropped to the set's raster; may lie outside of it.

    Raises:
        RequestError: a number is out of range.
    """

    segment: int
    point: int
    x: float
    y: float

    def __post_init__(self) -> None:
        for name in ("segment", "point"):
            value = getattr(self, name)
            if type(value) is not int or not 0 <= value < _MAX_IDS:
                raise RequestError(f"A pin's '{name}' must be a whole number from 0 to {_MAX_IDS - 1}.")
        for name in ("x", "y"):
            value = getattr(self, name)
            if not (_is_number(value) and abs(value) <= _FARTHEST_PIN):
                raise RequestError(f"A pin's '{name}' must be a number of pixels near the photo.")

    @classmethod
    def from_dict(cls, values: Any) -> FitPin:
        """Read a pin. Raises RequestError on unknown, missing or wrong settings."""
        if not isinstance(values, dict) or set(values) != {item.name for item in fields(cls)}:
            raise RequestError("A pin must be a JSON object with 'segment', 'point', 'x' and 'y'.")
        return cls(**values)


@dataclass(frozen=True)
class RenderRequest:
    """One render job. Assets are named by the SHA-256 of their bytes.

    Attributes:
        trajectories: hash of a trajectory set (.npz, schema 1).
        image: hash of the reference photo.
        mask: hash of the user's subject mask (an image; white = subject), or None.
        engine: name of the engine.
        prompt, negative_prompt: text for engines that read it.
        seed: same request and seed, same video.
        steps: denoising steps, None = the engine's default.
        guidance_scale: classifier-free guidance, None = the engine's default.
        fit: how the motion is placed on the photo.
        fit_matrix: with FitMode.GIVEN, 2x3 affine from rig pixels to photo pixels, row-major.
        mirror: swap left and right of the motion, about the middle of the raster, before it is placed.
        pins: points of the rig that were put in their place by hand; their groups leave the fit.
        keep_points: fraction of points kept (spatial sparsity), 0 < f <= 1.
        keep_frames: fraction of frames kept (temporal sparsity), 0 < f <= 1.
        kept_frames: the frames kept, as ascending indices of the set's frames; None = by `keep_frames`, which
            is 1 where they are given.
        surface: dense ID video in which every covered pixel carries the ID of its surface point.
        color_cue: paint the colour video from the set's colours; otherwise it is black.
        photo_colors: with a colour cue, take its colours from the photo, where that shows the points on the
            first frame.
        model: how a diffusion engine runs; draft engines do not read it.
        title: shown in the job list.
        protocol: version of this message.
    """

    trajectories: str
    image: str
    mask: str | None = None
    engine: str = "preview"
    prompt: str = ""
    negative_prompt: str = ""
    seed: int = 0
    steps: int | None = None
    guidance_scale: float | None = None
    fit: FitMode = FitMode.AUTO
    fit_matrix: tuple[float, float, float, float, float, float] | None = None
    mirror: bool = False
    pins: tuple[FitPin, ...] = ()
    keep_points: float = 1.0
    keep_frames: float = 1.0
    kept_frames: tuple[int, ...] | None = None
    surface: bool = False
    color_cue: bool = False
    photo_colors: bool = False
    model: ModelOptions = field(default_factory=ModelOptions)
    title: str = ""
    protocol: int = PROTOCOL_VERSION

    def __post_init__(self) -> None:
        _check(self)

    def to_json(self) -> str:
        """Return the request as JSON text with sorted keys."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> RenderRequest:
        """Read a request. Raises RequestError on unknown or wrong settings."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise RequestError(f"The request is not valid JSON: {error}.") from error
        return cls.from_dict(values)

    @classmethod
    def from_dict(cls, values: Any) -> RenderRequest:
        """Like `from_json`, from the parsed object."""
        if not isinstance(values, dict):
            raise RequestError("The request must be a JSON object with the settings of a render job.")
        known = {item.name for item in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise RequestError(
                f"The request has an unknown setting '{unknown[0]}': drop it or update FlexTraj."
            )
        missing = [name for name in ("trajectories", "image") if name not in values]
        if missing:
            raise RequestError(f"The request lacks '{missing[0]}': send that asset's SHA-256.")
        values = dict(values)
        if "fit" in values:
            try:
                values["fit"] = FitMode(values["fit"])
            except ValueError:
                raise RequestError("The setting 'fit' must be 'none', 'auto' or 'given'.") from None
        if "model" in values:
            values["model"] = ModelOptions.from_dict(values["model"])
        for name in ("fit_matrix", "kept_frames"):
            if isinstance(values.get(name), list):
                values[name] = tuple(values[name])
        if isinstance(values.get("pins"), (list, tuple)):
            values["pins"] = tuple(map(FitPin.from_dict, values["pins"]))
        return cls(**values)


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number beyond floating point
        return False


def _is_text(value: Any) -> bool:
    """Whether a value is text that can be stored: no lone surrogates."""
    try:
        return isinstance(value, str) and len(value) <= MAX_PROMPT and value.encode() is not None
    except UnicodeEncodeError:
        return False


def _check(request: RenderRequest) -> None:
    def must(condition: bool, sentence: str) -> None:
        if not condition:
            raise RequestError(sentence)

    if request.protocol != PROTOCOL_VERSION:
        raise RequestError(
            f"The request speaks protocol {request.protocol}, this FlexTraj speaks {PROTOCOL_VERSION}: "
            "update the add-on and the backend to the same version.",
            ErrorCode.BACKEND_VERSION,
        )
    for name in ("trajectories", "image", "mask"):
        value = getattr(request, name)
        if name == "mask" and value is None:
            continue
        must(
            isinstance(value, str) and _SHA256.fullmatch(value) is not None,
            f"The setting '{name}' must be the SHA-256 of an uploaded asset (64 hexadecimal digits).",
        )
    must(
        isinstance(request.engine, str) and _ENGINE.fullmatch(request.engine) is not None,
        "The setting 'engine' must be an engine's name, such as 'preview'.",
    )
    for name in ("prompt", "negative_prompt", "title"):
        value = getattr(request, name)
        must(
            _is_text(value),
            f"The setting '{name}' must be Unicode text of at most {MAX_PROMPT} characters.",
        )
    must(
        type(request.seed) is int and 0 <= request.seed < 2**63,
        "The setting 'seed' must be a whole number from 0 to 2^63-1.",
    )
    must(
        request.steps is None or (type(request.steps) is int and 1 <= request.steps <= 1000),
        "The setting 'steps' must be a whole number from 1 to 1000.",
    )
    must(
        request.guidance_scale is None
        or (_is_number(request.guidance_scale) and 0 <= request.guidance_scale <= 100),
        "The setting 'guidance_scale' must be a number from 0 to 100.",
    )
    for name in ("keep_points", "keep_frames"):
        value = getattr(request, name)
        must(_is_number(value) and 0 < value <= 1, f"The setting '{name}' must be above 0 and at most 1.")
    _check_kept_frames(request.kept_frames, request.keep_frames)
    for name in ("mirror", "surface", "color_cue", "photo_colors"):
        must(isinstance(getattr(request, name), bool), f"The setting '{name}' must be true or false.")
    must(
        request.color_cue or not request.photo_colors,
        "The photo's colours are asked for without a colour cue: set 'color_cue' or drop 'photo_colors'.",
    )
    must(
        isinstance(request.model, ModelOptions),
        "The setting 'model' must be a JSON object with model options.",
    )
    _check_pins(request.pins)
    must(isinstance(request.fit, FitMode), "The setting 'fit' must be 'none', 'auto' or 'given'.")
    matrix = request.fit_matrix
    if request.fit is FitMode.GIVEN:
        must(
            isinstance(matrix, tuple) and len(matrix) == 6 and all(map(_is_number, matrix)),
            "The fit matrix must be six finite numbers: a 2x3 affine from rig pixels to photo pixels.",
        )
        assert matrix is not None
        determinant = matrix[0] * matrix[4] - matrix[1] * matrix[3]
        must(abs(determinant) > 1e-9, "The fit matrix cannot be inverted: its scale must not be zero.")
    else:
        must(
            matrix is None,
            "A fit matrix goes with fit 'given': set fit to 'given' or drop the matrix.",
        )


def _check_kept_frames(kept: Any, fraction: float) -> None:
    if kept is None:
        return
    if not isinstance(kept, tuple) or not all(
        type(index) is int and 0 <= index < MAX_FRAMES for index in kept
    ):
        raise RequestError(
            f"The setting 'kept_frames' must be a list of whole numbers from 0 to {MAX_FRAMES - 1}."
        )
    if not kept or any(after <= before for before, after in pairwise(kept)):
        raise RequestError("The kept frames must be at least one, in ascending order and each of them once.")
    if fraction != 1:
        raise RequestError(
            "The kept frames are given one by one and as a fraction: drop 'kept_frames' or 'keep_frames'."
        )


def _check_pins(pins: Any) -> None:
    if not isinstance(pins, tuple) or not all(isinstance(pin, FitPin) for pin in pins):
        raise RequestError("The setting 'pins' must be a list of pins.")
    if len(pins) > MAX_PINS:
        raise RequestError(f"There are {len(pins)} pins, at most {MAX_PINS} are possible: remove some.")
    if len({(pin.segment, pin.point) for pin in pins}) < len(pins):
        raise RequestError("Two pins hold the same point: remove one of them.")
