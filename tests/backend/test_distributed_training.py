"""Two processes train as one: the same samples, losses, gradients and checkpoints."""

from __future__ import annotations

import multiprocessing
import socket
from pathlib import Path

import pytest
import torch
from distributed_runs import BATCH, STEPS, WAYS, WORLD_SIZE, run_rank
from safetensors.torch import load_file
from tiny_training import build_training_base, toy_settings, write_toy_dataset
from torch.multiprocessing.spawn import start_processes

from flextraj_backend.models.backbone import Backbone
from flextraj_backend.training.resume import CONTROL_FILE, TENSOR_FILE
from flextraj_backend.training.train_logs import read_log
from flextraj_backend.training.trainer import train


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the runs of two processes, `{backbone}-{way}`, and of one, `{backbone}-one`."""
    folder = tmp_path_factory.mktemp("runs")
    write_toy_dataset(folder / "clips")
    for backbone in Backbone:
        build_training_base(backbone, folder / backbone)
        settings = toy_settings(
            folder / backbone,
            folder / "clips",
            folder / f"{backbone}-one",
            steps=STEPS,
            batch=BATCH * WORLD_SIZE,
            checkpoint_every=1,
            keep_checkpoints=STEPS,
            curriculum="random_mix",
            ema=0.5,
            cache=folder / "latents-of-one",
        )
        train(settings)
    ports = {f"{backbone}-{way}": free_port() for backbone in Backbone for way in WAYS}
    multiprocessing.set_forkserver_preload(["distributed_runs"])
    start_processes(run_rank, (str(folder), ports), nprocs=WORLD_SIZE, start_method="forkserver")
    return folder


def losses(run: Path) -> list[float]:
    return [line["loss"] for line in read_log(run) if line["event"] == "step"]


@pytest.mark.parametrize("backbone", list(Backbone))
@pytest.mark.parametrize("way", list(WAYS))
def test_two_processes_have_the_gradients_and_losses_of_one(runs: Path, backbone: Backbone, way: str) -> None:
    one, two = runs / f"{backbone}-one", runs / f"{backbone}-{way}"
    first = f"checkpoints/step-000001/{TENSOR_FILE}"
    expected, found = load_file(one / first), load_file(two / first)
    assert expected.keys() == found.keys()
    # After one step, Adam's first moment is a tenth of the gradient.
    moments = [name for name in expected if name.endswith("/exp_avg")]
    assert moments and any(expected[name].abs().max() > 0 for name in moments)
    for name in moments:
        assert torch.allclose(found[name], expected[name], rtol=1e-3, atol=1e-8), name
    assert losses(two) == pytest.approx(losses(one), rel=1e-5)


@pytest.mark.parametrize("backbone", list(Backbone))
def test_a_sharded_control_is_saved_whole(runs: Path, backbone: Backbone) -> None:
    path = f"checkpoints/step-{STEPS:06d}/{CONTROL_FILE}"
    expected, found = (load_file(runs / f"{backbone}-{way}" / path) for way in ("one", "fsdp"))
    assert {name: tensor.shape for name, tensor in found.items()} == {
        name: tensor.shape for name, tensor in expected.items()
    }
    assert all(torch.allclose(found[name], expected[name], atol=1e-3) for name in expected)


def test_a_sharded_run_can_be_resumed_by_one_process(runs: Path) -> None:
    settings = toy_settings(
        runs / "cogvideox",
        runs / "clips",
        runs / "cogvideox-fsdp",
        steps=STEPS,
        batch=BATCH,
        curriculum="random_mix",
        ema=0.5,
        resume=True,
    )
    assert train(settings).steps == STEPS
