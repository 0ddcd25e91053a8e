"""The two streams compute what one masked sequence would, with a cache and without."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from single_sequence import single_sequence
from toy_transformers import CONTROLLED, Toy, stock_toy, toy, with_inputs

from blender_addon.core.errors import FlexTrajError
from flextraj_backend.models.backbone import Backbone, TokenGrid
from flextraj_backend.models.token_pruning import KeptTokens

BOTH = pytest.mark.parametrize("backbone", list(Backbone))
ROUNDING = 3e-6
"""Of outputs of order 1, computed in another order."""
STEPS = 12
GUIDANCE = 6.0


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def largest_difference(first: torch.Tensor, second: torch.Tensor) -> float:
    return float((first - second).abs().max())


@BOTH
@pytest.mark.parametrize("timestep", [900, 400, 20])
def test_condition_tokens_see_only_themselves_and_noise_sees_both(backbone: Backbone, timestep: int) -> None:
    model = toy(backbone, batch=2)
    expected = single_sequence(model, timestep)
    assert largest_difference(model.joint(timestep), expected) < ROUNDING
    model.transformer.use_condition(model.encode())
    assert largest_difference(model.predict(timestep), expected) < ROUNDING


@BOTH
def test_kept_condition_tokens_keep_their_places(backbone: Backbone) -> None:
    model = toy(backbone)
    keep = KeptTokens(torch.tensor([3, 10, 11, 60]), torch.arange(0))
    cache = model.encode(keep=keep)
    model.transformer.use_condition(cache)
    assert largest_difference(model.predict(300), single_sequence(model, 300, keep=keep)) < ROUNDING
    assert cache.tokens == 4


@BOTH
@pytest.mark.parametrize("strength", [1.0, 0.4, 2.0])
def test_a_representative_counts_for_the_background_that_was_left_out(
    backbone: Backbone, strength: float
) -> None:
    model = toy(backbone, batch=2)
    keep = KeptTokens(torch.tensor([3, 10, 11, 60]), torch.tensor([0, 7, 25, 33, 58]))
    cache = model.encode(keep=keep)
    model.transformer.use_condition(cache, strength)
    expected = single_sequence(model, 300, strength, keep)
    assert largest_difference(model.predict(300), expected) < ROUNDING
    assert cache.tokens == 9
    unweighted = KeptTokens(keep.places.sort().values, torch.arange(0))
    assert largest_difference(single_sequence(model, 300, strength, unweighted), expected) > 1e-3


@BOTH
def test_keeping_every_token_is_the_same_as_not_choosing(backbone: Backbone) -> None:
    model = toy(backbone)
    grid = model.transformer.condition_token_grid(model.latents)
    cache = model.encode()
    everything = model.encode(keep=KeptTokens.choose(torch.arange(grid.tokens), grid))
    for kept, all_tokens in zip(everything.keys, cache.keys, strict=True):
        assert torch.equal(kept, all_tokens)
    model.transformer.use_condition(cache)
    expected = model.predict(300)
    model.transformer.use_condition(everything)
    assert torch.equal(model.predict(300), expected)


@BOTH
def test_a_whole_guided_denoising_from_the_cache_is_the_uncached_one(backbone: Backbone) -> None:
    model = toy(backbone)
    prompts = prompts_of(model)
    caches = [prompt.encode() for prompt in prompts]

    def from_cache(prompt: int, latents: torch.Tensor, timestep: float) -> torch.Tensor:
        model.transformer.use_condition(caches[prompt])
        return prompts[prompt].predict(timestep, hidden_states=latents)

    def uncached(prompt: int, latents: torch.Tensor, timestep: float) -> torch.Tensor:
        model.transformer.use_condition(None)
        return prompts[prompt].joint(timestep, hidden_states=latents)

    cached_video, uncached_video = (denoise(model, predict) for predict in (from_cache, uncached))
    assert torch.linalg.norm(cached_video - uncached_video) <= 1e-6 * torch.linalg.norm(uncached_video)
    assert cached_video.isfinite().all()


def prompts_of(model: Toy) -> list[Toy]:
    """The toy with its negative and its positive prompt."""
    negative = with_inputs(model.transformer, seed=77)
    for name in ("hidden_states", "image_rotary_emb"):
        if name in model.inputs:
            negative.inputs[name] = model.inputs[name]
    negative.latents = model.latents
    if model.transformer.backbone is Backbone.COGVIDEOX:
        negative.encode_inputs = model.encode_inputs
    return [negative, model]


def denoise(model: Toy, predict) -> torch.Tensor:
    """Euler steps with guidance from noise; the channels that hold CogVideoX's photo stay."""
    latents = model.inputs["hidden_states"].clone()
    noisy = latents[:, :, :16] if model.transformer.backbone is Backbone.COGVIDEOX else latents
    for step in range(STEPS):
        timestep = 999.0 * (1 - step / STEPS)
        unconditional, conditional = (predict(prompt, latents, timestep) for prompt in (0, 1))
        noisy -= (unconditional + GUIDANCE * (conditional - unconditional)) / STEPS
    return noisy


