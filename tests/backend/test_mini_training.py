"""The small model's own parts: its autoencoder, the pretraining of its base, its configuration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXTransformer3DModel

from blender_addon.core.errors import FlexTrajError, RequestError
from flextraj_backend.mini.autoencoder import build_autoencoder, fix_posterior
from flextraj_backend.mini.autoencoder_settings import AutoencoderSettings, AutoencoderTraining
from flextraj_backend.mini.autoencoder_training import (
    AutoencoderReport,
    decode,
    encode_mode,
    locality_loss,
    train_autoencoder,
)
from flextraj_backend.mini.base_folder import build_transformer
from flextraj_backend.mini.base_settings import BaseTraining, TransformerSettings
from flextraj_backend.mini.base_training import BaseReport, largest_strangeness, train_base
from flextraj_backend.mini.context_transformer import ContextTransformer, context_latents, in_context
from flextraj_backend.mini.latent_pool import EncodedVideos, LatentPool, encode_pool
from flextraj_backend.mini.pack import check_packed_size
from flextraj_backend.mini.pictures import VideoPool, turned_clip
from flextraj_backend.mini.settings import BUNDLED, read_settings
from flextraj_backend.mini.source_maps import SubjectTracks
from flextraj_backend.mini.turns import Turn
from flextraj_backend.models.frame_autoencoder import frame_by_frame, sees_frames_alone
from flextraj_backend.training.video_codec import pixels_of

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


def square_masks(videos: np.ndarray) -> np.ndarray:
    """Where the squares of `bright_videos` are. (count, T, H, W) uint8"""
    return (videos != videos[:, :, :1, :1]).any(axis=-1).astype(np.uint8)


def square_tracks(masks: np.ndarray) -> SubjectTracks:
    """Four points of a clip's square, which moves by three pixels a frame."""
    left = np.nonzero(masks[0].any(axis=0))[0][0]
    corners = np.array([(left + x, 4 + y) for x in (1, 7) for y in (1, 7)], np.float32)
    places = corners + np.arange(FRAMES, dtype=np.float32)[:, None, None] * (3, 0)
    return SubjectTracks(
        (places / (WIDTH, HEIGHT)).astype(np.float32), np.ones((FRAMES, 4), bool), np.ones(4, np.uint8)
    )


def video_pool(clips: int, conditions: int, seed: int) -> VideoPool:
    videos = bright_videos(clips, seed)
    masks = square_masks(videos)
    tracks = tuple(square_tracks(mask) for mask in masks)
    return VideoPool(videos, masks, tracks, bright_videos(conditions, seed + 1), ("a square slides",) * clips)


def test_frame_by_frame_changes_no_number_of_the_autoencoder() -> None:
    model = small_autoencoder()
    pixels = pixels_of(bright_videos(2, 1))
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
    pool = video_pool(24, 8, seed=2)
    held_out = video_pool(4, 4, seed=4)
    settings = AutoencoderTraining(steps=150, batch=8, frames=1, learning_rate=3e-3)
    train_autoencoder(model, pool, held_out, settings, reports.append, every=50)
    spread = pixels_of(held_out.videos).var().item()
    assert [report.step for report in reports] == [50, 100, 150]
    assert reports[-1].video_error < 0.3 * spread
    latents = encode_mode(model, pixels_of(held_out.videos))
    assert model.config["scaling_factor"] * latents.std().item() == pytest.approx(1, rel=0.1)
    assert sees_frames_alone(model)


def test_a_subjects_latents_stay_when_its_surroundings_turn_black() -> None:
    model = small_autoencoder()
    pool, held_out = video_pool(16, 8, seed=9), video_pool(4, 4, seed=10)
    settings = AutoencoderTraining(steps=150, batch=8, frames=1, learning_rate=3e-3)
    changes = []
    for _ in range(2):
        with torch.no_grad():
            subjects = held_out.segments > 0
            whole, alone = (
                encode_mode(model, pixels_of(videos))
                for videos in (held_out.videos, held_out.videos * subjects[..., None])
            )
            inside = torch.from_numpy(subjects.reshape(4, FRAMES, 8, 2, 16, 2).all(axis=(3, 5)))
            squares = (whole - alone).square().mean(dim=1)
            changes.append((squares[inside].mean() / whole.var()).item())
        if len(changes) == 1:
            train_autoencoder(model, pool, held_out, settings, lambda report: None, every=150)
    assert changes[1] < 0.3 * changes[0]


def test_latents_that_are_drawn_together_do_not_run_away() -> None:
    torch.manual_seed(0)
    latents = torch.randn(4, 8, 1, 4, 8, requires_grad=True)
    loss = locality_loss(latents, torch.ones(2, 1, 8, 16, dtype=torch.bool))
    (moves,) = torch.autograd.grad(loss, latents)
    # A step that moves one picture's latents moves its partner's as far the other way: their mean stays.
    torch.testing.assert_close(moves[:2], -moves[2:])
    assert locality_loss(5 * latents, torch.ones(2, 1, 8, 16, dtype=torch.bool)).item() == pytest.approx(
        loss.item()
    )


