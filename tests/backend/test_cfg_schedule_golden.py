"""Samplers and guidance against the golden arrays: other noise levels or scales would give other videos."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tiny_pipelines as tiny
import torch
from control_files import GOLDEN_DIR
from diffusers.schedulers.scheduling_ddim_cogvideox import CogVideoXDDIMScheduler
from diffusers.schedulers.scheduling_dpm_cogvideox import CogVideoXDPMScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from blender_addon.core.model_options import GuidanceSchedule, SchedulerChoice
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.guidance import DEFAULT_GUIDANCE, guidance_scales
from flextraj_backend.models.schedulers import (
    WanEulerScheduler,
    make_scheduler,
    timesteps_for_model,
    wan_training_schedule,
)
from flextraj_backend.models.wan_pipeline import with_first_frame


@pytest.fixture(scope="module")
def golden() -> dict[str, NDArray[Any]]:
    with np.load(GOLDEN_DIR / "cfg_schedule.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def cogvideox_scheduler(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The one that a base model's folder names."""
    folder = tiny.build_tiny_cogvideox(tmp_path_factory.mktemp("cogvideox"))
    return CogVideoXDDIMScheduler.from_pretrained(folder / "scheduler", local_files_only=True)


@pytest.fixture
def cogvideox(cogvideox_scheduler: Any, golden: dict[str, NDArray[Any]]) -> Any:
    sampler = make_scheduler(Backbone.COGVIDEOX, SchedulerChoice.AUTHORS, cogvideox_scheduler)
    sampler.set_timesteps(int(golden["steps"][0]))
    return sampler


@pytest.fixture
def wan(golden: dict[str, NDArray[Any]]) -> Any:
    sampler = make_scheduler(Backbone.WAN, SchedulerChoice.AUTHORS, UniPCMultistepScheduler())
    sampler.set_timesteps(int(golden["steps"][0]))
    return sampler


def test_cogvideox_denoises_at_the_authors_noise_levels(
    cogvideox: Any, golden: dict[str, NDArray[Any]]
) -> None:
    assert isinstance(cogvideox, CogVideoXDPMScheduler)
    assert_array_equal(cogvideox.timesteps.numpy(), golden["cog_timesteps_50"])
    alphas = cogvideox.alphas_cumprod[cogvideox.timesteps].numpy()
    assert_allclose(alphas, golden["cog_alphas_cumprod_50"], rtol=0, atol=2e-6)


def test_cogvideox_guides_as_in_the_published_runs(cogvideox: Any, golden: dict[str, NDArray[Any]]) -> None:
    scale = float(golden["guidance_scale"])
    assert scale == DEFAULT_GUIDANCE[Backbone.COGVIDEOX]
    scales = guidance_scales(
        GuidanceSchedule.AUTHORS, Backbone.COGVIDEOX, scale, cogvideox.timesteps.tolist()
    )
    assert_allclose(scales, golden["cog_guidance_50"], rtol=0, atol=1e-6)


def test_wan_denoises_at_the_authors_noise_levels(wan: Any, golden: dict[str, NDArray[Any]]) -> None:
    assert type(wan).__name__ == WanEulerScheduler.__name__
    assert_allclose(wan.sigmas[:-1].numpy(), golden["wan_sigmas_50"], rtol=0, atol=1e-6)
    assert wan.sigmas[-1] == 0
    exact = timesteps_for_model(wan, torch.float32)
    assert_allclose(exact.numpy(), golden["wan_timesteps_50"], rtol=0, atol=1e-3)
    rounded = timesteps_for_model(wan, torch.bfloat16)
    assert_allclose(rounded.numpy(), golden["wan_timesteps_bf16_50"], rtol=0, atol=1e-3)


