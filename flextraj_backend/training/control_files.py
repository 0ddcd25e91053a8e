"""The trained control as a file that the engines load."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from flextraj_backend.models.checkpoint import Adapter, SavedPrecision, adapter_of, write_adapter
from flextraj_backend.models.controlnet import FORMAT, VERSION, ControlNetMixin
from flextraj_backend.models.tensor_file import write_tensors
from flextraj_backend.training.sharding import whole
from flextraj_backend.training.train_settings import TrainPrecision


def control_tensors(transformer: Any) -> dict[str, torch.Tensor]:
    """The control's whole tensors in main memory; all processes must ask for them together."""
    if isinstance(transformer, ControlNetMixin):
        named = dict(transformer.trainable_parameters())
    else:
        named = dict(adapter_of(transformer).tensors)
    return {name: whole(tensor) for name, tensor in named.items()}


def write_control(
    transformer: Any, tensors: Mapping[str, torch.Tensor], path: Path, precision: TrainPrecision
) -> Path:
    """Write them in the authors' format, or that of the ControlNet-style control. Raises FlexTrajError."""
    if isinstance(transformer, ControlNetMixin):
        metadata = {"format": FORMAT, "version": VERSION, "backbone": transformer.backbone.value}
        return write_tensors(path, tensors, metadata)
    saved = SavedPrecision.FLOAT32 if precision is TrainPrecision.FP32 else SavedPrecision.BFLOAT16
    return write_adapter(with_full_alpha(replace(adapter_of(transformer), tensors=tensors)), path, saved)


def with_full_alpha(adapter: Adapter) -> Adapter:
    """The same control with alpha = rank: the authors' CogVideoX code knows no other (conventions 2.5)."""
    scale = adapter.alpha / adapter.rank
    tensors = {
        name: tensor * scale if name.endswith(".lora_B.weight") else tensor
        for name, tensor in adapter.tensors.items()
    }
    return replace(adapter, alpha=float(adapter.rank), tensors=adapter.tensors if scale == 1 else tensors)
