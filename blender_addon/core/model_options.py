"""How a diffusion engine runs: the part of a render request that draft engines do not read."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from .errors import RequestError

_LORA_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
MAX_STRENGTH = 2.0
MAX_LORAS = 8
MAX_WINDOW_OVERLAP = 48


class GuidanceSchedule(StrEnum):
    """How the guidance scale runs over the denoising steps."""

    AUTHORS = "authors"
    """As in the published runs: CogVideoX varies with the raw timestep, Wan is constant."""
    CONSTANT = "constant"
    RAMP = "ramp"
    """From 1 up to the guidance scale along a cosine, over the steps."""


class SchedulerChoice(StrEnum):
    """Which sampler runs the denoising."""

    AUTHORS = "authors"
    """CogVideoX: its own DPM sampler with trailing timesteps; Wan: flow-matching Euler, shift 5."""
    MODEL = "model"
    """The one that the base model's folder names."""


class ConditionTokens(StrEnum):
    """Which condition tokens are kept."""

    ALL = "all"
    OCCUPIED = "occupied"
    """Tokens that a trajectory touches, their neighbours, and a few that stand for all others: faster for
    sparse control, approximate."""


class CacheStorage(StrEnum):
    """Number format of the stored condition keys and values."""

    MODEL = "model"
    """As the transformer computes: exact."""
    BF16 = "bf16"
    FP8 = "fp8"


class CachePlace(StrEnum):
    """Where the condition keys and values wait between the steps."""

    AUTO = "auto"
    DEVICE = "device"
    HOST = "host"


class MemoryMode(StrEnum):
    """How weights share the GPU's memory, from fastest to smallest."""

    AUTO = "auto"
    """The first of the following that fits the free memory."""
    RESIDENT = "resident"
    MODEL_OFFLOAD = "model_offload"
    GROUP_OFFLOAD = "group_offload"
    FP8_WEIGHTS = "fp8_weights"
    """Group offload with 8-bit transformer weights."""
    FP8_TILED = "fp8_tiled"
    """The same, and the VAE works in tiles."""


class StepCache(StrEnum):
    """Reuse of what hardly changes between denoising steps: faster, approximate."""

    NONE = "none"
    FIRST_BLOCK = "first_block"
    MAG = "mag"
    PYRAMID = "pyramid"
    FASTER = "faster"
    TAYLOR = "taylor"


class CompileMode(StrEnum):
    """Whether the transformer's blocks are compiled before the first step."""

    NONE = "none"
    REGIONAL = "regional"


class AttentionBackend(StrEnum):
    """Which attention kernels run."""

    AUTO = "auto"
    NATIVE = "native"
    CUDNN = "cudnn"
    FLASH = "flash"
    FLASH_3 = "flash_3"
    SAGE = "sage"
    XFORMERS = "xformers"


@dataclass(frozen=True)
class LoraChoice:
    """A style or few-step LoRA on the main stream, beside the trajectory control.

    Attributes:
        name: file name without `.safetensors` in the weights folder's `loras`.
        scale: how strongly it acts, -4 to 4.
    """

    name: str
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or _LORA_NAME.fullmatch(self.name) is None:
            raise RequestError(
                "A LoRA's name must be letters, digits, '.', '_' and '-' (a file in the weights folder's "
                "'loras', without '.safetensors')."
            )
        if not _is_number(self.scale) or abs(self.scale) > 4:
            raise RequestError(f"The scale of LoRA '{self.name}' must be a number from -4 to 4.")


