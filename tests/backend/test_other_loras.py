"""Style and few-step LoRAs act on the main stream, the control on the condition, whatever is switched."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from toy_transformers import Toy, stock_toy, toy

from blender_addon.core.errors import FlexTrajError
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.condition_cache import ConditionCache
from flextraj_backend.models.streams import CONDITION_ADAPTER

BOTH = pytest.mark.parametrize("backbone", list(Backbone))
ROUNDING = 3e-6


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def style_lora(model: Toy, seed: int) -> dict[str, torch.Tensor]:
    """A LoRA on every linear layer of the base model, feed-forward, time and text embeddings included."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, layer in stock_toy(model.transformer.backbone, model).transformer.named_modules():
        if isinstance(layer, torch.nn.Linear):
            down = torch.randn(2, layer.in_features, generator=generator)
            up = torch.randn(layer.out_features, 2, generator=generator)
            weights |= {f"{name}.lora_A.weight": 0.1 * down, f"{name}.lora_B.weight": 0.1 * up}
    return weights


def load_style(model: Toy, name: str = "style", seed: int = 5) -> None:
    # As diffusers' pipelines load a LoRA file.
    model.transformer.load_lora_adapter(style_lora(model, seed), prefix=None, adapter_name=name)


def styled_base(model: Toy, weight: float = 1.0) -> torch.Tensor:
    """What diffusers' own transformer makes with the style LoRA."""
    stock = stock_toy(model.transformer.backbone, model)
    weights = style_lora(model, 5)
    stock.transformer.load_lora_adapter(weights, prefix=None, adapter_name="style")
    stock.transformer.set_adapters(["style"], [weight])
    return stock.predict()


def assert_same_condition(first: ConditionCache, second: ConditionCache) -> None:
    for one, other in zip((*first.keys, *first.values), (*second.keys, *second.values), strict=True):
        assert torch.equal(one, other)


@BOTH
def test_adding_a_style_lora_changes_no_condition_key(backbone: Backbone) -> None:
    model = toy(backbone)
    before = model.encode()
    load_style(model)
    assert_same_condition(model.encode(), before)


@BOTH
def test_a_style_lora_acts_on_the_video_as_without_control(backbone: Backbone) -> None:
    model = toy(backbone)
    base = model.predict()
    load_style(model)
    assert torch.equal(model.predict(), styled_base(model))
    assert not torch.allclose(model.predict(), base, atol=0.01)


@BOTH
def test_a_style_lora_stays_off_the_condition_without_a_cache_too(backbone: Backbone) -> None:
    model = toy(backbone)
    cache = model.encode()
    load_style(model)
    joint = model.joint()
    model.transformer.use_condition(cache)
    assert float((model.predict() - joint).abs().max()) < ROUNDING


@BOTH
@pytest.mark.parametrize(
    "switch",
    [
        lambda transformer: transformer.set_adapters(["style"]),
        lambda transformer: transformer.set_adapters("style"),
        lambda transformer: transformer.set_adapters([CONDITION_ADAPTER, "style"]),
        lambda transformer: transformer.set_adapters(["style", CONDITION_ADAPTER], [1.0, 0.1]),
        lambda transformer: transformer.set_adapter([CONDITION_ADAPTER, "style"]),
        lambda transformer: transformer.set_adapter("style"),
        lambda transformer: transformer.enable_lora(),
    ],
)
def test_no_way_of_activating_loras_puts_the_control_on_the_video_or_takes_it_off_the_condition(
    backbone: Backbone, switch: Callable
) -> None:
    model = toy(backbone)
    before = model.encode()
    load_style(model)
    switch(model.transformer)
    assert_same_condition(model.encode(), before)
    assert torch.equal(model.predict(), styled_base(model))


@BOTH
def test_a_style_loras_weight_scales_the_style_alone(backbone: Backbone) -> None:
    model = toy(backbone)
    before = model.encode()
    load_style(model)
    model.transformer.set_adapters(["style"], [0.3])
    assert_same_condition(model.encode(), before)
    assert torch.equal(model.predict(), styled_base(model, 0.3))


@BOTH
def test_a_lora_scale_of_one_call_leaves_the_control_alone(backbone: Backbone) -> None:
    model = toy(backbone)
    expected = model.joint()
    load_style(model)
    assert torch.equal(model.joint(attention_kwargs={"scale": 0.0}), expected)


@BOTH
def test_switching_loras_off_leaves_the_control_on(backbone: Backbone) -> None:
    model = toy(backbone)
    base, before = model.predict(), model.encode()
    load_style(model)
    model.transformer.disable_lora()
    assert_same_condition(model.encode(), before)
    assert torch.equal(model.predict(), base)
    model.transformer.enable_lora()
    assert torch.equal(model.predict(), styled_base(model))


@BOTH
def test_removing_the_users_loras_leaves_the_control(backbone: Backbone) -> None:
    model = toy(backbone)
    base, before = model.predict(), model.encode()
    load_style(model)
    load_style(model, "few_step", 6)
    model.transformer.unload_lora()
    assert_same_condition(model.encode(), before)
    assert torch.equal(model.predict(), base)


@BOTH
def test_fusing_loras_is_refused_for_it_would_change_the_condition(backbone: Backbone) -> None:
    model = toy(backbone)
    load_style(model)
    with pytest.raises(FlexTrajError, match="unfused"):
        model.transformer.fuse_lora(adapter_names=["style"])
    with pytest.raises(FlexTrajError, match="unfused"):
        model.transformer.fuse_qkv_projections()


@BOTH
def test_loading_a_control_again_keeps_the_style_active(backbone: Backbone) -> None:
    model = toy(backbone)
    load_style(model)
    model.transformer.set_adapters(["style"], [0.3])
    model.transformer.add_control(rank=2)
    assert torch.equal(model.predict(), styled_base(model, 0.3))
    model.transformer.use_condition(model.encode())


@BOTH
def test_two_loras_of_the_user_add_up_beside_the_control(backbone: Backbone) -> None:
    model = toy(backbone)
    before = model.encode()
    load_style(model)
    load_style(model, "few_step", 6)
    model.transformer.set_adapters(["style", "few_step"], [1.0, 0.5])
    both = model.predict()
    assert_same_condition(model.encode(), before)
    model.transformer.set_adapters(["style", "few_step"], [1.0, 0.0])
    assert torch.allclose(model.predict(), styled_base(model), atol=ROUNDING)
    assert not torch.allclose(both, styled_base(model), atol=0.01)


@BOTH
def test_a_control_forced_onto_the_video_is_an_error_and_no_ruined_video(backbone: Backbone) -> None:
    model = toy(backbone)
    for layer in model.transformer.modules():
        if isinstance(layer, BaseTunerLayer):
            layer.set_adapter([CONDITION_ADAPTER])  # past the transformer's own methods
    with pytest.raises(FlexTrajError, match="set_adapters"):
        model.predict()
