"""`train` in two processes that work together, as 'accelerate launch' starts them."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from tiny_training import toy_settings

from flextraj_backend.training.trainer import train

WORLD_SIZE = 2
SHARDED = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
}
WAYS: dict[str, dict[str, str]] = {"ddp": {}, "fsdp": SHARDED}
STEPS, BATCH = 3, 2


def run_rank(rank: int, folder: str, ports: dict[str, int]) -> None:
    """Train each way of each base model in turn; `folder` has the base models and the dataset."""
    torch.set_num_threads(1)
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
        train(
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
