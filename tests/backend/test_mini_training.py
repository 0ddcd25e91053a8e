"""The small model's own parts: its autoencoder, the pretraining of its base, its configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from blender_addon.core.errors import RequestError
from flextraj_backend.mini.autoencoder import build_autoencoder, fix_posterior
from flextraj_backend.mini.autoencoder_settings import AutoencoderSettings, AutoencoderTraining
from flextraj_backend.mini.autoencoder_training import (
    AutoencoderReport,
    as_pixels,
    decode,
    encode_mode,
    train_autoencoder,
)
from flextraj_backend.mini.base_folder import build_transformer
from flextraj_backend.mini.base_settings import BaseTraining, TransformerSettings
from flextraj_backend.mini.base_training import BaseReport, LatentPool, train_base
from flextraj_backend.mini.pictures import VideoPool
from flextraj_backend.mini.settings import read_settings
from flextraj_backend.models.frame_autoencoder import frame_by_frame, sees_frames_alone

WIDTH, HEIGHT, FRAMES = 32, 16, 3
SMALL = AutoencoderSettings((16, 32), latent_channels=8)
TINY = TransformerSettings(heads=2, head_dim=16, layers=2, time_width=16, patch=2, text_tokens=4)


def small_autoencoder() -> Any:
    torch.manual_seed(0)
    return build_autoencoder(SMALL, WIDTH, HEIGHT)


def bright_videos(count: int, seed: int) -> np.ndarray:
    """Flat pictures with a moving square: (count, T, H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    videos = np.empty((count, FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    for video in videos:
        video[:] = rng.integers(0, 256, 3)
        left, color = int(rng.integers(WIDTH - 14)), rng.integers(0, 256, 3)
        for frame in range(FRAMES):
            video[frame, 4:12, left + 3 * frame : left + 3 * frame + 8] = color
    return videos


def test_frame_by_frame_changes_no_number_of_the_autoencoder() -> None:
    model = small_autoencoder()
    pixels = as_pixels(bright_videos(2, 1), torch.device("cpu"))
    with torch.no_grad():
        stock = decode(model, encode_mode(model, pixels))
        with frame_by_frame(model):
            fast = decode(model, encode_mode(model, pixels))
        again = decode(model, encode_mode(model, pixels))
    assert torch.allclose(stock, fast, atol=1e-4)
    assert torch.equal(stock, again)


def test_an_autoencoder_that_looks_back_in_time_is_not_taken_for_one_that_does_not() -> None:
    model = small_autoencoder()
    assert sees_frames_alone(model)
    with torch.no_grad():
        model.encoder.conv_in.conv.weight[0, 0, 0] = 1.0
    assert not sees_frames_alone(model)


def test_the_autoencoder_learns_colours_within_a_few_dozen_steps() -> None:
    model, reports = small_autoencoder(), list[AutoencoderReport]()
    pool = VideoPool(bright_videos(24, 2), bright_videos(8, 3), ())
    held_out = VideoPool(bright_videos(4, 4), bright_videos(4, 5), ())
    settings = AutoencoderTraining(steps=150, batch=8, frames=1, learning_rate=3e-3)
    train_autoencoder(model, pool, held_out, settings, reports.append, every=50)
    spread = as_pixels(held_out.videos, torch.device("cpu")).var().item()
    assert [report.step for report in reports] == [50, 100, 150]
    assert reports[-1].video_error < 0.3 * spread
    latents = encode_mode(model, as_pixels(held_out.videos, torch.device("cpu")))
    assert model.config["scaling_factor"] * latents.std().item() == pytest.approx(1, rel=0.1)
    assert sees_frames_alone(model)


def test_latents_are_drawn_with_hardly_any_noise_whatever_the_picture() -> None:
    model = small_autoencoder()
    fix_posterior(model)
    with torch.no_grad():
        posterior = model.encode(as_pixels(bright_videos(2, 6), torch.device("cpu"))).latent_dist
    assert torch.allclose(posterior.std, posterior.std.flatten()[0])
    assert posterior.std.max() < 0.02


def tiny_latents() -> LatentPool:
    generator = torch.Generator().manual_seed(0)
    videos = torch.randn((6, FRAMES, 8, 8, 16), generator=generator).bfloat16()
    texts = torch.randn((6, 4, 64), generator=generator)
    return LatentPool(videos, videos[:, :1], texts, texts[0])


class Interruption(Exception):
    pass


def train_tiny_base(state: Path, stop_after: int = 6) -> dict[str, torch.Tensor]:
    """Weights after six steps; the run breaks off after `stop_after` of them."""
    torch.manual_seed(0)
    transformer: Any = build_transformer(TINY, small_autoencoder(), FRAMES, WIDTH, HEIGHT)

    def break_off(report: BaseReport) -> None:
        if report.step > stop_after:
            raise Interruption

    train_base(
        transformer,
        tiny_latents(),
        torch.linspace(0.999, 0, 1000),
        lambda _: _rotary(),
        BaseTraining(steps=6, batch=3, learning_rate=1e-3, warmup=2),
        state,
        break_off,
        every=1,
        save_every=1,
    )
    return dict(transformer.state_dict())


def _rotary() -> Any:
    from diffusers.models.embeddings import get_3d_rotary_pos_embed

    return get_3d_rotary_pos_embed(16, ((0, 0), (4, 8)), (4, 8), FRAMES)


def test_a_base_whose_training_was_interrupted_becomes_the_very_same(tmp_path: Path) -> None:
    whole = train_tiny_base(tmp_path / "whole.safetensors")
    with pytest.raises(Interruption):
        train_tiny_base(tmp_path / "parts.safetensors", stop_after=3)
    resumed = train_tiny_base(tmp_path / "parts.safetensors")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_both_sizes_of_the_bundled_configuration_can_be_read() -> None:
    cpu, gpu = read_settings("cpu"), read_settings("gpu")
    assert cpu.clips.scene.width == cpu.width
    assert gpu.width * gpu.height * gpu.frames > cpu.width * cpu.height * cpu.frames
    for settings in (cpu, gpu):
        token = 2 ** (len(settings.autoencoder.channels) - 1) * settings.transformer.patch
        assert settings.width % token == settings.height % token == 0


def test_a_mistake_in_the_configuration_is_told_by_its_name(tmp_path: Path) -> None:
    from flextraj_backend.mini.settings import BUNDLED

    mistaken = tmp_path / "mini.toml"
    mistaken.write_text(BUNDLED.read_text().replace("latent_channels", "latent_chanels"))
    with pytest.raises(RequestError, match="latent_chan"):
        read_settings("cpu", mistaken)
    with pytest.raises(RequestError, match="'cpu', 'gpu'"):
        read_settings("huge")
