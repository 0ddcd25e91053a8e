"""One training step of the toys on one process or on two, for a process of its own."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import FileStore
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from toy_transformers import Toy, toy

from flextraj_backend.models.backbone import Backbone

WORLD_SIZE = 2

Gradients = dict[str, torch.Tensor]


def training_toy(backbone: Backbone) -> Toy:
    """With one sample, and one condition, for each process."""
    model = toy(backbone, batch=WORLD_SIZE)
    model.transformer.train()
    return model


def loss_of(model: Toy, transformer: torch.nn.Module, samples: slice) -> torch.Tensor:
    """Of some samples of the batch; each sample has a condition that its index changes."""
    losses = []
    for sample in range(*samples.indices(WORLD_SIZE)):
        one = slice(sample, sample + 1)
        latents = type(model.latents)(model.latents.ids + sample, model.latents.color * (sample + 1))
        inputs = {
            name: value[one] if name in ("hidden_states", "encoder_hidden_states") else value
            for name, value in model.inputs.items()
        }
        timestep = model.timestep(300 + 400 * sample)[one]
        prediction = transformer(**inputs, timestep=timestep, condition=latents, return_dict=False)[0]
        losses.append(prediction.square().mean())
    return torch.stack(losses).mean()


def single_process_gradients(backbone: Backbone) -> Gradients:
    model = training_toy(backbone)
    loss_of(model, model.transformer, slice(None)).backward()
    return {name: parameter.grad for name, parameter in model.transformer.trainable_parameters()}  # pyright: ignore


def run_rank(rank: int, folder: str) -> None:
    """Write this rank's gradients of both backbones, by DDP and by FSDP2 with and without checkpoints."""
    torch.set_num_threads(1)
    store = FileStore(f"{folder}/store", WORLD_SIZE)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=WORLD_SIZE)
    try:
        gradients = {
            f"{backbone}.{name}": step(training_toy(backbone), rank)
            for backbone in Backbone
            for name, step in (("ddp", _ddp), ("fsdp", _fsdp), ("fsdp_checkpointed", _fsdp_checkpointed))
        }
        torch.save(gradients, Path(folder) / f"rank{rank}.pt")
    finally:
        dist.destroy_process_group()


def _ddp(model: Toy, rank: int) -> Gradients:
    wrapped = DistributedDataParallel(model.transformer)  # find_unused_parameters is off
    for _ in range(2):  # a second step fails if a parameter got no gradient in the first
        wrapped.zero_grad()
        loss_of(model, wrapped, slice(rank, rank + 1)).backward()
    return {name: copy.copy(parameter.grad) for name, parameter in model.transformer.trainable_parameters()}  # pyright: ignore


def _fsdp(model: Toy, rank: int) -> Gradients:
    mesh = init_device_mesh("cpu", (WORLD_SIZE,))
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model.transformer, mesh=mesh)
    for _ in range(2):
        model.transformer.zero_grad()
        loss_of(model, model.transformer, slice(rank, rank + 1)).backward()
    return {name: _whole(parameter.grad) for name, parameter in model.transformer.trainable_parameters()}


def _fsdp_checkpointed(model: Toy, rank: int) -> Gradients:
    model.transformer.enable_gradient_checkpointing()
    return _fsdp(model, rank)


def _whole(gradient: torch.Tensor | None) -> torch.Tensor:
    assert isinstance(gradient, DTensor)
    return gradient.full_tensor()
