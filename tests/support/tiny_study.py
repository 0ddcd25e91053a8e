"""A study of toy size: a toy base model, clips of discs, a few steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tiny_training import build_training_base, write_toy_dataset

from flextraj_backend.models.backbone import Backbone
from flextraj_backend.study.study_settings import StudySettings, study_settings

HELD_OUT = 2


def write_tiny_study(folder: Path) -> dict[str, Any]:
    """Write base, training clips and held-out clips; return the settings that name them."""
    return {
        "base": str(build_training_base(Backbone.COGVIDEOX, folder / "base")),
        "data": str(write_toy_dataset(folder / "clips", 8)),
        "held_out_data": str(write_toy_dataset(folder / "unseen", HELD_OUT)),
    }


def tiny_study(given: dict[str, Any], output: Path, **others: Any) -> StudySettings:
    """Settings of a study of seconds."""
    small: dict[str, Any] = {
        "output": str(output),
        "variants": ["full", "random_mix"],
        "seeds": [0],
        "steps": 4,
        "batch": 2,
        "rank": 2,
        "ema": 0.0,
        "learning_rate": 1e-2,
        "precision": "fp32",
        "held_out": HELD_OUT,
        "sample_steps": 2,
        "validation_clips": 2,
        "shown": 1,
    }
    return study_settings({**given, **small, **others}, None)
