"""The memory estimate of a training step against the bytes that a step really holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from live_bytes import LiveBytes
from tiny_training import build_training_base, toy_settings

from blender_addon.core.errors import FlexTrajError
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.training.base_loading import load_base
from flextraj_backend.training.memory_estimate import GIB, TrainingMemory, _inputs, training_memory
from flextraj_backend.training.train_settings import Injection, TrainSettings

LATENTS = {Backbone.COGVIDEOX: (16, 2, 4, 8), Backbone.WAN: (48, 2, 2, 4)}


def measured_activations(transformer: Any, latents: tuple[int, ...], settings: TrainSettings) -> int:
    """Peak of a forward and a backward, without the gradients of the parameters."""
    inputs = _inputs(transformer, latents, settings.batch, torch.float32)
    with LiveBytes(transformer) as counted:
        transformer(**inputs, return_dict=False)[0].square().mean().backward()
    gradients = sum(value.numel() for _, value in transformer.trainable_parameters()) * 4
    return counted.peak - gradients


@pytest.mark.parametrize("backbone", list(Backbone))
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("injection", list(Injection))
def test_the_estimate_is_near_what_a_step_holds(
    tmp_path: Path, backbone: Backbone, checkpointing: bool, injection: Injection
) -> None:
    base = build_training_base(backbone, tmp_path / "base")
    settings = toy_settings(
        base, tmp_path, tmp_path, batch=4, gradient_checkpointing=checkpointing, injection=injection
    )
    transformer = load_base(settings, torch.device("cpu")).transformer
    latents = LATENTS[backbone]
    estimate = training_memory(transformer, latents, settings)
    measured = measured_activations(transformer, latents, settings)
    assert 0.7 < estimate.activations / measured < 2.0, estimate.activations / measured


def test_states_of_what_is_trained_are_counted(tmp_path: Path) -> None:
    base = build_training_base(Backbone.COGVIDEOX, tmp_path / "base")
    settings = toy_settings(base, tmp_path, tmp_path)
    transformer = load_base(settings, torch.device("cpu")).transformer
    trained = sum(value.numel() for _, value in transformer.trainable_parameters())
    found = training_memory(transformer, LATENTS[Backbone.COGVIDEOX], settings)
    assert found.updates == trained * 4 * 3  # gradient and Adam's two moments
    assert found.weights == sum(value.numel() * 4 for value in transformer.parameters())


def test_a_run_that_cannot_fit_is_refused_in_one_sentence() -> None:
    needs = TrainingMemory(weights=GIB, updates=4 * GIB, activations=3 * GIB)
    needs.check(free=7 * GIB, shards=1)
    needs.check(free=5 * GIB, shards=2)
    with pytest.raises(FlexTrajError, match=r"needs 7\.0 GiB beside the weights, but 5\.0 GiB are free"):
        needs.check(free=5 * GIB, shards=1)
