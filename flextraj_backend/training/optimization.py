"""The update rule and the course of the learning rate."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from flextraj_backend.models.backbone import Backbone
from flextraj_backend.training.train_settings import LearningRateSchedule, OptimizerKind, TrainSettings

WEIGHT_DECAY = {Backbone.COGVIDEOX: 1e-4, Backbone.WAN: 0.01}
"""The authors' (conventions 4.1, 4.2)."""
_EPSILON = 1e-8
_KINDS = {OptimizerKind.ADAMW: torch.optim.AdamW, OptimizerKind.ADAM: torch.optim.Adam}


def make_optimizer(
    parameters: Sequence[torch.nn.Parameter], backbone: Backbone, settings: TrainSettings
) -> torch.optim.Optimizer:
    """The optimizer; its learning rate is set in each step."""
    decay = WEIGHT_DECAY[backbone] if settings.weight_decay is None else settings.weight_decay
    return _KINDS[settings.optimizer](
        parameters, lr=1.0, betas=(settings.beta1, settings.beta2), eps=_EPSILON, weight_decay=decay
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def learning_rate_factor(step: int, total: int, warmup: int, schedule: LearningRateSchedule) -> float:
    """What the stage's learning rate is multiplied by in a step, counted from 0: warm-up, then its course."""
    factor = min(1.0, (step + 1) / (warmup + 1))
    if schedule is LearningRateSchedule.COSINE:
        share = min(1.0, max(0.0, (step - warmup) / max(1, total - warmup)))
        factor *= 0.5 * (1 + math.cos(math.pi * share))
    return factor
