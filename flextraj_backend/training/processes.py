"""One process or many: the accelerator, and the parts of a step that all processes take together."""

from __future__ import annotations

import os
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState

from blender_addon.core.errors import ErrorCode, RequestError
from flextraj_backend.training.train_settings import TrainPrecision, TrainSettings

_NAMES = {TrainPrecision.BF16: "bf16", TrainPrecision.FP32: "no", TrainPrecision.FP16: "fp16"}


def start_processes(settings: TrainSettings) -> Accelerator:
    """This process's accelerator, as 'accelerate launch' has set it up, or of one process.

    Raises:
        RequestError: the precision does not exist here.
    """
    if settings.precision is TrainPrecision.FP16 and not torch.cuda.is_available():
        raise RequestError(
            "fp16 training needs an NVIDIA GPU: use --precision bf16 or fp32.", ErrorCode.ENGINE
        )
    # accelerate keeps its state for the whole process; an earlier run in it may have had other settings.
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    # Weights are drawn and loaded alike by every process, so that none has to wait for another's.
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    return Accelerator(
        mixed_precision=_NAMES[settings.precision], gradient_accumulation_steps=settings.accumulate
    )


def gradient_norm(accelerator: Accelerator, parameters: list[torch.nn.Parameter], limit: float) -> float:
    """Clip the gradients of all processes together; return their norm before that."""
    norm: Any = accelerator.clip_grad_norm_(parameters, limit)
    if hasattr(norm, "full_tensor"):
        norm = norm.full_tensor()
    return float(norm)
