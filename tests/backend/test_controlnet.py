"""The ControlNet-style ablation: what the comparison with the two-stream injection rests on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from control_files import golden_config
from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXTransformer3DModel
from safetensors.torch import load_file, save_file
from torch import nn
from toy_transformers import STOCK, Toy, randomize, with_inputs

from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.condition import ConditionLatents
from flextraj_backend.models.controlnet import ControlNetCogVideoXTransformer, ControlNetWanTransformer
from flextraj_backend.models.real_configs import RELEASED

CONTROLNET = {Backbone.COGVIDEOX: ControlNetCogVideoXTransformer, Backbone.WAN: ControlNetWanTransformer}
LAYERS = 3
BOTH = pytest.mark.parametrize("backbone", list(Backbone))


def base_model(backbone: Backbone) -> Any:
    torch.manual_seed(0)
    transformer = STOCK[backbone].from_config({**golden_config(backbone), "num_layers": LAYERS})
    randomize(transformer)
    return transformer.eval()


def untrained(backbone: Backbone, count: int = 2, batch: int = 1) -> Toy:
    transformer = CONTROLNET[backbone].adopt(base_model(backbone))
    return with_inputs(transformer.add_control_blocks(count), batch=batch)


def trained(backbone: Backbone, count: int = 2, batch: int = 1) -> Toy:
    """All that is trainable has left its initial values."""
    toy = untrained(backbone, count, batch)
    torch.manual_seed(7)
    for _, parameter in toy.transformer.trainable_parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return toy


def base_prediction(toy: Toy) -> torch.Tensor:
    stock = base_model(toy.transformer.backbone)
    return Toy(stock, toy.latents, toy.inputs, toy.encode_inputs, toy.timestep).predict()


@BOTH
@pytest.mark.parametrize("count", range(1, LAYERS + 1))
@torch.no_grad()
def test_before_training_the_video_is_exactly_the_base_models(backbone: Backbone, count: int) -> None:
    toy = untrained(backbone, count, batch=2)
    expected = base_prediction(toy)
    assert torch.equal(toy.joint(), expected)
    assert torch.equal(toy.predict(), expected)


@BOTH
@torch.no_grad()
def test_without_a_condition_a_trained_control_leaves_the_base_model_exact(backbone: Backbone) -> None:
    toy = trained(backbone)
    assert torch.equal(toy.predict(), base_prediction(toy))
    assert not torch.allclose(toy.joint(), base_prediction(toy), atol=1e-2)
    assert torch.equal(toy.predict(), base_prediction(toy)), "the condition must not stay"


@BOTH
@pytest.mark.parametrize("count", range(1, LAYERS + 1))
@torch.no_grad()
def test_each_copied_block_adds_its_projected_output_to_the_main_stream(
    backbone: Backbone, count: int
) -> None:
    """Against the definition: hooks on the stock model, with the copy's tokens kept outside of it."""
    toy = trained(backbone, count)
    stock = base_model(backbone)
    net, latents = toy.transformer, toy.latents
    condition = tokens_of(stock, latents.ids) + net.fuse_linear(tokens_of(stock, latents.color))
    copied = {}

    def add_control(index: int, arguments: list[Any], output: Any) -> Any:
        hidden_states, *others = arguments
        controlled = net._blocks()[index]
        result = controlled.control(copied.get(index - 1, hidden_states + condition), *others)
        copied[index] = result[0] if backbone is Backbone.COGVIDEOX else result
        addition = controlled.control_projection(copied[index])
        if backbone is Backbone.COGVIDEOX:
            return output[0] + addition, output[1]
        return output + addition

    blocks = stock.transformer_blocks if backbone is Backbone.COGVIDEOX else stock.blocks
    for index in range(count):
        blocks[index].register_forward_hook(
            lambda _module, arguments, named, output, index=index: add_control(
                index, [*arguments, *named.values()], output
            ),
            with_kwargs=True,
        )
    expected = Toy(stock, latents, toy.inputs, toy.encode_inputs, toy.timestep).predict()
    torch.testing.assert_close(toy.joint(), expected, rtol=0, atol=1e-5)


def tokens_of(stock: Any, latents: torch.Tensor) -> torch.Tensor:
    """(B, N, C)"""
    if isinstance(stock, STOCK[Backbone.WAN]):
        return stock.patch_embedding(latents).flatten(2).transpose(1, 2)
    text = torch.zeros(len(latents), stock.config.max_text_seq_length, stock.config.text_embed_dim)
    return stock.patch_embed(text, latents)[:, text.shape[1] :]


