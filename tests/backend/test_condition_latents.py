"""The conditioning videos' latents: wrong ones would steer the model by something it was not trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_pipelines as tiny
import torch
from accelerate.utils.operations import send_to_device
from control_files import GOLDEN_DIR
from controlled_runs import black_like, id_video
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import AutoencoderKLCogVideoX
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

from flextraj_backend.models.condition_latents import (
    assemble_cogvideox_latents,
    cogvideox_condition_latents,
    condition_generator,
    video_pixels,
    wan_condition_latents,
)

CPU = torch.device("cpu")
FIRST_FRAME = slice(16, 32)
"""Channels that hold the first frame's latents on CogVideoX."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("models")
    return {
        "cogvideox": tiny.build_tiny_cogvideox(base / "cogvideox"),
        "wan": tiny.build_tiny_wan(base / "wan"),
    }


@pytest.fixture
def cogvideox_vae(folders: dict[str, Path]) -> Any:
    return AutoencoderKLCogVideoX.from_pretrained(folders["cogvideox"] / "vae", local_files_only=True)


@pytest.fixture
def wan_vae(folders: dict[str, Path]) -> Any:
    return AutoencoderKLWan.from_pretrained(folders["wan"] / "vae", local_files_only=True)


@torch.no_grad()
def cogvideox_latents(vae: Any, ids: Any = None, color: Any = None) -> Any:
    ids = id_video() if ids is None else ids
    color = black_like(ids) if color is None else color
    return cogvideox_condition_latents(vae, ids, color, CPU, condition_generator())


@torch.no_grad()
def wan_latents(vae: Any, ids: Any = None, color: Any = None) -> Any:
    ids = id_video() if ids is None else ids
    return wan_condition_latents(vae, ids, black_like(ids) if color is None else color, CPU)


def test_cogvideox_condition_is_assembled_as_in_the_golden_arrays() -> None:
    with np.load(GOLDEN_DIR / "cogvideox_tiny.npz") as golden:
        made = assemble_cogvideox_latents(
            torch.from_numpy(golden["assembly_video"]),
            torch.from_numpy(golden["assembly_image"]),
            float(golden["assembly_scale"]),
        )
        np.testing.assert_allclose(made.numpy(), golden["assembly_out"], rtol=0, atol=1e-5)


def test_pixels_keep_their_range_and_order() -> None:
    ids = id_video()
    pixels = video_pixels(ids, CPU, torch.float32)
    assert pixels.shape == (1, 3, *ids.shape[:3])
    np.testing.assert_allclose(pixels[0].permute(1, 2, 3, 0).numpy(), ids / 127.5 - 1, atol=1e-6)
    for value, expected in ((0, -1.0), (170, 1 / 3), (255, 1.0)):
        flat = np.full((1, 1, 1, 3), value, np.uint8)
        assert float(video_pixels(flat, CPU, torch.float32)[0, 0]) == pytest.approx(expected, abs=1e-6)
    backwards = video_pixels(ids[::-1], CPU, torch.float32)
    assert torch.equal(backwards, pixels.flip(2))


def test_cogvideox_condition_holds_each_videos_own_first_frame(cogvideox_vae: Any) -> None:
    latents = cogvideox_latents(cogvideox_vae)
    assert latents.ids.shape == latents.color.shape == (1, 3, 32, 8, 12)
    for stream in (latents.ids, latents.color):
        assert stream[:, 0, FIRST_FRAME].abs().sum() > 0
        assert (stream[:, 1:, FIRST_FRAME] == 0).all()
    ids = id_video()
    with torch.no_grad():
        still = torch.from_numpy(ids[:1]).permute(3, 0, 1, 2)[None] / 127.5 - 1
        posterior = cogvideox_vae.encode(still).latent_dist
    spread = 0.7 * posterior.std[0, :, 0] * 6
    off = latents.ids[0, 0, FIRST_FRAME] - 0.7 * posterior.mean[0, :, 0]
    assert (off.abs() < spread + 1e-5).all(), "not a draw from the first frame's posterior"


def test_a_colour_video_that_is_off_is_encoded_and_not_left_out(cogvideox_vae: Any, wan_vae: Any) -> None:
    for latents in (cogvideox_latents(cogvideox_vae), wan_latents(wan_vae)):
        assert latents.color.abs().mean() > 1e-3
        assert not torch.equal(latents.color, latents.ids)


def test_same_videos_give_the_same_latents_whatever_else_is_random(cogvideox_vae: Any) -> None:
    torch.manual_seed(3)
    first = cogvideox_latents(cogvideox_vae)
    state = torch.get_rng_state()
    torch.manual_seed(4)
    second = cogvideox_latents(cogvideox_vae)
    assert torch.equal(first.ids, second.ids) and torch.equal(first.color, second.color)
    torch.manual_seed(3)
    assert torch.equal(torch.get_rng_state(), state), "the global generator was used"


def test_the_two_videos_get_draws_of_their_own(cogvideox_vae: Any) -> None:
    ids = id_video()
    same = cogvideox_latents(cogvideox_vae, ids, ids)
    assert not torch.equal(same.ids, same.color)
    assert not torch.equal(same.ids[:, 0, :16], same.ids[:, 0, FIRST_FRAME])


def test_whether_the_vae_slices_batches_makes_no_difference(cogvideox_vae: Any, wan_vae: Any) -> None:
    for vae, encode in ((cogvideox_vae, cogvideox_latents), (wan_vae, wan_latents)):
        together = encode(vae)
        vae.enable_slicing()
        sliced = encode(vae)
        assert torch.equal(sliced.ids, together.ids) and torch.equal(sliced.color, together.color)


def test_wan_condition_is_the_normalised_mode(wan_vae: Any) -> None:
    ids = id_video()
    latents = wan_latents(wan_vae)
    assert latents.ids.shape == latents.color.shape == (1, 48, 3, 4, 6)
    with torch.no_grad():
        pixels = torch.from_numpy(ids).permute(3, 0, 1, 2)[None] / 127.5 - 1
        mode = wan_vae.encode(pixels).latent_dist.mode()
    mean = torch.tensor(wan_vae.config.latents_mean)[:, None, None, None]
    deviation = torch.tensor(wan_vae.config.latents_std)[:, None, None, None]
    torch.testing.assert_close(latents.ids[0], (mode[0] - mean) / deviation, rtol=0, atol=1e-4)
    assert torch.equal(wan_latents(wan_vae).ids, latents.ids)


def test_one_video_does_not_leak_into_the_other(cogvideox_vae: Any, wan_vae: Any) -> None:
    bright = np.full_like(id_video(), 200)
    for vae, encode in ((cogvideox_vae, cogvideox_latents), (wan_vae, wan_latents)):
        plain, changed = encode(vae), encode(vae, color=bright)
        assert torch.equal(changed.ids, plain.ids)
        assert not torch.equal(changed.color, plain.color)


def test_offloading_moves_the_latents_with_the_model(wan_vae: Any) -> None:
    moved = send_to_device(wan_latents(wan_vae), torch.device("meta"))
    assert moved.ids.is_meta and moved.color.is_meta
