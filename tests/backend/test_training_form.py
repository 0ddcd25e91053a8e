"""Both streams in one call: the form that training uses, on one device and on many."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
import torch
from distributed_training import WORLD_SIZE, run_rank, single_process_gradients, training_toy
from torch.multiprocessing.spawn import start_processes
from toy_transformers import Toy, toy

from flextraj_backend.models.backbone import Backbone

BOTH = pytest.mark.parametrize("backbone", list(Backbone))


def backward(model: Toy) -> dict[str, torch.Tensor | None]:
    """Gradients of every parameter."""
    model.transformer.zero_grad()
    model.joint(700).square().mean().backward()
    return {name: parameter.grad for name, parameter in model.transformer.named_parameters()}


@BOTH
def test_training_changes_the_control_and_nothing_else(backbone: Backbone) -> None:
    model = toy(backbone)
    trainable = dict(model.transformer.trainable_parameters())
    for name, gradient in backward(model).items():
        assert (gradient is not None) == (name in trainable), name
        if gradient is not None:
            assert gradient.abs().max() > 0, name


@BOTH
def test_lora_without_effect_is_not_trained(backbone: Backbone) -> None:
    model = toy(backbone, layers=3)
    frozen = {
        name.replace(".flextraj.weight", "")
        for name, parameter in model.transformer.named_parameters()
        if ".flextraj." in name and not parameter.requires_grad
    }
    if backbone is Backbone.COGVIDEOX:
        layers = {"transformer_blocks.2.attn1.to_q", "transformer_blocks.2.attn1.to_out.0"}
    else:
        layers = {f"blocks.{block}.attn2.{layer}" for block in range(3) for layer in ("to_k", "to_v")}
        layers |= {
            f"blocks.2.{layer}" for layer in ("attn1.to_q", "attn1.to_out.0", "attn2.to_q", "attn2.to_out.0")
        }
    assert frozen == {f"{layer}.{side}" for layer in layers for side in ("lora_A", "lora_B")}


@BOTH
def test_a_first_step_moves_a_fresh_control(backbone: Backbone) -> None:
    model = toy(backbone)
    model.transformer.add_control(rank=2)
    gradients = backward(model)
    # Of LoRA, the second matrix comes first: the product starts at zero.
    moving = [
        name for name, gradient in gradients.items() if gradient is not None and gradient.abs().max() > 0
    ]
    assert {"fuse_linear.weight", "fuse_linear.bias"} <= set(moving)
    trained = {name for name, _ in model.transformer.trainable_parameters()}
    assert {name for name in trained if ".lora_B." in name} <= set(moving)
    assert not [name for name in moving if ".lora_A." in name]


@BOTH
def test_gradient_checkpointing_changes_no_gradient(backbone: Backbone) -> None:
    model = toy(backbone, batch=2)
    model.transformer.train()
    expected = backward(model)
    model.transformer.enable_gradient_checkpointing()
    for name, gradient in backward(model).items():
        reference = expected[name]
        assert (gradient is None) == (reference is None)
        if gradient is not None and reference is not None:
            assert torch.equal(gradient, reference), name


@BOTH
def test_a_training_step_leaves_no_condition_behind(backbone: Backbone) -> None:
    model = toy(backbone)
    base = model.predict()
    backward(model)
    assert torch.equal(model.predict(), base)
    assert all(block.attn1.processor.keys is None for block in model.blocks)


@BOTH
def test_a_step_that_fails_leaves_no_condition_behind(backbone: Backbone) -> None:
    model = toy(backbone)
    base = model.predict()

    def run_out_of_memory(*_: object) -> None:
        raise MemoryError

    # After the block's keys were computed.
    feed_forward = next(layer for name, layer in model.blocks[1].named_children() if name in ("ff", "ffn"))
    hook = feed_forward.register_forward_pre_hook(run_out_of_memory)
    for attempt in (model.joint, model.encode):
        with pytest.raises(MemoryError):
            attempt()
    hook.remove()
    assert torch.equal(model.predict(), base)
    model.encode()


@BOTH
def test_what_was_trained_is_what_is_generated_with(backbone: Backbone) -> None:
    model = toy(backbone)
    optimizer = torch.optim.SGD([parameter for _, parameter in model.transformer.trainable_parameters()], 0.1)
    for _ in range(3):
        backward(model)
        optimizer.step()
    with torch.no_grad():
        joint = model.joint(700)
        model.transformer.use_condition(model.encode())
        assert float((model.predict(700) - joint).abs().max()) < 3e-6


@pytest.fixture(scope="module")
def distributed_gradients(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """Gradients of each of two processes."""
    folder = tmp_path_factory.mktemp("ranks")
    multiprocessing.set_forkserver_preload(["distributed_training"])  # imported once for both
    start_processes(run_rank, (str(folder),), nprocs=WORLD_SIZE, start_method="forkserver")
    return [torch.load(Path(folder) / f"rank{rank}.pt", weights_only=True) for rank in range(WORLD_SIZE)]


@BOTH
@pytest.mark.parametrize("way", ["ddp", "fsdp", "fsdp_checkpointed"])
def test_two_processes_train_as_one(backbone: Backbone, way: str, distributed_gradients: list[dict]) -> None:
    expected = single_process_gradients(backbone)
    for gradients in distributed_gradients:
        actual = gradients[f"{backbone}.{way}"]
        assert actual.keys() == expected.keys()
        for name, gradient in actual.items():
            assert torch.allclose(gradient, expected[name], rtol=1e-4, atol=1e-7), name


@BOTH
def test_samples_of_a_batch_have_their_own_conditions(backbone: Backbone) -> None:
    model = training_toy(backbone)
    model.latents = type(model.latents)(
        *(torch.cat([part, part + 1]) for part in (model.latents.ids, model.latents.color))
    )
    together = model.joint()
    first = toy(backbone, batch=WORLD_SIZE)
    assert torch.allclose(together[:1], first.joint()[:1], atol=3e-6)
    assert not torch.allclose(together[1:], first.joint()[1:], atol=0.01)
