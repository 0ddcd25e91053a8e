"""What a training run is asked for: one frozen message, from the command line or a TOML file."""

from __future__ import annotations

import json
import math
import tomllib
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, get_type_hints

from blender_addon.core.errors import ErrorCode, RequestError
from flextraj_backend.atomic_file import write_text
from flextraj_backend.training.tasks import IdAblation


class TrainPrecision(StrEnum):
    """What the transformer computes in; what is trained is always kept in float32."""

    BF16 = "bf16"
    FP32 = "fp32"
    FP16 = "fp16"


class Injection(StrEnum):
    """How the condition reaches the base model."""

    CONCAT = "concat"
    """The two-stream injection: LoRA and fuse layer are trained."""
    CONTROLNET = "controlnet"
    """The ControlNet-style alternative: copies of the first blocks are trained."""


class FuseStart(StrEnum):
    """What the colour video adds to the condition tokens before the first step."""

    ZERO = "zero"
    """Nothing, as the authors'."""
    IDENTITY = "identity"
    """Its own tokens: for a base model that was pretrained in context, as the mini's is, and reads a second
    video over the first without being taught. From zero a layer takes a thousand steps to get there."""


class OptimizerKind(StrEnum):
    """The update rule."""

    ADAMW = "adamw"
    ADAM = "adam"
    """Weight decay joins the gradient, as in the authors' CogVideoX settings."""


class LearningRateSchedule(StrEnum):
    """The learning rate after the warm-up."""

    CONSTANT = "constant"
    COSINE = "cosine"
    """Falls to zero over the whole run, on top of the stages' own rates: the last stage learns least."""


@dataclass(frozen=True)
class TrainSettings:
    """Everything that decides what a run computes, and where it writes.

    Attributes:
        base: engine whose base model is installed, or a folder in diffusers' layout.
        data: dataset folder of 'flextraj synthesize'.
        run: folder of the run.
        curriculum: name of a bundled curriculum, or a TOML file.
        rank, alpha: of the LoRA; alpha None: equal to the rank, so that it is scaled by 1.
        fuse_start: of the fuse layer, which either injection has.
        control_blocks: copied blocks of the ControlNet-style injection; None: its usual share.
        batch: samples of one process in one forward; accumulate: forwards of one step.
        steps: of the whole run; None: as the curriculum says, otherwise its stages are scaled to fit.
        learning_rate: the largest of the stages', the others keep their ratio to it; None: as the curriculum
            says.
        warmup: steps until the learning rate is reached, beside the curriculum's own warm-ups.
        betas: of the optimizer; weight_decay None: the backbone's (1e-4 CogVideoX, 0.01 Wan).
        clip: largest norm of the gradient.
        ema: decay of the trained parameters' moving average; 0: none is kept.
        image_noise: whether CogVideoX's photo gets noise of std exp(N(-3, 0.5)), as the authors'.
        image_dropout: probability that a step sees no photo (CogVideoX).
        condition_variants: choices that are drawn for each clip and mixture, whose encoded conditions are
            cached; 0: fresh choices every time.
        encode_batch: videos that the VAE encodes together.
        cache: folder of the encoded videos; None: inside the dataset's folder.
        cache_limit_gb: the cache stops growing there.
        loaders: threads that read clips and draw conditioning videos ahead.
        validation_clips: clips held out of the training; validate_every, sample_every, checkpoint_every: in
            steps, 0: never.
        sample_clips: held-out clips that are sampled for each of four tasks; sample_steps: denoising steps.
        keep_checkpoints: how many of the last ones stay, beside the best.
        resume: go on from the run's last checkpoint.
    """

    base: str
    data: Path
    run: Path
    curriculum: str = "annealing"
    rank: int = 64
    alpha: float | None = None
    injection: Injection = Injection.CONCAT
    fuse_start: FuseStart = FuseStart.ZERO
    control_blocks: int | None = None
    ablation: IdAblation = IdAblation.NONE
    batch: int = 4
    accumulate: int = 1
    steps: int | None = None
    learning_rate: float | None = None
    schedule: LearningRateSchedule = LearningRateSchedule.CONSTANT
    warmup: int = 0
    optimizer: OptimizerKind = OptimizerKind.ADAMW
    beta1: float = 0.9
    beta2: float = 0.95
    weight_decay: float | None = None
    clip: float = 1.0
    ema: float = 0.0
    precision: TrainPrecision = TrainPrecision.BF16
    gradient_checkpointing: bool = False
    image_noise: bool = True
    image_dropout: float = 0.05
    condition_variants: int = 0
    encode_batch: int = 4
    cache: Path | None = None
    cache_limit_gb: float = 50.0
    loaders: int = 1
    validation_clips: int = 8
    validate_every: int = 500
    sample_every: int = 0
    sample_clips: int = 2
    sample_steps: int = 20
    checkpoint_every: int = 500
    keep_checkpoints: int = 2
    seed: int = 0
    resume: bool = False

    def __post_init__(self) -> None:
        for name, smallest in _SMALLEST.items():
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= smallest):
                raise RequestError(
                    f"The training setting '{name}' is {value:g}: give a number from {smallest:g}."
                )
        for name in ("ema", "image_dropout", "beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise RequestError(
                    f"The training setting '{name}' is {getattr(self, name):g}: give 0 or more, but below 1."
                )
        if self.learning_rate == 0 or self.alpha == 0 or self.clip == 0:
            raise RequestError("The learning rate, alpha and the gradient's clip must be above 0.")

    @property
    def cache_folder(self) -> Path:
        return self.data / "latents" if self.cache is None else self.cache