def test_a_base_without_rotary_positions_is_controlled_too() -> None:
    torch.manual_seed(0)
    stock = CogVideoXTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=8,
        out_channels=4,
        time_embed_dim=16,
        text_embed_dim=16,
        max_text_seq_length=3,
        num_layers=3,
        sample_width=8,
        sample_height=6,
        sample_frames=3,
        temporal_compression_ratio=1,
        patch_size=2,
    )
    noisy = torch.randn(1, 3, 8, 6, 8)
    given = {"encoder_hidden_states": torch.randn(1, 3, 16), "timestep": torch.tensor([5])}
    condition = ConditionLatents(torch.randn(1, 3, 8, 6, 8), torch.randn(1, 3, 8, 6, 8))
    with torch.no_grad():
        expected = stock(noisy, **given, return_dict=False)[0]
        model = ControlNetCogVideoXTransformer.adopt(stock).add_control_blocks(2)
        at_first = model(noisy, **given, condition=condition, return_dict=False)[0]
        assert torch.equal(at_first, expected)
        for name, parameter in model.trainable_parameters():
            if "projection" in name or "fuse" in name:
                parameter.normal_(std=0.1)
        controlled = model(noisy, **given, condition=condition, return_dict=False)[0]
        alone = model(noisy, **given, return_dict=False)[0]
    assert controlled.shape == expected.shape and not torch.allclose(controlled, expected, atol=1e-3)
    assert torch.equal(alone, expected)


@BOTH
@torch.no_grad()
def test_one_condition_serves_a_batch_as_it_serves_each_of_it(backbone: Backbone) -> None:
    toy = trained(backbone, batch=2)
    both = toy.joint()
    for index in range(2):
        one = {
            name: value[index : index + 1] if isinstance(value, torch.Tensor) else value
            for name, value in toy.inputs.items()
        }
        single = Toy(
            toy.transformer,
            toy.latents,
            one,
            toy.encode_inputs,
            lambda timestep: toy.timestep(timestep)[:1],
        )
        torch.testing.assert_close(single.joint(), both[index : index + 1], rtol=0, atol=1e-5)


@BOTH
@torch.no_grad()
def test_both_condition_videos_count(backbone: Backbone) -> None:
    toy = trained(backbone)
    before = toy.joint()
    ids, color = toy.latents.ids, toy.latents.color
    for other in (ConditionLatents(ids.flip(-1), color), ConditionLatents(ids, color.flip(-1))):
        toy.latents = other
        assert not torch.allclose(toy.joint(), before, atol=1e-3)


@BOTH
def test_only_the_control_trains_and_every_tensor_of_it_does(backbone: Backbone) -> None:
    toy = untrained(backbone)
    parameters = dict(toy.transformer.trainable_parameters())
    assert set(parameters) == {
        name for name, parameter in toy.transformer.named_parameters() if parameter.requires_grad
    }
    target = torch.randn(base_prediction(toy).shape, generator=torch.Generator().manual_seed(3))
    optimizer = torch.optim.SGD(parameters.values(), lr=0.1)
    nn.functional.mse_loss(toy.joint(), target).backward()
    # Behind zero projections the copies learn nothing yet, but distributed training waits for them.
    assert all(parameter.grad is not None for parameter in parameters.values())
    projections = [name for name in parameters if ".control_projection.weight" in name]
    assert len(projections) == 2
    assert all(grad(parameters[name]).any() for name in projections)
    optimizer.step()
    optimizer.zero_grad()
    nn.functional.mse_loss(toy.joint(), target).backward()
    assert [name for name, parameter in parameters.items() if not grad(parameter).any()] == []


@BOTH
def test_training_follows_the_condition(backbone: Backbone) -> None:
    """What the base model cannot know, the control learns: a target that is brighter for one ID video."""
    toy = untrained(backbone)
    base = base_prediction(toy).detach()
    ids, color = toy.latents.ids, toy.latents.color
    optimizer = torch.optim.Adam(
        [parameter for _, parameter in toy.transformer.trainable_parameters()], lr=1e-2
    )
    losses = []
    for _ in range(40):
        loss = torch.zeros(())
        for sign in (1, -1):
            toy.latents = ConditionLatents(sign * ids, color)
            loss = loss + nn.functional.mse_loss(toy.joint(), base + 0.3 * sign)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # The first loss is the least that is possible without knowing the ID video.
    assert losses[-1] < 0.75 * losses[0]


@BOTH
def test_gradient_checkpointing_changes_no_gradient(backbone: Backbone) -> None:
    gradients = []
    for checkpointing in (False, True):
        toy = trained(backbone)
        if checkpointing:
            toy.transformer.enable_gradient_checkpointing()
        toy.joint().square().mean().backward()
        gradients.append({name: grad(p) for name, p in toy.transformer.trainable_parameters()})
    for name, expected in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], expected, rtol=0, atol=1e-7, msg=name)