def test_a_guided_wan_step_lands_where_the_authors_step_does(
    wan: Any, golden: dict[str, NDArray[Any]]
) -> None:
    tensors = {name: torch.from_numpy(array) for name, array in golden.items() if name.startswith("euler_")}
    scale = float(golden["euler_guidance"])
    assert scale == DEFAULT_GUIDANCE[Backbone.WAN]
    velocity = tensors["euler_uncond"] + scale * (tensors["euler_cond"] - tensors["euler_uncond"])
    torch.testing.assert_close(velocity, tensors["euler_velocity"], rtol=0, atol=1e-5)

    for index, expected in ((int(golden["euler_index"]), "euler_out"), (-1, "euler_out_last_step")):
        wan.set_timesteps(int(golden["steps"][0]))
        stepped = wan.step(velocity, wan.timesteps[index], tensors["euler_sample"], return_dict=False)[0]
        torch.testing.assert_close(stepped, tensors[expected], rtol=0, atol=1e-5)
        if expected == "euler_out":
            restored = with_first_frame(stepped, tensors["euler_first_frame"])
            torch.testing.assert_close(restored, tensors["euler_out_first_restored"], rtol=0, atol=1e-5)


def test_wan_trains_at_the_authors_noise_levels_and_weights(golden: dict[str, NDArray[Any]]) -> None:
    schedule = wan_training_schedule()
    assert_allclose(schedule.sigmas.numpy(), golden["wan_train_sigmas"], rtol=0, atol=1e-6)
    assert_allclose(schedule.timesteps.numpy(), golden["wan_train_timesteps"], rtol=0, atol=1e-3)
    assert_allclose(schedule.weights.numpy(), golden["wan_train_weights"], rtol=0, atol=1e-4)


def test_the_models_own_sampler_is_a_fresh_copy_of_the_folders(
    cogvideox_scheduler: Any,
) -> None:
    used: Any = UniPCMultistepScheduler(
        flow_shift=3.0, use_flow_sigmas=True, prediction_type="flow_prediction"
    )
    used.set_timesteps(4)
    used.step(torch.ones(1, 2), used.timesteps[0], torch.ones(1, 2))
    fresh: Any = make_scheduler(Backbone.WAN, SchedulerChoice.MODEL, used)
    assert fresh.__class__ is UniPCMultistepScheduler
    assert fresh.config.flow_shift == 3.0
    assert fresh.model_outputs == [None, None], "the next job would go on from this one's history"
    own: Any = make_scheduler(Backbone.COGVIDEOX, SchedulerChoice.MODEL, cogvideox_scheduler)
    assert own.__class__ is CogVideoXDDIMScheduler
    assert own.config.timestep_spacing == "trailing"


@pytest.mark.parametrize("backbone", list(Backbone))
def test_constant_and_rising_guidance_do_what_they_say(backbone: Backbone) -> None:
    timesteps = [999.0, 749.0, 499.0, 249.0, 9.0]
    assert guidance_scales(GuidanceSchedule.CONSTANT, backbone, 4.0, timesteps) == (4.0,) * 5
    ramp = guidance_scales(GuidanceSchedule.RAMP, backbone, 4.0, timesteps)
    assert ramp[0] == 1.0 and ramp[2] == pytest.approx(2.5) and ramp[-1] == pytest.approx(4.0)
    assert sorted(ramp) == list(ramp)
    assert guidance_scales(GuidanceSchedule.RAMP, backbone, 4.0, [999.0]) == (4.0,)


def test_wans_published_guidance_is_constant() -> None:
    assert guidance_scales(GuidanceSchedule.AUTHORS, Backbone.WAN, 5.0, [1000.0, 500.0]) == (5.0, 5.0)


def test_the_training_weights_favour_the_middle_and_sum_to_their_number() -> None:
    schedule = wan_training_schedule()
    middle = int(schedule.weights.argmax())
    assert abs(float(schedule.timesteps[middle]) - 500) < 2
    assert float(schedule.weights.double().sum()) == pytest.approx(1000, abs=1e-2)
