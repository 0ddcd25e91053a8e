"""Token pruning: which condition tokens sparse control keeps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers.models.embeddings import get_3d_rotary_pos_embed
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_transformers import Toy, toy, wan_timesteps

from flextraj_backend.models.backbone import Backbone, TokenGrid
from flextraj_backend.models.condition import ConditionLatents
from flextraj_backend.models.token_pruning import REPRESENTATIVES, KeptTokens, kept_tokens, occupied_tokens

COGVIDEOX = TokenGrid(13, 30, 45)  # 49x480x720, tokens of 16 px
WAN = TokenGrid(13, 15, 26)  # 49x480x832, tokens of 32 px


def _black(grid: TokenGrid, pixels: int, frames: int) -> np.ndarray:
    return np.zeros((frames, grid.height * pixels, grid.width * pixels, 3), np.uint8)


def _painted(grid: TokenGrid, pixels: int, *dots: tuple[int, int, int]) -> np.ndarray:
    video = _black(grid, pixels, 1 + 4 * (grid.frames - 1))
    for frame, row, column in dots:
        video[frame, row, column] = (0, 0, 1)  # the darkest identity that is not black
    return video


def _index(grid: TokenGrid, latent_frame: int, row: int, column: int) -> int:
    return (latent_frame * grid.height + row) * grid.width + column


@pytest.mark.parametrize(("grid", "pixels"), [(COGVIDEOX, 16), (WAN, 32)])
def test_a_painted_pixel_keeps_the_token_that_the_vae_puts_it_into(grid: TokenGrid, pixels: int) -> None:
    # Frame 0 stands alone in the first latent frame; then come groups of four: 1-4, 5-8, ..., 45-48.
    for frame, latent_frame in ((0, 0), (1, 1), (4, 1), (5, 2), (44, 11), (45, 12), (48, 12)):
        video = _painted(grid, pixels, (frame, 3 * pixels - 1, 5 * pixels))
        kept = occupied_tokens(video, grid, dilation=0)
        assert kept.tolist() == [_index(grid, latent_frame, 2, 5)]


def test_neighbours_in_the_same_latent_frame_are_kept_and_none_beyond_the_border() -> None:
    inside = occupied_tokens(_painted(COGVIDEOX, 16, (9, 16 * 10, 16 * 20)), COGVIDEOX, dilation=1)
    assert inside.tolist() == [
        _index(COGVIDEOX, 3, row, column) for row in (9, 10, 11) for column in (19, 20, 21)
    ]
    corner = occupied_tokens(_painted(COGVIDEOX, 16, (48, 479, 719)), COGVIDEOX, dilation=1)
    assert corner.tolist() == [_index(COGVIDEOX, 12, row, column) for row in (28, 29) for column in (43, 44)]
    wide = occupied_tokens(_painted(COGVIDEOX, 16, (0, 16 * 10, 16 * 20)), COGVIDEOX, dilation=3)
    assert len(wide) == 49


def test_a_video_without_control_keeps_every_token_as_in_training() -> None:
    kept = occupied_tokens(_black(WAN, 32, 49), WAN)
    assert kept.tolist() == list(range(WAN.tokens))
    everything = kept_tokens(_black(WAN, 32, 49), WAN)
    assert everything.share(WAN) == 1 and len(everything.representatives) == 0


def test_one_frame_is_one_latent_frame() -> None:
    grid = TokenGrid(1, 2, 3)
    video = _painted(grid, 4, (0, 7, 0))
    assert occupied_tokens(video, grid, dilation=0).tolist() == [3]


@pytest.mark.parametrize(
    "shape", [(48, 480, 720, 3), (49, 479, 720, 3), (49, 480, 721, 3), (49, 480, 720, 4)]
)
def test_a_video_of_another_size_is_refused_instead_of_keeping_the_wrong_tokens(shape) -> None:
    with pytest.raises(ValueError, match="does not divide into 13x30x45 condition tokens"):
        occupied_tokens(np.zeros(shape, np.uint8), COGVIDEOX)


def test_a_negative_dilation_is_refused() -> None:
    with pytest.raises(ValueError, match="dilation"):
        occupied_tokens(_black(WAN, 32, 49), WAN, dilation=-1)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 6)),
    pixels=st.sampled_from([1, 2, 3]),
    dilation=st.integers(0, 3),
    dots=st.integers(1, 12),
    seed=st.integers(0, 2**32 - 1),
)
def test_kept_tokens_are_exactly_those_within_reach_of_paint(shape, pixels, dilation, dots, seed) -> None:
    grid = TokenGrid(*shape)
    generator = np.random.default_rng(seed)
    video = _black(grid, pixels, 1 + 4 * (grid.frames - 1))
    touched = set()
    for _ in range(dots):
        frame, row, column = (int(generator.integers(size)) for size in video.shape[:3])
        video[frame, row, column, generator.integers(3)] = generator.integers(1, 256)
        touched.add(((frame + 3) // 4, row // pixels, column // pixels))
    expected = sorted(
        _index(grid, latent_frame, row, column)
        for latent_frame in range(grid.frames)
        for row in range(grid.height)
        for column in range(grid.width)
        if any(
            latent_frame == f and abs(row - y) <= dilation and abs(column - x) <= dilation
            for f, y, x in touched
        )
    )
    kept = occupied_tokens(video, grid, dilation=dilation)
    assert kept.tolist() == expected
    assert 0 < len(kept) <= grid.tokens


def _drifting_discs(points: int, radius: int, seed: int) -> np.ndarray:
    """Discs that drift with 2 px a frame and wrap around, 49 frames, 480x720."""
    generator = np.random.default_rng(seed)
    video = _black(COGVIDEOX, 16, 49)
    position = generator.uniform((0, 0), (720, 480), (points, 2))
    velocity = generator.normal(0, 2, (points, 2))
    offsets = np.argwhere(np.hypot(*np.mgrid[-radius : radius + 1, -radius : radius + 1]) <= radius) - radius
    for frame in video:
        column, row = position.round().astype(int).T
        frame[(row[:, None] + offsets[:, 0]) % 480, (column[:, None] + offsets[:, 1]) % 720] = 255
        position = (position + velocity) % (720, 480)
    return video


def test_sparse_control_saves_as_much_as_was_simulated_and_dense_control_almost_nothing() -> None:
    """Simulated before for random drifting discs: 5, 20, 100, 300 points keep 4.9, 14.1, 58.3, 92.6 %."""
    for points, low, high in ((5, 0.03, 0.06), (20, 0.11, 0.18), (100, 0.5, 0.65), (300, 0.88, 0.96)):
        kept = occupied_tokens(_drifting_discs(points, radius=2, seed=points), COGVIDEOX)
        assert low < len(kept) / COGVIDEOX.tokens < high


@settings(max_examples=100, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 13), st.integers(1, 30), st.integers(1, 46)),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
def test_representatives_stand_for_the_whole_background_and_for_nothing_else(shape, share, seed) -> None:
    grid = TokenGrid(*shape)
    chosen = np.random.default_rng(seed).random(grid.tokens) <= share
    occupied = torch.from_numpy(np.flatnonzero(chosen))
    kept = KeptTokens.choose(occupied, grid)
    kept.check(grid)
    background = grid.tokens - len(occupied)
    counted = len(kept.occupied) + kept.weight(grid) * len(kept.representatives)
    assert counted == pytest.approx(grid.tokens)
    assert set(occupied.tolist()) <= set(kept.occupied.tolist())
    assert len(kept.representatives) <= min(REPRESENTATIVES, background / 4 + 1)
    assert background <= 1 or len(kept.representatives) >= min(REPRESENTATIVES, background / 4)
    assert torch.equal(KeptTokens.choose(occupied, grid).places, kept.places)


@pytest.mark.parametrize("width", [40, 44, 45, 48, 52, 64])
def test_representatives_lie_in_all_parts_of_the_picture(width: int) -> None:
    """A fixed distance between them would line them up in a few columns of some widths."""
    grid = TokenGrid(13, 30, width)
    kept = KeptTokens.choose(torch.arange(7), grid)
    for size, places in ((13, kept.places // (30 * width)), (30, kept.places // width % 30)):
        parts = torch.bincount(places, minlength=size)
        assert parts.min() > 0.4 * parts.float().mean()
    columns = kept.representatives % width
    quarters = torch.bincount(columns * 4 // width, minlength=4)
    assert quarters.min() > 0.7 * quarters.float().mean()
    assert len(columns.unique()) > 0.8 * width


def sparse_toy(backbone: Backbone, grid: TokenGrid, occupied: torch.Tensor, sharpness: float) -> Toy:
    """A condition that is one colour but for some noise, as a VAE leaves it, and differs where occupied."""
    size = {"sample_frames": 4 * grid.frames - 3, "sample_height": 2 * grid.height}
    size |= {"sample_width": 2 * grid.width}
    model = toy(backbone, seed=1, **(size if backbone is Backbone.COGVIDEOX else {}))
    for block in model.blocks:
        block.attn1.norm_q.weight.mul_(sharpness)
    generator = torch.Generator().manual_seed(3)
    channels = model.transformer.config.in_channels
    is_occupied = torch.zeros(grid.tokens, dtype=torch.bool)
    is_occupied[occupied] = True
    mask = is_occupied.view(grid.frames, 1, grid.height, grid.width)
    mask = mask.repeat_interleave(2, 2).repeat_interleave(2, 3)  # (F, 1, h, w)

    def video() -> torch.Tensor:
        flat, noise = (
            torch.randn(frames, channels, height, width, generator=generator)
            for frames, height, width in ((1, 1, 1), (grid.frames, 2 * grid.height, 2 * grid.width))
        )
        latents = torch.where(mask, noise, flat + 0.1 * noise)[None]  # (1, F, C, h, w)
        return latents if backbone is Backbone.COGVIDEOX else latents.transpose(1, 2).contiguous()

    latents, noise = ConditionLatents(video(), video()), torch.randn(video().shape, generator=generator)
    inputs = {**model.inputs, "hidden_states": noise}
    if backbone is Backbone.WAN:
        axes = (grid.frames, grid.height, grid.width)
        return replace(
            model, latents=latents, inputs=inputs, timestep=lambda timestep: wan_timesteps(timestep, 1, axes)
        )
    rotary = get_3d_rotary_pos_embed(
        model.transformer.config.attention_head_dim,
        ((0, 0), (grid.height, grid.width)),
        (grid.height, grid.width),
        grid.frames,
    )
    encoding = {"image_rotary_emb": rotary}
    return replace(model, latents=latents, inputs=inputs | encoding, encode_inputs=encoding)


@pytest.mark.parametrize("backbone", list(Backbone))
@pytest.mark.parametrize(("sharpness", "largest"), [(1.0, 0.05), (5.0, 0.2)])
@torch.no_grad()
def test_representatives_keep_most_of_the_control_that_dropping_the_background_loses(
    backbone: Backbone, sharpness: float, largest: float
) -> None:
    grid = TokenGrid(5, 14, 20)
    occupied = occupied_tokens(_painted(grid, 4, (0, 9, 9), (7, 20, 40), (16, 50, 70)), grid, dilation=2)
    model = sparse_toy(backbone, grid, occupied, sharpness)
    base = model.predict()

    def controlled(keep: KeptTokens | None, strength: float) -> torch.Tensor:
        model.transformer.use_condition(model.encode(keep=keep), strength)
        return model.predict()

    for strength in (1.0, 0.5):
        complete = controlled(None, strength)

        def error(keep: KeptTokens, strength=strength, complete=complete) -> float:
            return float((controlled(keep, strength) - complete).norm() / (complete - base).norm())

        assert error(KeptTokens(occupied, occupied[:0])) > 0.6
        assert 0 < error(KeptTokens.choose(occupied, grid)) < largest


@pytest.mark.parametrize("backbone", list(Backbone))
@torch.no_grad()
def test_the_more_tokens_are_kept_the_closer_the_video_and_with_all_of_them_it_is_the_same(
    backbone: Backbone,
) -> None:
    errors = []
    for share in (0.05, 0.5, 0.9, 1.0):
        model = toy(backbone, seed=1)
        grid = model.transformer.condition_token_grid(model.latents)
        order = torch.randperm(grid.tokens, generator=torch.Generator().manual_seed(2))
        occupied = order[: max(1, round(share * grid.tokens))].sort().values
        model.transformer.use_condition(model.encode())
        complete = model.predict()
        model.transformer.use_condition(model.encode(keep=KeptTokens.choose(occupied, grid)))
        errors.append(float((model.predict() - complete).norm() / complete.norm()))
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 1e-2, "an approximation"
    assert errors[-1] == 0
