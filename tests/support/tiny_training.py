"""A toy dataset and toy base models to train on, quick enough for many short runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tiny_pipelines import build_tiny_cogvideox, build_tiny_wan
from toy_clips import toy_clip

from flextraj_backend.models.backbone import Backbone
from flextraj_backend.synthesis.shards import SHARDS, pack_clip, shard_name, write_index, write_shard
from flextraj_backend.training.train_settings import TrainPrecision, TrainSettings

FRAMES, HEIGHT, WIDTH = 5, 32, 64
"""Both backbones' tokens divide it."""
CLIPS = 8


def write_toy_dataset(folder: Path, clips: int = CLIPS, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Path:
    """Write a dataset whose pairs of clips form groups. Returns `folder`."""
    (folder / SHARDS).mkdir(parents=True)
    packed = (
        pack_clip(
            toy_clip(
                f"clip{number:06d}",
                number // 2,
                pair_group=f"group{number // 2:06d}",
                size=size,
                frames=FRAMES,
            )
        )
        for number in range(clips)
    )
    write_index(folder, write_shard(folder, shard_name(0), packed))
    return folder


def build_training_base(backbone: Backbone, folder: Path) -> Path:
    """Write a toy base model for the dataset's clips. Returns `folder`."""
    if backbone is Backbone.WAN:
        return build_tiny_wan(folder)
    return build_tiny_cogvideox(folder, frames=FRAMES, height=HEIGHT, width=WIDTH)


def toy_settings(base: Path, data: Path, run: Path, **others: Any) -> TrainSettings:
    """A run of a few seconds in float32."""
    defaults: dict[str, Any] = {
        "base": str(base),
        "data": data,
        "run": run,
        "steps": 6,
        "rank": 2,
        "batch": 2,
        "learning_rate": 1e-2,
        "precision": TrainPrecision.FP32,
        "validation_clips": 2,
        "validate_every": 0,
        "checkpoint_every": 2,
        "condition_variants": 2,
    }
    return TrainSettings(**{**defaults, **others})
