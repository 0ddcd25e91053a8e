"""Floating-point operations of a denoising step, counted at full depth without any weights.

On the meta device a forward has shapes and no numbers, and torch's counter sees every matrix product, those
of attention included. A multiply-add counts two; normalisation, rotation and softmax count nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from flextraj_backend.bench.denoise_table import Variant
from flextraj_backend.bench.denoise_variants import denoising_step
from flextraj_backend.models.real_configs import TransformerShape

_META = torch.device("meta")


@dataclass(frozen=True)
class StepFlops:
    """Operations of one forward; where a condition is cached, of encoding it once, and its bfloat16 bytes."""

    step: int
    encode: int | None
    cache_bytes: int | None


def count_flops(variant: Variant, shape: TransformerShape) -> StepFlops:
    """Count one denoising step of `shape`, batch 1."""
    step = denoising_step(variant, shape, _META, torch.bfloat16)
    encode_flops = cache_bytes = None
    with torch.no_grad():
        if step.encode is not None:
            with FlopCounterMode(display=False) as counter:
                cache_bytes = step.encode().nbytes
            encode_flops = counter.get_total_flops()
        with FlopCounterMode(display=False) as counter:
            step.run()
    return StepFlops(counter.get_total_flops(), encode_flops, cache_bytes)
