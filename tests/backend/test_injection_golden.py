"""The reference implementation's numbers, within the tolerances of the golden arrays' README."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from toy_transformers import Toy, golden_arrays, golden_gradients, golden_toy

from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.checkpoint_names import authors_name
from flextraj_backend.models.condition import ConditionLatents

TOLERANCE = 1e-5
CACHED_TOLERANCE = 1e-6
GRADIENT_TOLERANCE = 2e-6
BOTH = pytest.mark.parametrize("backbone", list(Backbone))


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def assert_close(actual: torch.Tensor, expected: torch.Tensor, tolerance: float = TOLERANCE) -> None:
    assert actual.shape == expected.shape
    assert float((actual - expected).abs().max()) <= tolerance


def at_step(golden: Toy, arrays: dict[str, torch.Tensor], step: int, text: str = "text") -> Toy:
    """The golden inputs of the first or second timestep, with the positive or negative text."""
    if golden.transformer.backbone is Backbone.WAN:
        latents = arrays[f"latents_t{step}"]
        encode_inputs = {"encoder_hidden_states": arrays[text]}
    else:
        latents = torch.cat([arrays[f"noisy_t{step}"], arrays["image_latents"]], dim=2)
        encode_inputs = golden.encode_inputs
    inputs = {**golden.inputs, "hidden_states": latents, "encoder_hidden_states": arrays[text]}
    return replace(golden, inputs=inputs, encode_inputs=encode_inputs)


def predict(golden: Toy, arrays: dict[str, torch.Tensor], step: int, text: str = "text") -> torch.Tensor:
    return at_step(golden, arrays, step, text).predict(float(arrays["timesteps"][step - 1]))


def predict_joint(
    golden: Toy, arrays: dict[str, torch.Tensor], step: int, text: str = "text"
) -> torch.Tensor:
    return at_step(golden, arrays, step, text).joint(float(arrays["timesteps"][step - 1]))


@BOTH
def test_a_video_without_a_cache_is_the_authors(backbone: Backbone) -> None:
    golden, arrays = golden_toy(backbone), golden_arrays(backbone)
    assert_close(predict_joint(golden, arrays, 1), arrays["out_t1"])
    assert_close(predict_joint(golden, arrays, 2), arrays["out_t2"])


@BOTH
def test_a_video_from_the_condition_cache_is_the_authors(backbone: Backbone) -> None:
    golden, arrays = golden_toy(backbone), golden_arrays(backbone)
    golden.transformer.use_condition(golden.encode())
    assert_close(predict(golden, arrays, 1), arrays["cached_write_t1"])
    assert_close(predict(golden, arrays, 2), arrays["cached_read_t2"])


@BOTH
def test_the_cache_changes_no_pixel(backbone: Backbone) -> None:
    golden, arrays = golden_toy(backbone), golden_arrays(backbone)
    uncached = predict_joint(golden, arrays, 2)
    golden.transformer.use_condition(golden.encode())
    assert_close(predict(golden, arrays, 2), uncached, CACHED_TOLERANCE)


@BOTH
def test_a_black_colour_video_acts_as_the_authors_does(backbone: Backbone) -> None:
    golden, arrays = golden_toy(backbone), golden_arrays(backbone)
    golden.latents = ConditionLatents(arrays["id_latents"], arrays["color_off_latents"])
    assert_close(predict_joint(golden, arrays, 1), arrays["color_off_out_t1"])
    golden.transformer.use_condition(golden.encode())
    assert_close(predict(golden, arrays, 1), arrays["color_off_out_t1"])


@BOTH
def test_id_and_colour_videos_are_not_mixed_up(backbone: Backbone) -> None:
    golden, arrays = golden_toy(backbone), golden_arrays(backbone)
    golden.latents = ConditionLatents(arrays["color_latents"], arrays["id_latents"])
    assert_close(predict_joint(golden, arrays, 1), arrays["swapped_streams_out_t1"])
    assert not torch.allclose(arrays["swapped_streams_out_t1"], arrays["out_t1"], atol=0.01)


@BOTH
def test_condition_tokens_are_id_tokens_plus_fused_colour_tokens(backbone: Backbone) -> None:
    golden, arrays = golden_toy(backbone), golden_arrays(backbone)
    seen = {}
    hooks = [
        golden.transformer.fuse_linear.register_forward_hook(
            lambda _, inputs, output: seen.update(color=inputs[0], fused=output)
        ),
        golden.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.update(condition=inputs[0])),
    ]
    golden.encode()
    for hook in hooks:
        hook.remove()
    assert_close(seen["color"], arrays["color_tokens"])
    assert_close(seen["condition"], arrays["cond_tokens"])
    assert_close(seen["condition"] - seen["fused"], arrays["id_tokens"])


def test_both_guidance_halves_of_cogvideox_share_one_cache() -> None:
    golden, arrays = golden_toy(Backbone.COGVIDEOX), golden_arrays(Backbone.COGVIDEOX)
    arrays["both"] = torch.cat([arrays["text_negative"], arrays["text"]])
    golden.transformer.use_condition(golden.encode())
    for step, expected in ((1, "cfg_out_t1"), (2, "cfg_cached_read_t2")):
        halves = at_step(golden, arrays, step, "both")
        halves.inputs["hidden_states"] = halves.inputs["hidden_states"].expand(2, -1, -1, -1, -1)
        assert_close(halves.predict(float(arrays["timesteps"][step - 1])), arrays[expected])


def test_without_a_condition_cogvideox_is_the_base_model() -> None:
    golden, arrays = golden_toy(Backbone.COGVIDEOX), golden_arrays(Backbone.COGVIDEOX)
    assert_close(predict(golden, arrays, 1), arrays["base_out_t1"])


def test_condition_keys_of_cogvideox_are_the_authors_after_norm_and_rotation() -> None:
    golden, arrays = golden_toy(Backbone.COGVIDEOX), golden_arrays(Backbone.COGVIDEOX)
    cache = golden.encode()
    assert_close(torch.stack(cache.keys).transpose(2, 3), arrays["cache_keys"])
    assert_close(torch.stack(cache.values).transpose(2, 3), arrays["cache_values"])


def test_condition_keys_of_wan_are_the_authors() -> None:
    golden, arrays = golden_toy(Backbone.WAN), golden_arrays(Backbone.WAN)
    cache = golden.encode()
    cosines, sines = golden.transformer.rope(golden.latents.ids)  # (1, N, 1, D) each
    rotation = torch.complex(cosines, sines)[..., ::2]
    for layer, block in enumerate(golden.blocks):
        assert_close(cache.values[layer].flatten(2), arrays["cache_values"][layer])
        # The authors keep keys before norm and rotation.
        pairs = block.attn1.norm_k(arrays["cache_keys_raw"][layer]).unflatten(2, (2, -1, 2))
        rotated = torch.view_as_real(torch.view_as_complex(pairs) * rotation).flatten(3)
        assert_close(cache.keys[layer], rotated.float())


def test_wan_reads_the_negative_prompt_with_a_cache_of_its_own() -> None:
    golden, arrays = golden_toy(Backbone.WAN), golden_arrays(Backbone.WAN)
    assert_close(predict_joint(golden, arrays, 1, "text_negative"), arrays["negative_out_t1"])
    golden.transformer.use_condition(at_step(golden, arrays, 1, "text_negative").encode())
    assert_close(predict(golden, arrays, 2, "text_negative"), arrays["negative_cached_read_t2"])


@BOTH
def test_training_follows_the_authors_gradients(backbone: Backbone) -> None:
    golden, arrays = golden_toy(backbone), golden_arrays(backbone)
    with torch.enable_grad():
        loss = (predict_joint(golden, arrays, 1) * arrays["grad_weight"]).mean()
        loss.backward()
    assert_close(loss.detach(), arrays["grad_loss"])
    gradients = {
        authors_name(backbone, name.replace(".flextraj.", ".")): gradient_of(parameter)
        for name, parameter in golden.transformer.named_parameters()
        if ".flextraj." in name or name.startswith("fuse_linear.")
    }
    expected = golden_gradients(backbone)
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        assert_close(gradient, expected[name], GRADIENT_TOLERANCE)


def gradient_of(parameter: nn.Parameter) -> torch.Tensor:
    """Zero where training does not reach."""
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