def test_latents_are_drawn_with_hardly_any_noise_whatever_the_picture() -> None:
    model = small_autoencoder()
    fix_posterior(model)
    with torch.no_grad():
        posterior = model.encode(pixels_of(bright_videos(2, 6))).latent_dist
    assert torch.allclose(posterior.std, posterior.std.flatten()[0])
    assert posterior.std.max() < 0.02


def tiny_latents() -> LatentPool:
    generator = torch.Generator().manual_seed(0)
    videos = torch.randn((6, FRAMES, 8, 8, 16), generator=generator).bfloat16()
    texts = torch.randn((6, 4, 64), generator=generator)
    clips, strange, sources, codes = (
        EncodedVideos(kind, kind[:, :1]) for kind in (videos, videos.flip(2), videos.flip(1), videos.flip(3))
    )
    return LatentPool(clips, clips, strange, sources, codes, texts, texts[0])


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
        BaseTraining(steps=6, batch=3, learning_rate=1e-3, warmup=2),
        state,
        break_off,
        every=1,
        save_every=1,
    )
    return dict(transformer.state_dict())


def test_a_base_whose_training_was_interrupted_becomes_the_very_same(tmp_path: Path) -> None:
    whole = train_tiny_base(tmp_path / "whole.safetensors")
    with pytest.raises(Interruption):
        train_tiny_base(tmp_path / "parts.safetensors", stop_after=3)
    resumed = train_tiny_base(tmp_path / "parts.safetensors")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_base_pretrained_in_context_runs_as_the_stock_transformer(tmp_path: Path) -> None:
    weights = train_tiny_base(tmp_path / "state.safetensors")
    stock: Any = build_transformer(TINY, small_autoencoder(), FRAMES, WIDTH, HEIGHT)
    names = set(stock.state_dict())
    with in_context(stock) as model:
        assert isinstance(model, ContextTransformer)
    assert type(stock) is CogVideoXTransformer3DModel
    assert set(weights) == names == set(stock.state_dict())
    latents, everything = tiny_latents(), torch.arange(6)
    inputs = latents.clips.condition(everything)
    with torch.no_grad():
        sample = stock(inputs, latents.texts, torch.zeros(6), return_dict=False)[0]
    assert sample.shape == latents.clips.videos.shape


def test_encoded_clips_are_those_of_the_pool_in_every_variant() -> None:
    model, pool = small_autoencoder(), video_pool(10, 1, seed=4)
    told: list[tuple[int, int]] = []
    latents = encode_pool(
        model, pool, 2, lambda prompt: torch.zeros(4, 64), 0, lambda done, total: told.append((done, total))
    )
    assert told == [(8, 20), (10, 20), (18, 20), (20, 20)]
    assert latents.clips.videos.shape == (20, FRAMES, 8, 8, 16) and latents.texts.shape == (20, 4, 64)
    condition = latents.source_contexts.condition(torch.tensor([3, 19]))
    assert condition.shape == (2, FRAMES, 16, 8, 16)
    assert torch.equal(condition[:, :, :8], latents.source_contexts.videos[[3, 19]].float())
    assert torch.equal(condition[:, :1, 8:], latents.source_contexts.photos[[3, 19]].float())
    assert not condition[:, 1:, 8:].any()


def test_the_base_sees_the_context_it_is_given() -> None:
    torch.manual_seed(0)
    transformer: Any = build_transformer(TINY, small_autoencoder(), FRAMES, WIDTH, HEIGHT)
    torch.nn.init.normal_(transformer.proj_out.weight, std=0.1)
    latents, everything = tiny_latents(), torch.arange(6)
    inputs = latents.clips.condition(everything)
    with in_context(transformer) as model, torch.no_grad():
        alone, first, second = (
            model(inputs, latents.texts, torch.zeros(6), condition=context, return_dict=False)[0]
            for context in (
                None,
                context_latents(latents.own_contexts.condition(everything)),
                context_latents(latents.strange_contexts.condition(everything)),
            )
        )
    assert not torch.allclose(alone, first, atol=1e-4)
    assert not torch.allclose(first, second, atol=1e-4)


