"""What a study is asked for: one frozen message, from the command line or a TOML file."""

from __future__ import annotations

import tomllib
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from blender_addon.core.errors import RequestError
from flextraj_backend.study.variants import Variant, variant_settings
from flextraj_backend.synthesis.record_json import from_json, to_json
from flextraj_backend.training.train_settings import (
    FuseStart,
    LearningRateSchedule,
    TrainPrecision,
    TrainSettings,
)

RUNS, CLIPS, HELD_OUT_CLIPS = "runs", "clips", "held_out"
_PATHS = ("output", "data", "held_out_data", "cache")
_CHECKS_OF_A_RUN = 10
"""Validations and checkpoints of a run."""


_SMALLEST = {"clips": 4, "held_out": 2, "sample_steps": 1, "sample_seed": 0, "shown": 1}


@dataclass(frozen=True)
class StudySettings:
    """A study. All variants get the same steps, batch, learning rate, clips and seeds.

    Attributes:
        output: folder of the study; one that was interrupted goes on.
        base: folder of the base model in diffusers' layout, or an engine whose weights are installed.
        data: dataset to train on; "": made in the study's folder, `clips` clips of the base model's size.
        clips: of a dataset that is made.
        held_out_data: dataset to measure on; "": made in the study's folder as `data` was, of characters and
            motions of its own.
        held_out: clips that are measured.
        variants: what is compared.
        seeds: of the trainings; each variant is trained with each.
        steps, batch, learning_rate, schedule, rank, ema, precision, image_noise, image_dropout,
            fuse_start, validation_clips: of every training, as in `TrainSettings`. Unless it is constant, the
            schedule lets curricula differ in how much each task is learnt, not in its place alone.
        condition_variants: likewise, of each clip and mixture, of which some curricula have fewer: 0, that is
            new ones every time, is the one number that is fair to all.
        cache: folder of the encoded videos; "": inside the dataset's.
        sample_steps: denoising steps of every video that is measured.
        sample_seed: of the choices and the noise of these videos; the same for all variants.
        shown: held-out clips of each task on the contact sheets.
    """

    output: str
    base: str
    data: str = ""
    clips: int = 600
    held_out_data: str = ""
    held_out: int = 16
    variants: tuple[Variant, ...] = tuple(Variant)
    seeds: tuple[int, ...] = (0, 1)
    steps: int = 1000
    batch: int = 8
    learning_rate: float = 1e-3
    schedule: LearningRateSchedule = LearningRateSchedule.CONSTANT
    rank: int = 64
    fuse_start: FuseStart = FuseStart.ZERO
    ema: float = 0.99
    precision: TrainPrecision = TrainPrecision.BF16
    image_noise: bool = True
    image_dropout: float = 0.05
    condition_variants: int = 0
    validation_clips: int = 8
    cache: str = ""
    sample_steps: int = 20
    sample_seed: int = 0
    shown: int = 2

    def __post_init__(self) -> None:
        if not self.variants or not self.seeds:
            raise RequestError(
                "A study needs at least one variant and one seed: give --variants and --seeds."
            )
        if len(set(self.seeds)) < len(self.seeds) or len(set(self.variants)) < len(self.variants):
            raise RequestError("A variant or a seed is given twice: give each of them once.")
        if Variant.NO_CACHE in self.variants and Variant.FULL not in self.variants:
            raise RequestError(
                "The variant 'no_cache' is the full method sampled without cache: add 'full' to --variants."
            )
        for name, smallest in _SMALLEST.items():
            if getattr(self, name) < smallest:
                raise RequestError(
                    f"The study's setting '{name}' is {getattr(self, name)}: give {smallest} or more."
                )

    @property
    def folder(self) -> Path:
        return Path(self.output)

    @property
    def training_clips(self) -> Path:
        return Path(self.data) if self.data else self.folder / CLIPS

    @property
    def held_out_clips(self) -> Path:
        return Path(self.held_out_data) if self.held_out_data else self.folder / HELD_OUT_CLIPS

    @property
    def trained_variants(self) -> tuple[Variant, ...]:
        return tuple(variant for variant in self.variants if variant.is_trained)

    def training(self, variant: Variant, seed: int) -> TrainSettings:
        """The training of a variant with a seed."""
        every = max(1, self.steps // _CHECKS_OF_A_RUN)
        full = TrainSettings(
            base=self.base,
            data=self.training_clips,
            run=self.folder / RUNS / f"{variant}-seed{seed}",
            rank=self.rank,
            batch=self.batch,
            steps=self.steps,
            learning_rate=self.learning_rate,
            schedule=self.schedule,
            fuse_start=self.fuse_start,
            image_noise=self.image_noise,
            image_dropout=self.image_dropout,
            ema=self.ema,
            precision=self.precision,
            condition_variants=self.condition_variants,
            cache=Path(self.cache) if self.cache else None,
            validation_clips=self.validation_clips,
            validate_every=every,
            checkpoint_every=every,
            keep_checkpoints=1,
            seed=seed,
        )
        return variant_settings(variant, full)


def study_settings(given: dict[str, Any], config: Path | None) -> StudySettings:
    """Settings from a TOML file and the command line, which wins.

    Raises:
        RequestError: the file cannot be read, a setting is unknown, missing or of the wrong kind.
    """
    values = _read_toml(config) if config is not None else {}
    for name in _PATHS:
        # Relative paths of a file are those of the file's folder.
        if config is not None and values.get(name):
            values[name] = str(config.parent / str(values[name]))
    values |= given
    for name, option in (("output", "-o"), ("base", "--base")):
        if name not in values:
            raise RequestError(f"The study needs '{name}': give {option}, or a --config file that has it.")
    defaults = {
        item.name: to_json(item.default) for item in fields(StudySettings) if item.default is not MISSING
    }
    try:
        return from_json(StudySettings, {**defaults, **values})
    except ValueError as error:
        raise RequestError(
            f"The study's settings are not usable ({error}): see 'flextraj study --help'."
        ) from error


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RequestError(f"{path} cannot be opened ({error.strerror}): check the path.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"{path} is no TOML file ({error}): correct it.") from error
