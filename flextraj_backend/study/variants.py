"""The variants of the method that the study compares: each differs from the full one in one thing."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import Any

from flextraj_backend.training.tasks import IdAblation
from flextraj_backend.training.train_settings import Injection, TrainSettings


class Variant(StrEnum):
    """What is compared."""

    FULL = "full"
    NO_TRAJ_ID = "no_traj_id"
    NO_SEG_ID = "no_seg_id"
    NO_COLOR = "no_color"
    CONTROLNET = "controlnet"
    RANDOM_MIX = "random_mix"
    SPARSE_TO_DENSE = "sparse_to_dense"
    NO_CACHE = "no_cache"
    """The control of `FULL`, whose condition is computed anew in every denoising step."""

    @property
    def is_trained(self) -> bool:
        return self is not Variant.NO_CACHE

    @property
    def heading(self) -> str:
        return _TITLES[self]


class Baseline(StrEnum):
    """What the variants are measured beside."""

    BASE = "base"
    """The base model, strength 0."""
    STILL = "still"
    """The photo, repeated."""
    EXACT = "exact"
    """The held-out clip itself: what the metrics give a perfect result."""

    @property
    def heading(self) -> str:
        return _BASELINE_TITLES[self]


_TITLES = {
    Variant.FULL: "full",
    Variant.NO_TRAJ_ID: "without TrajID",
    Variant.NO_SEG_ID: "without SegID",
    Variant.NO_COLOR: "without colour",
    Variant.CONTROLNET: "ControlNet-style injection",
    Variant.RANDOM_MIX: "random mix",
    Variant.SPARSE_TO_DENSE: "sparse to dense",
    Variant.NO_CACHE: "full, without cache",
}
_BASELINE_TITLES = {
    Baseline.BASE: "base without control",
    Baseline.STILL: "still",
    Baseline.EXACT: "exact video",
}
_CHANGES: dict[Variant, dict[str, Any]] = {
    Variant.FULL: {},
    Variant.NO_TRAJ_ID: {"ablation": IdAblation.NO_TRAJ_ID},
    Variant.NO_SEG_ID: {"ablation": IdAblation.NO_SEG_ID},
    Variant.NO_COLOR: {"ablation": IdAblation.NO_COLOR},
    Variant.CONTROLNET: {"injection": Injection.CONTROLNET},
    Variant.RANDOM_MIX: {"curriculum": "random_mix"},
    Variant.SPARSE_TO_DENSE: {"curriculum": "sparse_to_dense"},
}


def variant_settings(variant: Variant, full: TrainSettings) -> TrainSettings:
    """The training of a variant: that of the full method with the one change; the budget is the same."""
    return replace(full, **_CHANGES[variant])
