"""Long shots: no frame is lost, doubled or jumps where two windows meet."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toy_engines import STEPS, Watcher, install_toy_weights, job_inputs, request, shot

from blender_addon.core.model_options import ModelOptions
from flextraj_backend.engines.base import Cancelled, ConditioningVideos, EngineError, EngineOutput, Progress
from flextraj_backend.engines.diffusion import loading
from flextraj_backend.engines.diffusion.windows import (
    blend_weights,
    fade_in,
    join,
    plan_windows,
    window_seed,
)
from flextraj_backend.engines.registry import engine
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.cogvideox_pipeline import FlexTrajCogVideoXPipeline
from flextraj_backend.models.weights import WEIGHTS_VARIABLE
from flextraj_backend.server.eta import EtaEstimator


@st.composite
def plans(draw: st.DrawFn) -> tuple[int, int, int, int]:
    """Frames of the shot, longest window, overlap, frames of a latent frame."""
    step = draw(st.sampled_from([1, 4]))
    longest = step * draw(st.integers(1, 30)) + 1
    frame_count = step * draw(st.integers(0, 150)) + 1
    return frame_count, longest, draw(st.integers(1, longest - 1)), step


@given(plans())
def test_windows_are_clips_that_the_model_can_make_and_cover_the_shot(
    plan: tuple[int, int, int, int],
) -> None:
    frame_count, longest, overlap, step = plan
    windows = plan_windows(frame_count, longest, overlap, step)
    assert windows[0].start == 0 and windows[-1].stop == frame_count
    for window in windows:
        assert (len(window) - 1) % step == 0 and len(window) == min(longest, frame_count)
    for earlier, later in itertools.pairwise(windows):
        assert earlier.start < later.start
        assert earlier.stop - later.start >= overlap == later.fade
    assert windows[0].fade == 0


@given(plans())
def test_every_frame_is_made_once_in_total_and_only_of_windows_that_hold_it(
    plan: tuple[int, int, int, int],
) -> None:
    frame_count, longest, overlap, step = plan
    windows = plan_windows(frame_count, longest, overlap, step)
    weights = blend_weights(windows)
    assert weights.shape == (len(windows), frame_count)
    np.testing.assert_allclose(weights.sum(axis=0), 1)
    assert (weights >= 0).all()
    for window, share in zip(windows, weights, strict=True):
        outside = np.ones(frame_count, bool)
        outside[window.frames] = False
        assert not share[outside].any()


@given(plans())
def test_a_shot_is_not_made_in_more_windows_than_it_needs(plan: tuple[int, int, int, int]) -> None:
    frame_count, longest, overlap, step = plan
    count = len(plan_windows(frame_count, longest, overlap, step))
    assert (count - 1) * (longest - overlap) < max(frame_count - overlap, 1)


def test_joined_clips_follow_the_weights_that_the_plan_promises() -> None:
    windows = plan_windows(33, 13, 9, 4)
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
    windows = plan_windows(9, 5, 1, 4)
    join(shot, windows[1], np.zeros((5, 1, 1, 3), np.uint8))
    assert shot[:, 0, 0, 0].tolist() == [200, 200, 200, 200, 100, 0, 0, 0, 0]


def test_a_short_shot_is_one_window_with_the_jobs_own_seed() -> None:
    (window,) = plan_windows(49, 49, 8, 4)
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
        plan_windows(frame_count, longest, overlap, 4)


# Through the engine, on toy weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield install_toy_weights(tmp_path_factory.mktemp("weights"), Backbone.COGVIDEOX)
    loading.forget_pipeline(torch.device("cpu"))


@dataclass
class Seen:
    """What the pipeline got for each window."""

    photos: list[np.ndarray]
    ids: list[np.ndarray]


@pytest.fixture
def seen(weights: Path, monkeypatch: pytest.MonkeyPatch) -> Seen:
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(weights))
    notes = Seen([], [])
    make, encode = FlexTrajCogVideoXPipeline.__call__, FlexTrajCogVideoXPipeline.encode_condition_videos

    def watched_make(pipeline: Any, photo: np.ndarray, **settings: Any) -> Any:
        notes.photos.append(photo)
        return make(pipeline, photo, **settings)

    def watched_encode(pipeline: Any, id_video: np.ndarray, color_video: np.ndarray) -> Any:
        notes.ids.append(id_video)
        return encode(pipeline, id_video, color_video)

    monkeypatch.setattr(FlexTrajCogVideoXPipeline, "__call__", watched_make)
    monkeypatch.setattr(FlexTrajCogVideoXPipeline, "encode_condition_videos", watched_encode)
    return notes


def render(frames: int, watcher: Watcher) -> EngineOutput:
    """The first frames of one long shot, in windows of 9 frames that share 4 or more."""
    job = request(Backbone.COGVIDEOX, ModelOptions(window_overlap=4), seed=3)
    whole = job_inputs(job, shot(29))
    part = ConditioningVideos(whole.conditioning.ids[:frames], whole.conditioning.color[:frames])
    inputs = replace(whole, trajectories=shot(frames), conditioning=part)
    return engine(Backbone.COGVIDEOX.value).render(inputs, watcher.report, watcher.cancelled)


def test_a_long_shot_keeps_its_ids_and_each_window_starts_from_the_frames_before(seen: Seen) -> None:
    short = render(9, Watcher()).frames
    seen.photos.clear()
    seen.ids.clear()
    watcher = Watcher()
    output = render(29, watcher)
    windows = plan_windows(29, 9, 4, 4)
    assert len(windows) == len(seen.photos) == 5
    whole = job_inputs(request(Backbone.COGVIDEOX), shot(29)).conditioning.ids
    for window, ids in zip(windows, seen.ids, strict=True):
        np.testing.assert_array_equal(ids, whole[window.frames])
    # The first window is the short shot, and the second starts from its frame.
    second = windows[1].start
    np.testing.assert_array_equal(output.frames[:second], short[:second])
    np.testing.assert_array_equal(seen.photos[1], short[second])
    assert not np.array_equal(seen.photos[2], seen.photos[1])
    assert len(output.frames) == 29 and output.frames[-1].std() > 1
    seeds = [window["seed"] for window in output.record["windows"]]
    assert seeds[0] == 3 and len(set(seeds)) == 5
    assert any("may drift" in warning for warning in output.warnings)


def test_the_progress_of_a_long_shot_covers_all_windows_and_never_goes_back(seen: Seen) -> None:
    watcher = Watcher()
    render(17, watcher)
    count = len(plan_windows(17, 9, 4, 4))
    for phase, steps in (
        ("denoising", count * STEPS),
        ("encoding condition", 2 * count),
        ("decoding", count),
    ):
        reports = [item for item in watcher.seen if item.phase == phase]
        assert {item.steps for item in reports} == {steps}
        assert [item.step for item in reports] == sorted(item.step for item in reports)
    assert watcher.seen[-1] == Progress("decoding", count, count)
    assert Progress("denoising", count * STEPS, count * STEPS) in watcher.seen


def test_a_long_shot_can_be_cancelled_in_its_second_window(seen: Seen) -> None:
    steps = len(plan_windows(29, 9, 4, 4)) * STEPS
    with pytest.raises(Cancelled):
        render(29, Watcher(cancel_at=Progress("denoising", STEPS + 1, steps)))
    assert len(seen.photos) == 2


def test_the_time_left_of_a_long_shot_counts_the_windows_to_come() -> None:
    now = 0.0
    eta = EtaEstimator(lambda: now)
    eta.advance("denoising", 0, 40)
    now = 10.0
    assert eta.advance("denoising", 10, 40) == pytest.approx(30.0)
    now = 12.0
    eta.advance("decoding", 0, 4)
    now = 16.0  # decoding, joining and encoding took a while, as they will for each window
    assert eta.advance("denoising", 10, 40) == pytest.approx(48.0)
