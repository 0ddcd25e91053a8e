"""Tensors that FSDP2 has spread over processes, to whole ones and back."""

from __future__ import annotations

import torch
from torch.distributed.tensor import DTensor, distribute_tensor


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """The whole tensor in main memory; all processes must ask for it together."""
    detached = tensor.detach()
    gathered = detached.full_tensor() if isinstance(detached, DTensor) else detached
    return gathered.to("cpu", copy=True).contiguous()


def placed_as(value: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """A whole tensor, on the device of a parameter and sharded as it is."""
    moved = value.to(parameter.device, copy=True)
    if isinstance(parameter, DTensor):
        return distribute_tensor(moved, parameter.device_mesh, parameter.placements)
    return moved


@torch.no_grad()
def assign(parameter: torch.Tensor, value: torch.Tensor) -> None:
    """Give a parameter, sharded or not, the values of a whole tensor."""
    parameter.copy_(placed_as(value, parameter))
