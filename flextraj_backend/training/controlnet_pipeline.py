"""Pipelines that sample with the ControlNet-style control, to compare it with the two-stream injection.

Its copied blocks see the noise, so that there is no condition cache: call them with
`condition_reuse=ConditionReuse.EVERY_STEP`.
"""

from __future__ import annotations

from typing import Any

from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.cogvideox_pipeline import FlexTrajCogVideoXPipeline
from flextraj_backend.models.controlnet import ControlNetCogVideoXTransformer, ControlNetWanTransformer
from flextraj_backend.models.wan_pipeline import FlexTrajWanPipeline


class SampledControlNetCogVideoX(ControlNetCogVideoXTransformer):
    """In a pipeline that also drives the two-stream injection."""

    def use_condition(self, cache: None, strength: float = 1.0) -> None:
        """Nothing to take out: a condition lasts for one forward."""


class SampledControlNetWan(ControlNetWanTransformer):
    """In a pipeline that also drives the two-stream injection."""

    def use_condition(self, cache: None, strength: float = 1.0) -> None:
        """Nothing to take out: a condition lasts for one forward."""


class ControlNetCogVideoXPipeline(  # pyright: ignore[reportIncompatibleMethodOverride] (own inputs)
    FlexTrajCogVideoXPipeline
):
    """CogVideoX with the ControlNet-style control."""

    backbone = Backbone.COGVIDEOX
    _transformer_class: Any = SampledControlNetCogVideoX


class ControlNetWanPipeline(  # pyright: ignore[reportIncompatibleMethodOverride] (own inputs)
    FlexTrajWanPipeline
):
    """Wan with the ControlNet-style control."""

    backbone = Backbone.WAN
    _transformer_class: Any = SampledControlNetWan
