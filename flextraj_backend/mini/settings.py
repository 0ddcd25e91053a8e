"""The mini model's configuration file: everything that decides what `flextraj mini` makes."""

from __future__ import annotations

import tomllib
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from blender_addon.core.errors import RequestError
from flextraj_backend.mini.autoencoder_settings import AutoencoderSettings, AutoencoderTraining
from flextraj_backend.mini.base_settings import BaseTraining, TransformerSettings
from flextraj_backend.synthesis.plan import SynthesisSettings
from flextraj_backend.synthesis.record_json import Record, from_json, to_json
from flextraj_backend.synthesis.scene import SceneOptions
from flextraj_backend.training.curriculum import load_curriculum
from flextraj_backend.training.train_settings import TrainPrecision

HELD_OUT = 16
"""Clips at the start of the set that autoencoder and base never see."""
BUNDLED = Path(__file__).with_name("mini.toml")
_SCENE_KEYS = ("width", "height", "frames", "fps")


@dataclass(frozen=True)
class ControlTraining:
    """The run of `flextraj train` that makes the mini's control; see `TrainSettings`."""

    curriculum: str
    rank: int
    steps: int
    batch: int
    learning_rate: float
    condition_variants: int
    ema: float = 0.998
    validation_clips: int = 32
    seed: int = 0


@dataclass(frozen=True)
class MiniSettings:
    """One size of the mini.

    Attributes:
        width, height, frames, fps: of its videos.
        precision: number format of the control's training; autoencoder and base are trained in bf16.
        threads: of the processor that the training uses.
        needs_gpu: True where a processor would take days.
        clip_count: synthetic clips, made with `clips`.
    """

    width: int
    height: int
    frames: int
    fps: float
    precision: TrainPrecision
    threads: int
    needs_gpu: bool
    clip_count: int
    clips: SynthesisSettings
    autoencoder: AutoencoderSettings
    autoencoder_training: AutoencoderTraining
    transformer: TransformerSettings
    base_training: BaseTraining
    control: ControlTraining


def read_settings(size: str, path: Path = BUNDLED) -> MiniSettings:
    """Read one size from a configuration file.

    Raises:
        RequestError: the file cannot be read, has no such size, or a key is missing, unknown or wrong.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RequestError(f"The configuration {path} cannot be read ({error}): mend the file.") from error
    if size not in document:
        known = ", ".join(f"'{name}'" for name in document)
        raise RequestError(f"{path.name} has no size '{size}': choose one of {known}.")
    try:
        return _settings(document[size])
    except (KeyError, TypeError, ValueError) as error:
        raise RequestError(f"The size '{size}' in {path} is not usable ({error}): mend the file.") from error


def _settings(table: dict[str, Any]) -> MiniSettings:
    table = dict(table)
    clips = dict(table.pop("clips"))
    count = clips.pop("count")
    plan = {key: clips.pop(key) for key in ("seed", "others", "pair_size")}
    scene = _read(SceneOptions, {**{key: table[key] for key in _SCENE_KEYS}, **clips})
    parts: dict[str, Any] = {
        "autoencoder": AutoencoderSettings,
        "autoencoder_training": AutoencoderTraining,
        "transformer": TransformerSettings,
        "base_training": BaseTraining,
        "control": ControlTraining,
    }
    read = {name: _read(kind, table.pop(name)) for name, kind in parts.items()}
    table["precision"] = TrainPrecision(table["precision"])
    settings = MiniSettings(clip_count=count, clips=SynthesisSettings(scene=scene, **plan), **read, **table)
    _check(settings)
    return settings


def _check(settings: MiniSettings) -> None:
    """Raises ValueError or RequestError for what would stop the run after hours."""
    load_curriculum(settings.control.curriculum)
    if settings.clip_count <= HELD_OUT:
        raise ValueError(f"clips.count must be larger than {HELD_OUT}, which are held out")
    if settings.autoencoder_training.frames > settings.frames:
        raise ValueError("autoencoder_training.frames must not be larger than frames")


def _read(kind: type[Record], values: dict[str, Any]) -> Record:
    """A dataclass from a table, strictly; what has a default may be left out."""
    defaults = {
        item.name: to_json(item.default)
        for item in fields(kind)  # pyright: ignore[reportArgumentType] (every kind here is a dataclass)
        if item.default is not MISSING
    }
    return from_json(kind, {**defaults, **values})