@BOTH
def test_a_controlled_model_without_a_condition_is_the_base_model_bit_for_bit(backbone: Backbone) -> None:
    model = toy(backbone)
    expected = stock_toy(backbone, model).predict(731)
    assert torch.equal(model.predict(731), expected)
    model.transformer.use_condition(model.encode())
    assert not torch.allclose(model.predict(731), expected, atol=0.01)
    model.transformer.use_condition(None)
    assert torch.equal(model.predict(731), expected)


@BOTH
def test_a_fresh_control_draws_attention_but_ignores_colour(backbone: Backbone) -> None:
    model = toy(backbone)
    model.transformer.add_control(rank=2)
    colored = model.encode()
    model.latents.color.zero_()
    assert torch.equal(model.encode().keys[0], colored.keys[0])
    base = model.predict()
    model.transformer.use_condition(colored)
    assert not torch.allclose(model.predict(), base, atol=1e-3)


@BOTH
def test_one_cache_serves_a_batch_of_any_size(backbone: Backbone) -> None:
    model = toy(backbone)
    cache = model.encode()
    batch = with_inputs(model.transformer, batch=3, seed=1)
    batch.latents = model.latents
    if backbone is Backbone.WAN:  # whose cache belongs to one prompt
        batch.inputs["encoder_hidden_states"] = model.inputs["encoder_hidden_states"].expand(3, -1, -1)
    else:
        batch.inputs["image_rotary_emb"] = model.inputs["image_rotary_emb"]
    model.transformer.use_condition(cache)
    together = batch.predict(640)
    for sample in range(3):
        inputs = {
            name: batch.inputs[name][sample : sample + 1]
            for name in ("hidden_states", "encoder_hidden_states")
        }
        assert largest_difference(model.predict(640, **inputs), together[sample : sample + 1]) < ROUNDING


def test_each_sample_of_a_batch_may_have_its_own_condition() -> None:
    model = toy(Backbone.WAN, batch=2)
    cache = model.encode()
    assert cache.batch == 2
    model.transformer.use_condition(cache)
    assert largest_difference(model.predict(640), model_uncached(model, 640)) < ROUNDING


def model_uncached(model: Toy, timestep: float) -> torch.Tensor:
    model.transformer.use_condition(None)
    return model.joint(timestep)


@BOTH
def test_the_condition_depends_on_no_noise_and_no_timestep(backbone: Backbone) -> None:
    model = toy(backbone)
    before = model.encode()
    model.transformer.use_condition(before)
    model.predict(900)
    model.inputs["hidden_states"].normal_()
    after = model.encode()
    for first, second in zip((*before.keys, *before.values), (*after.keys, *after.values), strict=True):
        assert torch.equal(first, second)


