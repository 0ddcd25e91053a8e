"""The objectives against numbers worked out by hand (conventions 4.1 and 4.2)."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flextraj_backend.models.schedulers import wan_training_schedule
from flextraj_backend.training.objectives import (
    VelocityLevels,
    flow_inputs,
    flow_levels,
    flow_loss,
    flow_token_timesteps,
    noisy_photos,
    noisy_video,
    velocity_levels,
    velocity_loss,
)


def levels(*alpha_bars: float) -> VelocityLevels:
    return VelocityLevels(torch.zeros(len(alpha_bars), dtype=torch.long), torch.tensor(alpha_bars))


def test_velocity_loss_is_the_weighted_error_of_the_estimated_video() -> None:
    # alpha_bar 0.36: x_t = 0.6 x0 + 0.8 n. x0 = 2, n = -1 give x_t = 0.4.
    clean, noise = torch.full((1, 1, 1), 2.0), torch.full((1, 1, 1), -1.0)
    noisy = noisy_video(clean, noise, levels(0.36))
    assert torch.allclose(noisy, torch.tensor(0.4))
    # A prediction v = 1 estimates x0 = 0.6 * 0.4 - 0.8 * 1 = -0.56; ((-0.56 - 2) ** 2) / 0.64 = 10.24.
    loss = velocity_loss(torch.ones(1, 1, 1), noisy, clean, levels(0.36))
    assert math.isclose(float(loss), 10.24, rel_tol=1e-5)
    # The true velocity is 0.6 * -1 - 0.8 * 2 = -2.2: (1 + 2.2) ** 2 is the same.
    assert math.isclose((1 + 2.2) ** 2, 10.24)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.floats(0.0, 0.99))
def test_the_right_velocity_has_no_loss_at_any_noise_level(seed: int, alpha_bar: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    clean, noise = torch.randn((2, 2, 3, 4), generator=generator)
    level = levels(alpha_bar, alpha_bar)
    velocity = math.sqrt(alpha_bar) * noise - math.sqrt(1 - alpha_bar) * clean
    loss = velocity_loss(velocity, noisy_video(clean, noise, level), clean, level)
    assert float(loss.max()) < 1e-6


def test_each_sample_has_its_own_noise_level() -> None:
    table = torch.linspace(0.9, 0.0, 1000)
    found = velocity_levels(table, torch.tensor([0, 999]))
    assert found.alpha_bars.tolist() == [table[0], 0.0]
    clean, noise = torch.ones(2, 1), torch.full((2, 1), 5.0)
    assert noisy_video(clean, noise, levels(1.0, 0.0)).flatten().tolist() == [1.0, 5.0]


def test_flow_keeps_the_photo_clean_and_asks_nothing_of_it() -> None:
    schedule = wan_training_schedule()
    level = flow_levels(schedule, torch.tensor([500]))
    sigma = float(level.sigmas)
    assert math.isclose(sigma, 5 * 0.5 / (1 + 4 * 0.5), rel_tol=1e-6)  # shift 5 of 0.5
    clean, noise = torch.full((1, 1, 2, 1, 1), 3.0), torch.full((1, 1, 2, 1, 1), -1.0)
    photo = torch.full((1, 1, 1, 1, 1), 7.0)
    noisy, target = flow_inputs(clean, noise, level, photo)
    assert math.isclose(float(noisy[0, 0, 1]), (1 - sigma) * 3 - sigma, rel_tol=1e-5)
    assert float(noisy[0, 0, 0]) == 7 and float(target[0, 0, 0]) == 0 and float(target[0, 0, 1]) == -4
    # Predicting 0 everywhere: (0 + 16) / 2 times the level's weight.
    loss = flow_loss(torch.zeros(1, 1, 2, 1, 1), target, level)
    assert math.isclose(float(loss), 8 * float(level.weights), rel_tol=1e-6)


def test_flow_timesteps_are_zero_on_the_photos_tokens_only() -> None:
    spread = flow_token_timesteps(torch.tensor([10.0, 20.0]), frame_tokens=2, tokens=5)
    assert spread.tolist() == [[0, 0, 10, 10, 10], [0, 0, 20, 20, 20]]


def test_noise_on_the_photo_has_the_authors_strength() -> None:
    photos, noise = torch.zeros(2, 3, 1, 2, 2), torch.ones(2, 3, 1, 2, 2)
    noisy = noisy_photos(photos, torch.tensor([0.0, 2.0]), noise)
    assert math.isclose(float(noisy[0].mean()), math.exp(-3), rel_tol=1e-6)
    assert math.isclose(float(noisy[1].mean()), math.exp(-2), rel_tol=1e-6)