def test_contexts_show_the_clips_motion_first_in_its_own_colours_then_in_others() -> None:
    settings = BaseTraining(steps=100, batch=1, learning_rate=1.0)
    shares = [largest_strangeness(settings, step) for step in range(100)]
    assert shares[0] == 0 and shares[-1] == 1 and shares == sorted(shares)
    pool = video_pool(1, 1, seed=3)
    subjects = pool.segments[0] > 0
    still = Turn(mirrored=False, reversed_in_time=False, channels=(0, 1, 2))
    clips = [turned_clip(pool, 0, still, np.random.default_rng(seed)) for seed in range(20)]
    assert all(np.array_equal(clip.own[subjects], pool.videos[0][subjects]) for clip in clips)
    assert all(not np.array_equal(clip.strange[subjects], pool.videos[0][subjects]) for clip in clips)
    alone = [not clip.own[~subjects].any() for clip in clips]
    assert any(alone) and not all(alone)
    for clip, is_alone in zip(clips, alone, strict=True):
        assert is_alone == (not clip.strange[~subjects].any())


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
def test_source_maps_say_where_in_the_photo_each_pixel_comes_from(mirrored: bool, backwards: bool) -> None:
    pool = video_pool(3, 1, seed=5)
    turn = Turn(mirrored=mirrored, reversed_in_time=backwards, channels=(2, 0, 1))
    for index in range(3):
        clip = turned_clip(pool, index, turn, np.random.default_rng(index))
        shown = turn.masks(pool.segments[index]) > 0
        assert np.array_equal(clip.sources[..., 2] == 255, shown)
        for frame, row, column in np.argwhere(shown):
            x, y = clip.sources[frame, row, column, :2] / 255.0 * (WIDTH, HEIGHT)
            assert np.array_equal(clip.video[0, int(y), int(x)], clip.video[frame, row, column])


def test_codes_lead_to_the_same_place_in_the_photo_as_the_source_map() -> None:
    pool = video_pool(3, 1, seed=7)
    for index in range(3):
        clip = turned_clip(pool, index, Turn(False, False, (0, 1, 2)), np.random.default_rng(index))
        shown = pool.segments[index] > 0
        assert not clip.codes[~shown].any()
        places = (clip.sources[shown][:, :2].astype(int) * (WIDTH, HEIGHT) // 255).tolist()
        code_of: dict[tuple[int, ...], tuple[int, ...]] = {}
        for place, code in zip(places, clip.codes[shown].tolist(), strict=True):
            assert code_of.setdefault(tuple(place), tuple(code)) == tuple(code)
        assert len(set(code_of.values())) > 0.9 * len(code_of)


def test_a_context_in_another_light_keeps_bright_and_dark() -> None:
    pool = video_pool(1, 1, seed=8)
    clips = [
        turned_clip(pool, 0, Turn(False, False, (0, 1, 2)), np.random.default_rng(seed)) for seed in range(40)
    ]
    channels = [(clip.own[..., 0].ravel().astype(int), clip.strange[..., 0].ravel()) for clip in clips]
    in_order = [bool((np.diff(strange[own.argsort()].astype(int)) >= 0).all()) for own, strange in channels]
    assert 0.15 < np.mean(in_order) < 0.8


def test_both_sizes_of_the_bundled_configuration_can_be_read() -> None:
    cpu, gpu = read_settings("cpu"), read_settings("gpu")
    assert cpu.clips.scene.width == cpu.width
    assert gpu.width * gpu.height * gpu.frames > cpu.width * cpu.height * cpu.frames
    for settings in (cpu, gpu):
        token = 2 ** (len(settings.autoencoder.channels) - 1) * settings.transformer.patch
        assert settings.width % token == settings.height % token == 0
        check_packed_size(settings)


def test_a_model_that_could_not_be_packed_is_refused_before_it_is_trained() -> None:
    settings = read_settings("cpu")
    with pytest.raises(RequestError, match=r"would take \d+ MB, more than 40"):
        check_packed_size(replace(settings, transformer=replace(settings.transformer, layers=60)))


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ('precision = "bf16"', 'precision = "bf-16"', "bf-16"),
        ('curriculum = "annealing_small"', 'curriculum = "anealing"', "anealing"),
        ("count = 2000", "count = 16", "clips.count"),
        ("batch = 16\nframes = 1\n", "batch = 16\nframes = 10\n", "autoencoder_training.frames"),
    ],
)
def test_a_mistake_that_would_stop_the_run_after_hours_is_told_at_once(
    before: str, after: str, told: str, tmp_path: Path
) -> None:
    text = BUNDLED.read_text()
    assert before in text
    mistaken = tmp_path / "mini.toml"
    mistaken.write_text(text.replace(before, after, 1))
    with pytest.raises(FlexTrajError, match=told):
        read_settings("cpu", mistaken)


def test_a_mistake_in_the_configuration_is_told_by_its_name(tmp_path: Path) -> None:
    mistaken = tmp_path / "mini.toml"
    mistaken.write_text(BUNDLED.read_text().replace("latent_channels", "latent_chanels"))
    with pytest.raises(RequestError, match="latent_chan"):
        read_settings("cpu", mistaken)
    with pytest.raises(RequestError, match="'cpu', 'gpu'"):
        read_settings("huge")