@BOTH
def test_a_pruned_condition_leaves_the_next_one_alone(backbone: Backbone) -> None:
    model = toy(backbone)
    grid = model.transformer.condition_token_grid(model.latents)
    cache, pruned = model.encode(), model.encode(keep=KeptTokens.choose(torch.arange(9), grid))
    model.transformer.use_condition(cache)
    expected = model.predict(300)
    model.transformer.use_condition(pruned)
    assert torch.equal(model.encode().keys[-1], cache.keys[-1])
    sparse = model.predict(300)
    model.transformer.use_condition(cache)
    assert torch.equal(model.predict(300), expected)
    model.encode(keep=pruned.kept)
    assert torch.equal(model.predict(300), expected)
    assert largest_difference(sparse, expected) > 1e-3


@BOTH
def test_a_condition_in_use_stays_in_use_when_another_is_encoded(backbone: Backbone) -> None:
    model = toy(backbone)
    model.transformer.use_condition(model.encode(), 0.5)
    expected = model.predict()
    model.encode()
    assert torch.equal(model.predict(), expected)


@BOTH
def test_a_video_of_another_length_than_the_models_default_is_controlled_too(backbone: Backbone) -> None:
    model = toy(backbone)
    shorter = with_inputs(model.transformer, frames=2)
    cache = shorter.encode()
    assert cache.grid == TokenGrid(2, 4, 6)
    shorter.transformer.use_condition(cache)
    assert largest_difference(shorter.predict(10), single_sequence(shorter, 10)) < ROUNDING


@BOTH
def test_a_half_precision_base_model_from_disk_takes_the_control(backbone: Backbone, tmp_path: Path) -> None:
    stock = stock_toy(backbone, toy(backbone))
    stock.transformer.save_pretrained(tmp_path)
    transformer, report = CONTROLLED[backbone].from_pretrained(
        tmp_path, torch_dtype=torch.bfloat16, local_files_only=True, output_loading_info=True
    )
    assert not any(report.values())  # nothing missing, nothing left over
    model = with_inputs(transformer.add_control(rank=2))
    text = model.inputs["encoder_hidden_states"].bfloat16()
    model.inputs |= {"hidden_states": model.inputs["hidden_states"].bfloat16(), "encoder_hidden_states": text}
    if backbone is Backbone.WAN:
        model.encode_inputs["encoder_hidden_states"] = text
        # As diffusers loads it, a part stays in single precision.
        assert {parameter.dtype for parameter in transformer.parameters()} == {torch.bfloat16, torch.float32}
    joint, cache = model.joint(), model.encode()  # the latents are given in single precision
    transformer.use_condition(cache)
    assert joint.dtype is cache.dtype is torch.bfloat16
    assert torch.equal(model.predict(), joint)
    exact = with_inputs(CONTROLLED[backbone].adopt(stock.transformer).add_control(rank=2)).joint()
    assert torch.linalg.norm(joint - exact) < 0.05 * torch.linalg.norm(exact)


def test_wan_takes_one_timestep_for_all_tokens_too() -> None:
    model = toy(Backbone.WAN, batch=2)
    model.timestep = lambda timestep: torch.full((2,), timestep)
    joint = model.joint(421)
    model.timestep = lambda timestep: torch.full((2, 72), timestep)
    assert largest_difference(model.joint(421), joint) < ROUNDING
    model.transformer.use_condition(model.encode())
    assert largest_difference(model.predict(421), joint) < ROUNDING


@BOTH
def test_a_condition_beside_a_cache_in_use_is_refused(backbone: Backbone) -> None:
    model = toy(backbone)
    model.transformer.use_condition(model.encode())
    with pytest.raises(FlexTrajError, match=r"use_condition\(None\)"):
        model.joint()


@BOTH
def test_a_transformer_without_control_says_so(backbone: Backbone) -> None:
    model = toy(backbone)
    cache = model.encode()
    model.transformer.delete_adapters("flextraj")
    for attempt in (model.encode, model.joint, lambda: model.transformer.use_condition(cache)):
        with pytest.raises(FlexTrajError, match="no trajectory control"):
            attempt()