def grad(parameter: nn.Parameter) -> torch.Tensor:
    assert parameter.grad is not None
    return parameter.grad


@BOTH
@torch.no_grad()
def test_a_trained_control_comes_back_from_its_file(backbone: Backbone, tmp_path: Path) -> None:
    toy = trained(backbone)
    path = toy.transformer.save_control(tmp_path / "control.safetensors")
    assert [file.name for file in tmp_path.iterdir()] == ["control.safetensors"]
    assert set(load_file(path)) == {name for name, _ in toy.transformer.trainable_parameters()}
    restored = CONTROLNET[backbone].adopt(base_model(backbone)).load_control(path)
    assert restored.control_blocks == 2
    again = Toy(restored, toy.latents, toy.inputs, toy.encode_inputs, toy.timestep)
    assert torch.equal(again.joint(), toy.joint())
    overwritten = untrained(backbone)
    overwritten.transformer.load_control(path)
    assert torch.equal(overwritten.joint(), toy.joint())


@BOTH
def test_a_base_models_folder_loads_without_missing_weights(
    backbone: Backbone, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base_model(backbone).save_pretrained(tmp_path)
    transformer = CONTROLNET[backbone].from_pretrained(tmp_path, local_files_only=True)
    assert caplog.text == ""
    toy = with_inputs(transformer.eval())
    with torch.no_grad():
        torch.testing.assert_close(toy.predict(), base_prediction(toy), rtol=0, atol=1e-5)


def _damaged(path: Path, name: str, **changes: torch.Tensor | None) -> Path:
    tensors = {**load_file(path), **changes}
    path = path.with_name(name)
    metadata = {"format": "flextraj-controlnet", "version": "1", "backbone": "wan"}
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, path, metadata)
    return path


def test_files_that_do_not_fit_are_refused_in_one_sentence(tmp_path: Path) -> None:
    good = trained(Backbone.WAN).transformer.save_control(tmp_path / "good.safetensors")
    deep = untrained(Backbone.WAN, LAYERS).transformer.save_control(tmp_path / "deep.safetensors")
    cogvideox = untrained(Backbone.COGVIDEOX).transformer.save_control(tmp_path / "other.safetensors")
    plain, text = tmp_path / "plain.safetensors", tmp_path / "text.safetensors"
    save_file({"a": torch.zeros(1)}, plain)
    text.write_text("no weights")
    bias = "fuse_linear.bias"
    for path, reason in (
        (tmp_path / "missing.safetensors", "cannot be read"),
        (text, "cannot be read"),
        (plain, "is no ControlNet-style control"),
        (cogvideox, "does not belong to wan"),
        (deep, "is on one side only"),
        (_damaged(good, "1.safetensors", **{bias: None}), f"({bias} is on one side only)"),
        (_damaged(good, "2.safetensors", **{bias: torch.zeros(3)}), f"({bias} is (3,), not (40,))"),
    ):
        with pytest.raises(FlexTrajError) as refused:
            untrained(Backbone.WAN).transformer.load_control(path)
        assert reason in refused.value.message and str(path) in refused.value.message
        assert refused.value.code is ErrorCode.WEIGHTS
        assert refused.value.message.count("\n") == 0


def test_a_condition_for_a_model_without_copies_is_refused() -> None:
    toy = with_inputs(ControlNetWanTransformer.adopt(base_model(Backbone.WAN)))
    with pytest.raises(FlexTrajError, match="no ControlNet-style control"):
        toy.joint()


@pytest.mark.parametrize("count", [0, LAYERS + 1])
def test_impossible_numbers_of_copies_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match="Cannot copy"):
        ControlNetWanTransformer.adopt(base_model(Backbone.WAN)).add_control_blocks(count)


def test_copies_are_not_made_twice() -> None:
    with pytest.raises(ValueError, match="2 blocks have copies"):
        untrained(Backbone.WAN, 2).transformer.add_control_blocks(1)


def test_the_released_models_copy_as_many_blocks_as_the_published_peer() -> None:
    assert RELEASED[Backbone.COGVIDEOX].controlnet_blocks == 18  # of 42
    assert RELEASED[Backbone.WAN].controlnet_blocks == 13  # of 30
    with torch.device("meta"):
        wan = ControlNetWanTransformer(**{**RELEASED[Backbone.WAN].config, "ffn_dim": 64})
        assert wan.add_control_blocks().control_blocks == 13
