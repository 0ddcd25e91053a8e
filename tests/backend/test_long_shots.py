"""Long shots: no frame is lost, doubled or jumps where two windows meet."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flextraj_backend.engines.base import EngineError
from flextraj_backend.engines.diffusion.windows import (
    blend_weights,
    fade_in,
    join,
    plan_windows,
    window_seed,
)


@st.composite
def plans(draw: st.DrawFn) -> tuple[int, int, int]:
    """Frames of the shot, longest window, overlap."""
    longest = 4 * draw(st.integers(1, 30)) + 1
    frame_count = 4 * draw(st.integers(0, 150)) + 1
    return frame_count, longest, draw(st.integers(1, longest - 1))


@given(plans())
def test_windows_are_clips_that_the_model_can_make_and_cover_the_shot(plan: tuple[int, int, int]) -> None:
    frame_count, longest, overlap = plan
    windows = plan_windows(frame_count, longest, overlap)
    assert windows[0].start == 0 and windows[-1].stop == frame_count
    for window in windows:
        assert len(window) % 4 == 1 and len(window) == min(longest, frame_count)
    for earlier, later in itertools.pairwise(windows):
        assert earlier.start < later.start
        assert earlier.stop - later.start >= overlap == later.fade
    assert windows[0].fade == 0


@given(plans())
def test_every_frame_is_made_once_in_total_and_only_of_windows_that_hold_it(
    plan: tuple[int, int, int],
) -> None:
    frame_count, longest, overlap = plan
    windows = plan_windows(frame_count, longest, overlap)
    weights = blend_weights(windows)
    assert weights.shape == (len(windows), frame_count)
    np.testing.assert_allclose(weights.sum(axis=0), 1)
    assert (weights >= 0).all()
    for window, share in zip(windows, weights, strict=True):
        outside = np.ones(frame_count, bool)
        outside[window.frames] = False
        assert not share[outside].any()


@given(plans())
def test_a_shot_is_not_made_in_more_windows_than_it_needs(plan: tuple[int, int, int]) -> None:
    frame_count, longest, overlap = plan
    count = len(plan_windows(frame_count, longest, overlap))
    assert (count - 1) * (longest - overlap) < max(frame_count - overlap, 1)


def test_joined_clips_follow_the_weights_that_the_plan_promises() -> None:
    windows = plan_windows(33, 13, 9)
    assert len(windows) > 3  # more than two windows meet in some frames
    rng = np.random.default_rng(0)
    clips = rng.integers(0, 256, (len(windows), 13, 2, 3, 3), dtype=np.uint8)
    shot = np.zeros((33, 2, 3, 3), np.uint8)
    for window, clip in zip(windows, clips, strict=True):
        join(shot, window, clip)
    placed = np.zeros((len(windows), 33, 2, 3, 3))
    for window, clip, target in zip(windows, clips, placed, strict=True):
        target[window.frames] = clip
    expected = np.einsum("wt,wthxc->thxc", blend_weights(windows), placed)
    assert np.abs(shot - expected).max() < 3  # rounding, once a window


def test_a_fade_moves_evenly_from_the_old_window_to_the_new() -> None:
    np.testing.assert_allclose(fade_in(3), [0.25, 0.5, 0.75])
    shot = np.full((9, 1, 1, 3), 200, np.uint8)
    windows = plan_windows(9, 5, 1)
    join(shot, windows[1], np.zeros((5, 1, 1, 3), np.uint8))
    assert shot[:, 0, 0, 0].tolist() == [200, 200, 200, 200, 100, 0, 0, 0, 0]


def test_a_short_shot_is_one_window_with_the_jobs_own_seed() -> None:
    (window,) = plan_windows(49, 49, 8)
    assert (window.start, window.stop, window.fade) == (0, 49, 0)
    assert window_seed(7, 0) == 7


@given(st.integers(0, 2**63 - 1))
def test_windows_do_not_repeat_each_others_noise_and_repeat_their_own(seed: int) -> None:
    seeds = [window_seed(seed, index) for index in range(20)]
    assert len(set(seeds)) == 20
    assert seeds == [window_seed(seed, index) for index in range(20)]
    assert all(0 <= item < 2**63 for item in seeds)


@pytest.mark.parametrize(
    ("frame_count", "longest", "overlap", "words"),
    [(50, 49, 8, "50 frames"), (97, 49, 49, "overlap of 1 to 48"), (97, 49, 0, "overlap of 1 to 48")],
)
def test_a_plan_that_cannot_be_says_what_to_choose(
    frame_count: int, longest: int, overlap: int, words: str
) -> None:
    with pytest.raises(EngineError, match=words):
        plan_windows(frame_count, longest, overlap)