@dataclass(frozen=True)
class ModelOptions:
    """How a diffusion engine runs; the defaults give the authors' result.

    Attributes:
        strength: of the trajectory control: 0 is the base model, 1 as trained, up to 2.
        guidance_schedule, scheduler: how the denoising runs.
        condition_tokens: which condition tokens are kept.
        cache_storage, cache_place: how the condition keys and values are stored.
        memory: how weights share the GPU's memory.
        step_cache, compile, attention: accelerations.
        loras: further LoRAs, at most 8.
        window_overlap: frames that neighbouring windows of a long shot share, 1 to 48.
    """

    strength: float = 1.0
    guidance_schedule: GuidanceSchedule = GuidanceSchedule.AUTHORS
    scheduler: SchedulerChoice = SchedulerChoice.AUTHORS
    condition_tokens: ConditionTokens = ConditionTokens.ALL
    cache_storage: CacheStorage = CacheStorage.MODEL
    cache_place: CachePlace = CachePlace.AUTO
    memory: MemoryMode = MemoryMode.AUTO
    step_cache: StepCache = StepCache.NONE
    compile: CompileMode = CompileMode.NONE
    attention: AttentionBackend = AttentionBackend.AUTO
    loras: tuple[LoraChoice, ...] = ()
    window_overlap: int = 8

    def __post_init__(self) -> None:
        _check(self)

    @classmethod
    def from_dict(cls, values: Any) -> ModelOptions:
        """Read from parsed JSON. Raises RequestError on unknown or wrong settings."""
        if not isinstance(values, dict):
            raise RequestError("The setting 'model' must be a JSON object with model options.")
        unknown = sorted(set(values) - {item.name for item in fields(cls)})
        if unknown:
            raise RequestError(
                f"The request has an unknown model option '{unknown[0]}': drop it or update FlexTraj."
            )
        values = dict(values)
        for name, kind in _ENUMS.items():
            if name in values:
                try:
                    values[name] = kind(values[name])
                except ValueError:
                    raise RequestError(_enum_sentence(name, kind)) from None
        if "loras" in values:
            values["loras"] = _read_loras(values["loras"])
        return cls(**values)


_ENUMS: dict[str, type[StrEnum]] = {
    "guidance_schedule": GuidanceSchedule,
    "scheduler": SchedulerChoice,
    "condition_tokens": ConditionTokens,
    "cache_storage": CacheStorage,
    "cache_place": CachePlace,
    "memory": MemoryMode,
    "step_cache": StepCache,
    "compile": CompileMode,
    "attention": AttentionBackend,
}


def _enum_sentence(name: str, kind: type[StrEnum]) -> str:
    choices = ", ".join(f"'{item}'" for item in kind)
    return f"The model option '{name}' must be one of {choices}."


def _read_loras(values: Any) -> tuple[LoraChoice, ...]:
    sentence = "The model option 'loras' must be a list of objects with 'name' and 'scale'."
    if not isinstance(values, (list, tuple)):
        raise RequestError(sentence)
    for item in values:
        if not isinstance(item, dict) or not {"name"} <= item.keys() <= {"name", "scale"}:
            raise RequestError(sentence)
    return tuple(LoraChoice(**item) for item in values)


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number beyond floating point
        return False


def _check(options: ModelOptions) -> None:
    if not _is_number(options.strength) or not 0 <= options.strength <= MAX_STRENGTH:
        raise RequestError(f"The control strength must be a number from 0 to {MAX_STRENGTH:g}.")
    for name, kind in _ENUMS.items():
        if not isinstance(getattr(options, name), kind):
            raise RequestError(_enum_sentence(name, kind))
    loras = options.loras
    if not isinstance(loras, tuple) or not all(isinstance(item, LoraChoice) for item in loras):
        raise RequestError("The model option 'loras' must be a tuple of LoraChoice.")
    if len(loras) > MAX_LORAS or len({item.name for item in loras}) != len(loras):
        raise RequestError(f"Choose at most {MAX_LORAS} LoRAs, each of them once.")
    if type(options.window_overlap) is not int or not 1 <= options.window_overlap <= MAX_WINDOW_OVERLAP:
        raise RequestError(
            f"The overlap of windows must be a whole number of frames from 1 to {MAX_WINDOW_OVERLAP}."
        )
