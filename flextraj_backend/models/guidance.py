"""How strongly the prompt steers each denoising step (classifier-free guidance)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from blender_addon.core.model_options import GuidanceSchedule
from flextraj_backend.models.backbone import Backbone

DEFAULT_GUIDANCE = {Backbone.COGVIDEOX: 6.0, Backbone.WAN: 5.0}
"""The authors' settings."""


def guidance_scales(
    schedule: GuidanceSchedule, backbone: Backbone, scale: float, timesteps: Sequence[float]
) -> tuple[float, ...]:
    """Return the guidance scale of every step.

    Args:
        schedule: how the scale runs over the steps.
        backbone: AUTHORS differs between the two (conventions 3).
        scale: largest setting, as the user gave it.
        timesteps: raw timesteps of the sampler, from noisy to clean.
    """
    steps = len(timesteps)
    if schedule is GuidanceSchedule.AUTHORS and backbone is Backbone.COGVIDEOX:
        return tuple(_raw_timestep_scale(scale, steps, timestep) for timestep in timesteps)
    if schedule is GuidanceSchedule.RAMP:
        return tuple(1 + (scale - 1) * _cosine_rise(step, steps) for step in range(steps))
    return (float(scale),) * steps


def _raw_timestep_scale(scale: float, steps: int, timestep: float) -> float:
    """CogVideoX's "dynamic" guidance as it was run for the published results.

    The formula expects a step counter and gets the raw timestep (999 down to 0), so that it oscillates
    between 1 and 1 + scale instead of rising. Kept for parity.
    """
    progress = (steps - timestep) / steps
    return 1 + scale * (1 - math.cos(math.pi * progress**5.0)) / 2


def _cosine_rise(step: int, steps: int) -> float:
    """0 at the first step, 1 at the last one."""
    return (1 - math.cos(math.pi * step / (steps - 1))) / 2 if steps > 1 else 1.0
