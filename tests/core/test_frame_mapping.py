"""Frame mapping: what an animator would see if a shot's frames were chosen wrongly."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.frame_mapping import FrameRange, map_frames, shot_range, split_frame

FIRST = st.floats(-1e4, 1e4)
LENGTH = st.floats(0.01, 1e4)
FPS = st.floats(1, 240)
COUNT = st.integers(2, 500)


@given(FIRST, LENGTH, FPS, COUNT)
def test_the_whole_motion_is_in_the_shot_and_plays_in_its_own_time(first, length, fps, count):
    shot = FrameRange(first, first + length)
    mapped = map_frames(shot, fps, count)
    frames = np.array(mapped.source_frames)
    assert len(frames) == count
    assert frames[0] == shot.first
    assert frames[-1] == shot.last
    assert (np.diff(frames) > 0).all()
    assert np.allclose(np.diff(frames), (shot.last - shot.first) / (count - 1), rtol=1e-6, atol=1e-9)
    assert math.isclose((count - 1) / mapped.fps, (shot.last - shot.first) / fps, rel_tol=1e-9)


@given(FIRST, LENGTH, FPS, COUNT, FPS)
def test_a_chosen_rate_never_runs_past_the_end_nor_changes_the_speed(first, length, fps, count, rate):
    mapped = map_frames(FrameRange(first, first + length), fps, count, rate)
    frames = np.array(mapped.source_frames)
    assert len(frames) == count
    assert frames[0] == first
    assert frames[-1] <= first + length
    seconds = (frames[-1] - frames[0]) / fps
    assert math.isclose(seconds, (count - 1) / mapped.fps, rel_tol=1e-6, abs_tol=1e-6)


def test_an_engine_of_8_frames_per_second_gets_every_third_frame_of_a_24_fps_scene():
    mapped = map_frames(FrameRange(1, 250), 24, 49, 8)
    assert mapped.source_frames == tuple(range(1, 146, 3))
    assert mapped.fps == 8


def test_a_shot_too_short_for_the_rate_is_spread_over_subframes():
    mapped = map_frames(FrameRange(1, 25), 24, 49, 8)
    assert mapped.source_frames == tuple(np.arange(1, 25.25, 0.5))
    assert mapped.fps == 48


@given(FIRST, st.floats(2, 1000), FPS)
def test_every_frame_means_whole_scene_frames_inside_the_range(first, length, fps):
    mapped = map_frames(FrameRange(first, first + length), fps, None)
    assert mapped.fps == fps
    frames = mapped.source_frames
    assert frames == tuple(range(math.ceil(first), math.floor(first + length) + 1))


@given(st.floats(-1e5, 1e5))
def test_a_subframe_never_rounds_up_to_the_next_frame_in_single_precision(frame):
    whole, subframe = split_frame(frame)
    assert 0 <= np.float32(subframe) < 1
    assert abs(whole + subframe - frame) < 1e-6


@pytest.mark.parametrize(
    ("shot", "count", "rate", "sentence"),
    [
        ((5, 5), 49, None, "single frame 5"),
        ((9, 5), 49, None, "runs backwards"),
        ((1, 50), 1, None, "1 frames cannot be made"),
        ((1, 50), 20_001, None, "20001 frames cannot be made"),
        ((1, 50), 49, 0.0, "above zero"),
        ((1.2, 2.9), None, None, "fewer than two whole frames"),
        ((0, 30_000), None, None, "more than 20000 frames"),
        ((1, math.inf), 49, None, "not finite"),
    ],
)
def test_an_impossible_range_is_refused_in_one_sentence(shot, count, rate, sentence):
    with pytest.raises(FlexTrajError, match=sentence) as caught:
        map_frames(FrameRange(*shot), 24, count, rate)
    assert caught.value.code is ErrorCode.FRAME_RANGE
    assert caught.value.message.endswith(".")


def test_an_imported_motion_counts_and_not_the_default_range_of_the_scene():
    default = FrameRange(1, 250)
    assert shot_range(default, FrameRange(1, 595), None, None) == FrameRange(1, 595)
    assert shot_range(default, FrameRange(0.8, 437.6), None, None) == FrameRange(0.8, 437.6)
    assert shot_range(default, None, None, None) == default


def test_a_range_that_the_animator_set_cuts_the_motion():
    assert shot_range(FrameRange(100, 148), FrameRange(1, 595), None, None) == FrameRange(100, 148)
    assert shot_range(FrameRange(1, 48), FrameRange(10, 595), None, None) == FrameRange(10, 48)
    assert shot_range(FrameRange(1000, 1048), FrameRange(1, 595), None, None) == FrameRange(1, 595)


def test_asked_frames_win_over_everything():
    assert shot_range(FrameRange(1, 250), FrameRange(1, 595), 7, None) == FrameRange(7, 595)
    assert shot_range(FrameRange(1, 250), None, 7, 9) == FrameRange(7, 9)
