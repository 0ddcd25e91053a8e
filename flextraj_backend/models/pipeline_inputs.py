"""What a pipeline is called with, and checks of it before anything is computed.

Every check raises RequestError with one sentence: what is wrong and what to do.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from numpy.typing import NDArray
from PIL import Image

from blender_addon.core.errors import ErrorCode, RequestError
from blender_addon.core.model_options import MAX_STRENGTH, ConditionTokens
from flextraj_backend.models.backbone import Backbone, TokenGrid
from flextraj_backend.models.condition_cache import ConditionCache

MAX_STEPS = 1000
OUTPUT_TYPES = ("np", "pil", "pt", "latent")

Video = NDArray[np.uint8]
"""(T, H, W, 3) uint8 RGB; a colour video that is off is black."""

StepCallback = Callable[[Any, int, torch.Tensor, dict[str, Any]], Mapping[str, Any]]
"""diffusers' `callback_on_step_end(pipeline, step, timestep, tensors)`; returns the tensors to go on with.
An exception in it ends the run: this is how a job is cancelled between two steps."""

AnyStepCallback = StepCallback | PipelineCallback | MultiPipelineCallbacks


class ConditionReuse(StrEnum):
    """How often the condition stream is computed."""

    CACHED = "cached"
    """Once; its keys and values serve every step. Exact."""
    EVERY_STEP = "every_step"
    """In every step beside the main stream: slow, the reference that the cache is compared with."""


@dataclass(frozen=True)
class ClipShape:
    """What is generated: frames and pixels."""

    frames: int
    height: int
    width: int

    @classmethod
    def of(cls, video: Video) -> ClipShape:
        return cls(*video.shape[:3])

    @classmethod
    def of_grid(cls, grid: TokenGrid, side_multiple: int, frame_step: int) -> ClipShape:
        """The clip whose tokens, of `side_multiple` pixels and `frame_step` frames, make this grid."""
        frames = (grid.frames - 1) * frame_step + 1
        return cls(frames, grid.height * side_multiple, grid.width * side_multiple)

    def grid(self, side_multiple: int, frame_step: int) -> TokenGrid:
        """The tokens of one stream, each of `side_multiple` pixels and, after a first frame, `frame_step`."""
        frames = (self.frames - 1) // frame_step + 1
        return TokenGrid(frames, self.height // side_multiple, self.width // side_multiple)


@dataclass(frozen=True, eq=False)
class Texts:
    """Embedded prompts, (1, tokens, C) each; `negative` is None without guidance."""

    prompt: torch.Tensor
    negative: torch.Tensor | None


@dataclass(frozen=True, eq=False)
class ConditionCaches:
    """The encoded condition for both guidance halves.

    Attributes:
        prompt: cache of the half with the prompt.
        negative: cache of the half with the negative prompt, None if made without guidance. CogVideoX's
            condition does not read the text, so that there it is the same object, for every prompt.
        prompt_digest, negative_digest: `digest` of the texts that Wan's condition has read; empty on
            CogVideoX, and without guidance.
    """

    prompt: ConditionCache
    negative: ConditionCache | None
    prompt_digest: str = ""
    negative_digest: str = ""

    @property
    def nbytes(self) -> int:
        """Memory that the caches take; what both halves share counts once."""
        caches = {id(cache): cache for cache in (self.prompt, self.negative) if cache is not None}
        return sum(cache.nbytes for cache in caches.values())


def digest(text: torch.Tensor | None) -> str:
    """A short name of an embedded prompt; empty for none."""
    return "" if text is None else hashlib.sha256(text.float().cpu().numpy().tobytes()).hexdigest()


def check_photo(image: Any) -> None:
    """A Pillow image or (H, W, 3) uint8."""
    if isinstance(image, Image.Image):
        return
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape[2:] != (3,):
        raise RequestError(
            "The photo must be a Pillow image or an (H, W, 3) array of uint8.", ErrorCode.IMAGE
        )


def check_prompts(prompt: Any, negative_prompt: Any, texts: Texts | None, guidance_scale: float) -> None:
    """Prompts in words or embedded, not both."""
    if texts is None:
        if not isinstance(prompt, str):
            raise RequestError("The prompt must be one text: give prompt, or texts of encode_prompts.")
        if not isinstance(negative_prompt, str | None):
            raise RequestError("The negative prompt must be one text, or None for the authors' one.")
    elif prompt is not None or negative_prompt is not None:
        raise RequestError("Give the prompts in words or as texts of encode_prompts, not both.")
    elif (texts.negative is None) != (guidance_scale <= 1):
        raise RequestError(
            "The texts were embedded for another guidance scale (a negative prompt goes with guidance above "
            "1): embed them again."
        )


def check_sampling(
    num_inference_steps: Any, guidance_scale: Any, strength: Any, generator: Any, output_type: Any
) -> None:
    """Numbers within their ranges, and a generator."""
    if type(num_inference_steps) is not int or not 1 <= num_inference_steps <= MAX_STEPS:
        raise RequestError(f"The number of steps must be a whole number from 1 to {MAX_STEPS}.")
    if not _is_number(guidance_scale) or guidance_scale < 0:
        raise RequestError("The guidance scale must be a number, 0 or more; up to 1 there is no guidance.")
    if not _is_number(strength) or not 0 <= strength <= MAX_STRENGTH:
        raise RequestError(f"The control strength must be a number from 0 to {MAX_STRENGTH:g}.")
    if not isinstance(generator, torch.Generator):
        raise RequestError("A generator for the noise is needed: give seeded_generator(seed).")
    if output_type not in OUTPUT_TYPES:
        raise RequestError(f"The output type must be one of {', '.join(OUTPUT_TYPES)}.")


def check_callback(callback: AnyStepCallback | None, names: Sequence[str], known: Collection[str]) -> None:
    """A step callback asks only for tensors that may change between the steps."""
    if isinstance(callback, (PipelineCallback, MultiPipelineCallbacks)):
        names = callback.tensor_inputs
    unknown = [name for name in names if name not in known]
    if unknown:
        raise RequestError(
            f"A step callback cannot have the tensor '{unknown[0]}': it can have {', '.join(known)}."
        )


def check_videos(id_video: Any, color_video: Any) -> ClipShape:
    """Two (T, H, W, 3) uint8 videos of one shape; returns it."""
    for name, video in (("ID", id_video), ("colour", color_video)):
        if video is None:
            raise RequestError(
                "Both conditioning videos are needed, the colour video all black where it is off: give "
                "id_video and color_video, or an encoded condition.",
                ErrorCode.VIDEO,
            )
        if not isinstance(video, np.ndarray) or video.dtype != np.uint8 or video.shape[3:] != (3,):
            raise RequestError(f"The {name} video must be a (T, H, W, 3) array of uint8.", ErrorCode.VIDEO)
    if id_video.shape != color_video.shape:
        raise RequestError(
            f"The ID video {_text(id_video)} and the colour video {_text(color_video)} differ in shape: make "
            "both of the same trajectories.",
            ErrorCode.VIDEO,
        )
    return ClipShape.of(id_video)


def check_encoded_condition(
    condition: ConditionCaches, id_video: Any, color_video: Any, backbone: Backbone, guidance_scale: float
) -> None:
    """An encoded condition instead of videos, of this backbone, for both halves where there is guidance."""
    if id_video is not None or color_video is not None:
        raise RequestError("Give the two conditioning videos or their encoded condition, not both.")
    if condition.prompt.backbone is not backbone:
        raise RequestError(
            f"The condition was encoded for {condition.prompt.backbone}, not for {backbone}: encode it again."
        )
    if guidance_scale > 1 and condition.negative is None:
        raise RequestError(
            "The condition was encoded without the negative prompt that guidance needs: encode it with "
            "guidance above 1."
        )


def check_texts_of_condition(condition: ConditionCaches, texts: Texts) -> None:
    """On Wan, whose condition reads the prompts, it must have read those of this run."""
    if not condition.prompt_digest:
        return
    same = condition.prompt_digest == digest(texts.prompt)
    if not same or (texts.negative is not None and condition.negative_digest != digest(texts.negative)):
        raise RequestError(
            "The condition was encoded with other prompts than this run's, and on Wan it depends on them: "
            "encode it again."
        )


def check_reference(
    condition: ConditionCaches | None, strength: float, condition_tokens: ConditionTokens
) -> None:
    """What the uncached reference can do: all tokens, as trained."""
    if condition is not None or strength not in (0, 1) or condition_tokens is not ConditionTokens.ALL:
        raise RequestError(
            "A condition that is computed in every step needs the two videos, all condition tokens and "
            "control strength 1: use the cached condition for anything else."
        )


def check_clip(shape: ClipShape, side_multiple: int, frame_step: int) -> None:
    """More frames than one, as many as the latents stand for, and sides that the tokens divide."""
    if shape.frames <= 1 or (shape.frames - 1) % frame_step:
        counts = f"{frame_step}k + 1 frames and " if frame_step > 1 else ""
        raise RequestError(
            f"A clip of {shape.frames} frames cannot be made: use {counts}at least {frame_step + 1}"
            f"{', such as 49' if counts else ' frames'}.",
            ErrorCode.FRAME_RANGE,
        )
    if min(shape.height, shape.width) < side_multiple or (
        shape.height % side_multiple or shape.width % side_multiple
    ):
        raise RequestError(
            f"A clip of {shape.width}x{shape.height} px cannot be made: both sides must be multiples of "
            f"{side_multiple} px.",
            ErrorCode.ENGINE,
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _text(video: Video) -> str:
    return "x".join(str(size) for size in video.shape)
