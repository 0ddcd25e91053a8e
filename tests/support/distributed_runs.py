"""`train` in two processes that work together, as 'accelerate launch' starts them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from tiny_training import toy_settings
from torch.distributed.tensor import DTensor

from flextraj_backend.training.trainer import Trainer

WORLD_SIZE = 2
SHARDED = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
}
WAYS: dict[str, dict[str, str]] = {"ddp": {}, "fsdp": SHARDED}
STEPS, BATCH = 3, 2


def shard_on_processors() -> None:
    """Let accelerate shard without accelerators, too, with the code that it has for them."""
    original = AcceleratorState.__init__

    def begin(self: Any, *arguments: Any, fsdp_plugin: Any = None, **options: Any) -> None:
        original(self, *arguments, fsdp_plugin=fsdp_plugin, **options)
        if fsdp_plugin is not None:
            self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, fsdp_plugin

    AcceleratorState.__init__ = begin


def run_rank(rank: int, folder: str, ports: dict[str, int]) -> None:
    """Train each way of each base model in turn; `folder` has the base models and the dataset."""
    torch.set_num_threads(1)
    shard_on_processors()
    root = Path(folder)
    for name, port in ports.items():
        backbone, way = name.split("-")
        os.environ.update(
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            WORLD_SIZE=str(WORLD_SIZE),
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=str(port),
            ACCELERATE_USE_CPU="true",
        )
        for variable in SHARDED:
            os.environ.pop(variable, None)
        os.environ.update(WAYS[way])
        trainer = Trainer(
            toy_settings(
                root / backbone,
                root / "clips",
                root / name,
                steps=STEPS,
                batch=BATCH,
                checkpoint_every=1,
                keep_checkpoints=STEPS,
                curriculum="random_mix",
                ema=0.5,
            )
        )
        is_sharded = [isinstance(parameter, DTensor) for parameter in trainer.model.parameters()]
        assert all(is_sharded) if way == "fsdp" else not any(is_sharded), way
        trainer.run(None)
        trainer.close()