_SMALLEST: dict[str, float] = {
    "rank": 1,
    "alpha": 0,
    "control_blocks": 1,
    "batch": 1,
    "accumulate": 1,
    "steps": 1,
    "learning_rate": 0,
    "warmup": 0,
    "weight_decay": 0,
    "clip": 0,
    "condition_variants": 0,
    "encode_batch": 1,
    "cache_limit_gb": 0,
    "loaders": 0,
    "validation_clips": 0,
    "validate_every": 0,
    "sample_every": 0,
    "sample_clips": 1,
    "sample_steps": 1,
    "checkpoint_every": 0,
    "keep_checkpoints": 1,
    "seed": 0,
}

CHANGEABLE = frozenset(
    (
        *("run", "data", "cache", "cache_limit_gb", "loaders", "resume"),
        *("checkpoint_every", "keep_checkpoints", "sample_every", "sample_clips", "sample_steps"),
    )
)
"""Settings that a resumed run may change: they decide nothing about the steps' losses."""


def read_settings(path: Path) -> dict[str, Any]:
    """Read a run's TOML file; each value has the type that `TrainSettings` wants.

    Raises:
        RequestError: it cannot be read, or a setting is unknown or of the wrong kind.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RequestError(f"{path} cannot be opened ({error.strerror}): check the path.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"{path} is no TOML file ({error}): correct it.") from error
    return settings_values(values, str(path))


def settings_values(values: dict[str, Any], source: str) -> dict[str, Any]:
    """Check names and kinds of settings, and convert plain values to enums and paths. Raises RequestError."""
    kinds = get_type_hints(TrainSettings)
    converted = {}
    for name, value in values.items():
        if name not in kinds:
            raise RequestError(
                f"{source} has the unknown training setting '{name}': see 'flextraj train --help'."
            )
        converted[name] = _converted(name, value, kinds[name], source)
    return converted


def write_settings(settings: TrainSettings, path: Path) -> Path:
    """Write settings as TOML; left out are None and `resume`, which is the next call's."""
    lines = []
    for field in fields(settings):
        value = getattr(settings, field.name)
        if value is not None and field.name != "resume":
            plain = str(value) if isinstance(value, (Path, StrEnum)) else value
            lines.append(f"{field.name} = {json.dumps(plain, ensure_ascii=False)}")
    return write_text(path, "\n".join(lines) + "\n")


def _converted(name: str, value: Any, kind: Any, source: str) -> Any:
    kinds = [part for part in getattr(kind, "__args__", (kind,)) if part is not type(None)]
    wanted = kinds[0]
    if isinstance(value, wanted) and isinstance(value, bool) == (wanted is bool):
        return value
    if wanted is float and type(value) is int:
        return float(value)
    if isinstance(value, str) and issubclass(wanted, (StrEnum, Path)):
        try:
            return wanted(value)
        except ValueError as error:
            raise RequestError(f"{source}: {error}; the setting is '{name}'.") from error
    raise RequestError(
        f"{source} has '{name}' = {value!r}: a value of type {wanted.__name__} is expected.",
        ErrorCode.REQUEST,
    )
