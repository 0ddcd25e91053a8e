"""The control while diffusers compiles, offloads, casts, quantises or skips parts of the transformer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import cpu_offload
from diffusers.hooks.first_block_cache import FirstBlockCacheConfig
from diffusers.hooks.mag_cache import MagCacheConfig
from diffusers.hooks.pyramid_attention_broadcast import PyramidAttentionBroadcastConfig
from diffusers.hooks.taylorseer_cache import TaylorSeerCacheConfig
from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry
from torch import nn
from torch._dynamo.testing import CompileCounter
from toy_transformers import Toy, toy

from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.checkpoint import SavedPrecision, load_adapter, save_adapter
from flextraj_backend.models.condition_cache import ConditionCache
from flextraj_backend.models.token_pruning import KeptTokens

BOTH = pytest.mark.parametrize("backbone", list(Backbone))
CPU = torch.device("cpu")
ROUNDING = 3e-6


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def controlled(model: Toy, cache: ConditionCache | None = None) -> torch.Tensor:
    model.transformer.use_condition(model.encode() if cache is None else cache)
    return model.predict()


def relative(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return float(torch.linalg.norm(actual - expected) / torch.linalg.norm(expected))


# Compiling


@BOTH
def test_compiled_blocks_read_the_condition_without_graph_breaks(backbone: Backbone) -> None:
    model = toy(backbone, layers=6)
    cache = model.encode()
    expected = controlled(model, cache)
    counter = CompileCounter()
    torch._dynamo.reset()
    model.transformer.compile_repeated_blocks(fullgraph=True, backend=counter)  # fails on a graph break
    assert torch.equal(controlled(model, cache), expected)
    # All layers share a graph; CogVideoX's first has other strides.
    graphs = counter.frame_count
    assert graphs <= 2
    model.predict(20)
    # Encoding runs as it is, and another cache of the same shape is no reason to compile again.
    assert torch.equal(controlled(model), expected)
    assert counter.frame_count == graphs


@BOTH
def test_compiled_blocks_follow_every_change_of_the_condition(backbone: Backbone) -> None:
    model = toy(backbone, layers=2)
    cache = model.encode()
    grid = model.transformer.condition_token_grid(model.latents)
    pruned = model.encode(keep=KeptTokens.choose(torch.arange(9), grid))
    uses: list[tuple[ConditionCache | None, float]] = [
        (cache, 1.0),
        (None, 1.0),
        (cache, 0.3),
        (pruned, 1.0),
        (pruned, 0.3),
        (cache, 1.6),
        (cache, 1.0),
    ]

    def videos() -> list[torch.Tensor]:
        results = []
        for use in uses:
            model.transformer.use_condition(*use)
            results.append(model.predict())
        return results

    expected = videos()
    torch._dynamo.reset()
    model.transformer.compile_repeated_blocks(fullgraph=True, backend="eager")
    for actual, reference in zip(videos(), expected, strict=True):
        assert float((actual - reference).abs().max()) < ROUNDING


@BOTH
def test_compiled_blocks_take_a_condition_that_waits_in_host_memory(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = toy(backbone, layers=10)
    cache = model.encode()
    expected = controlled(model, cache)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    model.transformer.use_condition(cache)
    monkeypatch.undo()
    torch._dynamo.reset()
    counter = CompileCounter()
    model.transformer.compile_repeated_blocks(backend=counter)
    assert torch.equal(model.predict(), expected)
    # A block is cut in pieces where it fetches its keys, but no layer is compiled by itself.
    assert counter.frame_count < 10


# Attention backends


@BOTH
def test_the_chosen_attention_backend_runs_in_both_streams(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = toy(backbone, layers=2)
    expected = controlled(model)
    before, _ = _AttentionBackendRegistry.get_active_backend()
    math = AttentionBackendName._NATIVE_MATH
    calls = []
    kernel = _AttentionBackendRegistry._backends[math]
    monkeypatch.setitem(
        _AttentionBackendRegistry._backends,
        math,
        lambda **inputs: (calls.append(inputs), kernel(**inputs))[1],
    )
    try:
        model.transformer.set_attention_backend("_native_math")
        _AttentionBackendRegistry.set_active_backend(before)  # the processors' own choice must hold
        assert float((controlled(model) - expected).abs().max()) < ROUNDING
    finally:
        _AttentionBackendRegistry.set_active_backend(before)
    # The last block's condition needs keys alone; Wan's blocks attend to the text too.
    assert len(calls) == (1 + 2 if backbone is Backbone.COGVIDEOX else 2 + 4)


# Offloading


@BOTH
def test_offloading_layer_by_layer_changes_nothing(backbone: Backbone) -> None:
    model = toy(backbone)
    expected, uncached = controlled(model), uncached_of(model)
    cpu_offload(model.transformer, execution_device=CPU)
    assert all(parameter.is_meta for parameter in model.blocks.parameters())
    assert torch.equal(controlled(model), expected)
    assert torch.equal(uncached_of(model), uncached)


@BOTH
@pytest.mark.parametrize(
    "offload", [{"offload_type": "block_level", "num_blocks_per_group": 2}, {"offload_type": "leaf_level"}]
)
def test_offloading_in_groups_changes_nothing(backbone: Backbone, offload: dict[str, Any]) -> None:
    model = toy(backbone)
    expected, uncached = controlled(model), uncached_of(model)
    model.transformer.enable_group_offload(onload_device=CPU, offload_device=CPU, **offload)
    assert torch.equal(controlled(model), expected)
    assert torch.equal(uncached_of(model), uncached)


def uncached_of(model: Toy) -> torch.Tensor:
    model.transformer.use_condition(None)
    return model.joint()


# Small weights


@BOTH
def test_8_bit_base_weights_leave_the_control_in_full_precision(backbone: Backbone) -> None:
    model = toy(backbone)
    expected = controlled(model)
    model.transformer.enable_layerwise_casting(torch.float8_e4m3fn, torch.float32)
    formats = {
        parameter.dtype
        for name, parameter in model.transformer.named_parameters()
        if ".flextraj." in name or name.startswith("fuse_linear.")
    }
    assert formats == {torch.float32}
    assert any(parameter.dtype is torch.float8_e4m3fn for parameter in model.blocks.parameters())
    assert 0 < relative(controlled(model), expected) < 0.1


@BOTH
def test_a_control_loaded_after_the_base_was_cast_to_8_bits_works(backbone: Backbone, tmp_path: Path) -> None:
    model = toy(backbone)
    path = save_adapter(model.transformer, tmp_path / "control.safetensors", SavedPrecision.FLOAT32)
    model.transformer.enable_layerwise_casting(torch.float8_e4m3fn, torch.float32)
    expected = controlled(model)
    model.transformer.add_control(2)
    fresh = dict(model.transformer.trainable_parameters())
    assert {parameter.dtype for parameter in fresh.values()} == {torch.float32}
    downs = [tensor for name, tensor in fresh.items() if ".lora_A." in name]
    assert all(len(tensor.unique()) > tensor.numel() / 2 for tensor in downs), "drawn in full precision"
    assert relative(controlled(model), expected) > 0.01
    load_adapter(model.transformer, path)
    assert relative(controlled(model), expected) < 1e-6


class Int8Linear(nn.Linear):
    """Stands for a quantised layer: its weight is no floating point tensor, only calling it works."""

    def quantise(self) -> None:
        self.scale = self.weight.abs().amax(dim=1, keepdim=True) / 127
        rounded = (self.weight / self.scale).round().to(torch.int8)
        self.weight = nn.Parameter(rounded, requires_grad=False)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(input, self.weight * self.scale, self.bias)


@BOTH
def test_the_control_works_over_quantised_base_layers(backbone: Backbone) -> None:
    model = toy(backbone)
    expected = controlled(model)
    for layer in model.blocks.modules():
        if type(layer) is nn.Linear and layer.weight.shape[0] > 4 < layer.weight.shape[1]:
            layer.__class__ = Int8Linear
            layer.quantise()  # pyright: ignore
    quantised = model.blocks[0].attn1.to_q.base_layer
    assert quantised.weight.dtype is torch.int8
    result = controlled(model)
    assert 0 < relative(result, expected) < 0.1
    assert float((uncached_of(model) - result).abs().max()) < ROUNDING


# Step caching


def pyramid() -> PyramidAttentionBroadcastConfig:
    return PyramidAttentionBroadcastConfig(
        spatial_attention_block_skip_range=2,
        spatial_attention_timestep_skip_range=(100, 950),
        spatial_attention_block_identifiers=("blocks", "transformer_blocks"),
        current_timestep_callback=lambda: 500,
    )


STEP_CACHES: list[Callable[[], Any]] = [
    lambda: FirstBlockCacheConfig(threshold=0.9),
    lambda: MagCacheConfig(num_inference_steps=6, mag_ratios=[1.0] * 6, retention_ratio=0.2),
    lambda: TaylorSeerCacheConfig(
        cache_interval=3, disable_cache_before_step=2, cache_identifiers=[".*attn1"]
    ),
    pyramid,
]


def six_steps(model: Toy) -> torch.Tensor:
    outputs = []
    for step in range(6):
        with model.transformer.cache_context("cond"):
            outputs.append(model.predict(900 - 100 * step))
    return torch.stack(outputs)


@BOTH
@pytest.mark.parametrize("step_cache", STEP_CACHES)
def test_step_caching_skips_work_and_never_the_encoding(backbone: Backbone, step_cache: Callable) -> None:
    model = toy(backbone, layers=5)
    cache = model.encode()
    model.transformer.use_condition(cache)
    exact = six_steps(model)
    model.transformer.enable_cache(step_cache())
    again = model.encode()
    for first, second in zip((*cache.keys, *cache.values), (*again.keys, *again.values), strict=True):
        assert torch.equal(first, second)
    assert model.transformer.is_cache_enabled
    assert 0 < relative(six_steps(model), exact) < 0.2
    model.transformer.disable_cache()
    assert torch.equal(six_steps(model), exact)
