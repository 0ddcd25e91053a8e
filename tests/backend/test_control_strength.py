"""Control strength: a bias of log(s) on the condition's logits, from exactly the base model to beyond."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from single_sequence import single_sequence
from toy_transformers import stock_toy, toy

from blender_addon.core.errors import FlexTrajError
from blender_addon.core.model_options import CacheStorage
from flextraj_backend.models import condition_merge
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.condition_merge import WeightedKeys, attention_with_lse, merged_attention
from flextraj_backend.models.token_pruning import KeptTokens

BOTH = pytest.mark.parametrize("backbone", list(Backbone))
ROUNDING = 3e-6


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def heads(seed: int, tokens: int, batch: int = 2, count: int = 3, size: int = 8, scale: float = 1.0):
    return scale * torch.randn(batch, tokens, count, size, generator=torch.Generator().manual_seed(seed))


def biased_attention(query, groups: list[WeightedKeys]) -> torch.Tensor:
    """One softmax over all, with the biases. (B, N, H, D)"""
    key = torch.cat([group.keys for group in groups], dim=1)
    value = torch.cat([group.values for group in groups], dim=1)
    bias = torch.cat([torch.full((g.keys.shape[1],), float(g.log_weight or 0)) for g in groups])
    logits = torch.einsum("bqhd,bkhd->bhqk", query.double(), key.double()) / math.sqrt(query.shape[-1])
    logits += bias
    return torch.einsum("bhqk,bkhd->bqhd", logits.softmax(dim=-1), value.double()).float()


@BOTH
def test_strength_0_is_the_base_model_bit_for_bit(backbone: Backbone) -> None:
    model = toy(backbone, batch=2)
    model.transformer.use_condition(model.encode(), 0.0)
    assert torch.equal(model.predict(613), stock_toy(backbone, model).predict(613))


@BOTH
def test_strength_1_is_the_trained_control_bit_for_bit(backbone: Backbone) -> None:
    model = toy(backbone)
    joint = model.joint(613)
    model.transformer.use_condition(model.encode(), 1.0)
    strong = model.predict(613)
    model.transformer.use_condition(model.encode())
    assert torch.equal(model.predict(613), strong)
    assert float((strong - joint).abs().max()) < ROUNDING


@BOTH
@pytest.mark.parametrize("strength", [0.05, 0.5, 0.999, 1.001, 2.0])
def test_any_strength_is_a_bias_on_the_conditions_logits(backbone: Backbone, strength: float) -> None:
    model = toy(backbone, batch=2)
    model.transformer.use_condition(model.encode(), strength)
    expected = single_sequence(model, 400, strength)
    assert float((model.predict(400) - expected).abs().max()) < ROUNDING


@BOTH
def test_the_knob_moves_smoothly_from_the_base_model_to_the_control(backbone: Backbone) -> None:
    model = toy(backbone)
    cache, base = model.encode(), model.predict()
    distances = []
    for strength in (1e-6, 0.25, 0.5, 1.0, 2.0):
        model.transformer.use_condition(cache, strength)
        distances.append(float(torch.linalg.norm(model.predict() - base)))
    assert distances == sorted(distances)
    assert distances[0] < 1e-4 * distances[3]


@BOTH
def test_strength_works_with_compact_caches(backbone: Backbone) -> None:
    model = toy(backbone)
    cache = model.encode()
    model.transformer.use_condition(cache, 0.4)
    exact = model.predict()
    model.transformer.use_condition(cache.stored(CacheStorage.FP8, "cpu"), 0.4)
    assert 0 < torch.linalg.norm(model.predict() - exact) < 0.03 * torch.linalg.norm(exact)


@BOTH
@pytest.mark.parametrize("strength", [-0.1, 2.01, math.nan, math.inf])
def test_a_strength_out_of_range_is_refused_and_changes_nothing(backbone: Backbone, strength: float) -> None:
    model = toy(backbone)
    cache = model.encode()
    model.transformer.use_condition(cache, 0.5)
    expected = model.predict()
    with pytest.raises(FlexTrajError, match=r"strength .* out of range"):
        model.transformer.use_condition(cache, strength)
    assert torch.equal(model.predict(), expected)


@BOTH
def test_a_strength_and_pruning_on_several_gpus_are_refused_with_advice(backbone: Backbone) -> None:
    model = toy(backbone)
    grid = model.transformer.condition_token_grid(model.latents)
    pruned = model.encode(keep=KeptTokens.choose(torch.arange(5), grid))
    for cache, strength in ((model.encode(), 0.5), (pruned, 1.0)):
        model.transformer.use_condition(cache, strength)
        processor = model.blocks[0].attn1.processor
        processor._parallel_config = object()  # as enable_parallelism sets it
        with pytest.raises(FlexTrajError, match="choose 1 and all tokens, or run on one GPU"):
            model.predict()
        processor._parallel_config = None


@settings(deadline=None, max_examples=50)
@given(
    tokens=st.lists(st.integers(1, 9), min_size=2, max_size=4),
    log_weight=st.floats(-20, 6),
    scale=st.floats(0.1, 20),
    seed=st.integers(0, 1000),
)
def test_merging_attentions_equals_one_softmax_with_biases(
    tokens: list[int], log_weight: float, scale: float, seed: int
) -> None:
    query = heads(seed, 5, scale=scale)
    groups = [
        WeightedKeys(
            heads(seed + 2 * number, count, scale=scale if number else 1.0),
            heads(seed + 2 * number + 1, count),
            torch.tensor(log_weight / number) if number else None,
        )
        for number, count in enumerate(tokens)
    ]
    expected = biased_attention(query, groups)
    assert torch.allclose(merged_attention(query, groups), expected, atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_devices_kernel_and_the_fallback_without_one_agree(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    query, key, value = (heads(seed, tokens).to(dtype) for seed, tokens in ((1, 13), (2, 7), (3, 7)))
    output, lse = attention_with_lse(query, key, value)
    assert (output.dtype, lse.dtype, lse.shape) == (dtype, torch.float32, (2, 13, 3))
    monkeypatch.setattr(condition_merge, "_MAX_LOGITS", 2 * 3 * 7 * 4)  # four queries at a time
    transposed = (tensor.transpose(1, 2) for tensor in (query, key, value))
    sliced, sliced_lse = condition_merge._attention_in_slices(*transposed)
    tolerance = 1e-6 if dtype is torch.float32 else 0.02
    assert torch.allclose(sliced.transpose(1, 2).float(), output.float(), atol=tolerance)
    assert torch.allclose(sliced_lse.transpose(1, 2), lse, atol=tolerance)
    logits = torch.einsum("bqhd,bkhd->bqhk", query.float(), key.float()) / math.sqrt(8)
    assert torch.allclose(lse, logits.logsumexp(dim=-1), atol=tolerance)
