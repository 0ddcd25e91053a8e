"""Chosen frames: what an animator would lose if keyframes and markers met other frames of the video."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from blender_addon.core.frame_choice import every_nth, frames_at
from blender_addon.core.frame_mapping import FrameRange, map_frames


def test_keyframes_meet_the_frames_of_a_video_that_spreads_over_a_longer_range() -> None:
    frames = map_frames(FrameRange(1, 97), 24.0, 49).source_frames  # every second scene frame
    assert frames_at(frames, [1, 25, 49.4, 97]) == (0, 12, 24, 48)


def test_a_keyframe_between_two_frames_belongs_to_the_nearer_one() -> None:
    assert frames_at((0.0, 4.0, 8.0, 12.0), [1.9, 6.1]) == (0, 2, 3)
    assert frames_at((0.0, 4.0, 8.0, 12.0), [6.0]) == (0, 1, 3)


def test_keyframes_before_and_after_the_shot_are_not_moved_into_it() -> None:
    assert frames_at((10.0, 11.0, 12.0, 13.0), [1, 9.9, 13.1, 400, float("nan"), float("inf")]) == (0, 3)


def test_a_shot_without_markers_keeps_its_first_and_last_frame() -> None:
    assert frames_at((10.0, 11.0, 12.0), []) == (0, 2)
    assert frames_at((10.0,), []) == (0,)


@given(
    first=st.floats(-1000, 1000),
    span=st.floats(1, 2000),
    count=st.integers(2, 200),
    times=st.lists(st.floats(-3000, 3000), max_size=40),
)
def test_every_time_within_the_shot_finds_the_nearest_frame(
    first: float, span: float, count: int, times: list[float]
) -> None:
    frames = map_frames(FrameRange(first, first + span), 24.0, count).source_frames
    kept = frames_at(frames, times)
    assert list(kept) == sorted(set(kept))
    assert {0, count - 1} <= set(kept) <= set(range(count))
    inside = [time for time in times if frames[0] <= time <= frames[-1]]
    distances = [np.abs(np.subtract(frames, time)) for time in inside]
    for distance in distances:
        assert np.isclose(distance[list(kept)].min(), distance.min(), atol=1e-6)
    assert len(kept) <= len(inside) + 2


@given(st.integers(1, 500), st.integers(1, 600))
def test_every_nth_frame_starts_with_the_first_and_ends_with_the_last(count: int, step: int) -> None:
    kept = every_nth(count, step)
    assert kept[0] == 0
    assert kept[-1] == count - 1
    assert all(0 < after - before <= step for before, after in pairwise(kept))
    assert set(range(0, count, step)) <= set(kept) <= {*range(0, count, step), count - 1}
