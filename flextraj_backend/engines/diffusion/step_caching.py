"""Step caches: diffusers' hooks that reuse what hardly changes from one denoising step to the next.

All of them are approximations, made for the base models; with the trajectory control they have been checked
to work, not for quality. The condition must be encoded before they are switched on, since the encoding runs
through the same blocks and would be taken for a denoising step (model_facts, A).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.hooks.faster_cache import FasterCacheBlockHook, FasterCacheBlockState, FasterCacheConfig
from diffusers.hooks.first_block_cache import FirstBlockCacheConfig
from diffusers.hooks.hooks import HookRegistry, ModelHook, StateManager
from diffusers.hooks.mag_cache import MagCacheConfig
from diffusers.hooks.pyramid_attention_broadcast import (
    PyramidAttentionBroadcastConfig,
    PyramidAttentionBroadcastHook,
    PyramidAttentionBroadcastState,
)
from diffusers.hooks.taylorseer_cache import TaylorSeerCacheConfig

from blender_addon.core.model_options import StepCache


@dataclass(frozen=True)
class StepCacheSettings:
    """How much each cache may skip.

    Attributes:
        first_block_threshold: relative change of the first block's effect below which the others are skipped;
            0 skips nothing.
        mag_ratio: assumed ratio of the blocks' effect from step to step. Published ratios are of other models
            and differ per model; with this value and diffusers' error limit every other step is skipped.
        mag_warm_up, mag_cool_down: shares of the steps at start and end that are all computed.
        attention_interval: pyramid and faster: attention is computed in every n-th step ...
        attention_timesteps: ... between these timesteps (of 1000).
        taylor_interval: steps from one full computation to the next.
        taylor_warm_up, taylor_cool_down: shares of the steps at start and end that are all computed.
    """

    first_block_threshold: float = 0.05
    mag_ratio: float = 0.97
    mag_warm_up: float = 0.2
    mag_cool_down: float = 0.1
    attention_interval: int = 2
    attention_timesteps: tuple[int, int] = (100, 800)
    taylor_interval: int = 3
    taylor_warm_up: float = 0.2
    taylor_cool_down: float = 0.1


@contextmanager
def step_caching(
    transformer: Any,
    choice: StepCache,
    steps: int,
    current_timestep: Callable[[], float],
    settings: StepCacheSettings | None = None,
) -> Iterator[None]:
    """Within, the transformer reuses results of earlier steps; afterwards it has forgotten them.

    The guidance halves must run in the transformer's `cache_context("cond")` and `cache_context("uncond")`,
    or as one batch in one context.

    Args:
        transformer: a diffusers transformer.
        steps: denoising steps of the run within.
        current_timestep: timestep of the step that runs, 1000 to 0.
    """
    if choice is StepCache.NONE:
        yield
        return
    config = _config(choice, steps, current_timestep, settings or StepCacheSettings())
    transformer.enable_cache(config)
    try:
        _separate_guidance_halves(transformer)
        yield
    finally:
        transformer.disable_cache()


def _config(
    choice: StepCache, steps: int, current_timestep: Callable[[], float], settings: StepCacheSettings
) -> Any:
    match choice:
        case StepCache.FIRST_BLOCK:
            return FirstBlockCacheConfig(threshold=settings.first_block_threshold)
        case StepCache.MAG:
            ratios = torch.full((steps,), settings.mag_ratio)
            # A change this large is always computed.
            ratios[steps - round(settings.mag_cool_down * steps) :] = 0.0
            return MagCacheConfig(
                mag_ratios=ratios, num_inference_steps=steps, retention_ratio=settings.mag_warm_up
            )
        case StepCache.PYRAMID:
            return PyramidAttentionBroadcastConfig(
                spatial_attention_block_skip_range=settings.attention_interval,
                spatial_attention_timestep_skip_range=settings.attention_timesteps,
                current_timestep_callback=current_timestep,  # pyright: ignore[reportArgumentType]
            )
        case StepCache.FASTER:
            return FasterCacheConfig(
                spatial_attention_block_skip_range=settings.attention_interval,
                spatial_attention_timestep_skip_range=(-1, settings.attention_timesteps[1]),
                attention_weight_callback=lambda _: 0.5,
                # Each guidance half extrapolates its own attention; the part of the method that infers one
                # half of a batch from the other does not apply where they run one after the other.
                is_guidance_distilled=True,
                current_timestep_callback=current_timestep,  # pyright: ignore[reportArgumentType]
            )
        case StepCache.TAYLOR:
            # The "lite" form predicts the transformer's output alone: predicting each layer's would take as
            # much memory as a second and third condition cache.
            return TaylorSeerCacheConfig(
                cache_interval=settings.taylor_interval,
                disable_cache_before_step=max(round(settings.taylor_warm_up * steps), 2),
                disable_cache_after_step=steps - round(settings.taylor_cool_down * steps),
                taylor_factors_dtype=torch.float32,
                use_lite_mode=True,
            )
        case StepCache.NONE:
            raise ValueError("No step cache has no settings.")


class _HalfwisePyramid(PyramidAttentionBroadcastHook):
    """Remembers the attention of each guidance half; diffusers' hook would hand one half's to the other."""

    states: StateManager

    @property
    def state(self) -> PyramidAttentionBroadcastState:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.states.get_state()

    def reset_state(self, module: torch.nn.Module) -> None:
        self.states.reset()


class _HalfwiseFaster(FasterCacheBlockHook):
    """As `_HalfwisePyramid`."""

    states: StateManager

    @property
    def state(self) -> FasterCacheBlockState:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.states.get_state()

    def reset_state(self, module: torch.nn.Module) -> torch.nn.Module:
        self.states.reset()
        return module


def _separate_guidance_halves(transformer: torch.nn.Module) -> None:
    """Give hooks that know no cache contexts one state a context."""
    for module in transformer.modules():
        registry: HookRegistry | None = getattr(module, "_diffusers_hook", None)
        for hook in () if registry is None else registry.hooks.values():
            if type(hook) is PyramidAttentionBroadcastHook:
                _turn_into(hook, _HalfwisePyramid, PyramidAttentionBroadcastState)
            elif type(hook) is FasterCacheBlockHook:
                _turn_into(hook, _HalfwiseFaster, FasterCacheBlockState)


def _turn_into(hook: ModelHook, kind: type[ModelHook], state: Any) -> None:
    del hook.__dict__["state"]
    hook.__class__ = kind
    # diffusers' cache_context finds managers among a hook's attributes.
    hook.__dict__["states"] = StateManager(state, (), {})
