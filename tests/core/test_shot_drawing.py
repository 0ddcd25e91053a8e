"""What the viewport draws: wrong arrays would show the animator other points than those that are sampled."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_addon.core.frame_cache import FrameCache
from blender_addon.core.id_coding import trajectory_colors
from blender_addon.core.shot_drawing import FUTURE_OPACITY, ShotDrawing, nearest_frame, trail_parts
from blender_addon.core.trajectories import Segment, TrajectoryMeta, TrajectorySet

WIDTH, HEIGHT = 60, 40


def make_shot(positions: list[list[tuple[float, float, float]]], visible: list[list[bool]]) -> TrajectorySet:
    frames, count = len(positions), len(positions[0])
    return TrajectorySet(
        np.array(positions, np.float32),
        np.array(visible),
        np.zeros(count, np.uint16),
        np.arange(count).astype(np.uint16),
        TrajectoryMeta(WIDTH, HEIGHT, 24, tuple(map(float, range(1, frames + 1))), (Segment(0, "body"),)),
    )


def still(count: int, frames: int = 3) -> TrajectorySet:
    row = [(float(index), 5.0, 2.0) for index in range(count)]
    return make_shot([row] * frames, [[True] * count] * frames)


def test_points_lie_where_they_were_sampled_in_the_colours_of_the_id_video() -> None:
    shot = make_shot([[(3, 4, 1), (20.5, 30.25, 2)]], [[True, True]])
    drawn = ShotDrawing(shot).points(0)
    np.testing.assert_array_equal(drawn.pixels, shot.positions[0, :, :2])
    np.testing.assert_array_equal(drawn.colors[:, :3], trajectory_colors(shot))
    assert (drawn.colors[:, 3] == 255).all()


def test_hidden_points_are_dimmed_and_painted_below_the_visible_ones() -> None:
    drawn = ShotDrawing(make_shot([[(1, 1, 1), (2, 1, 1), (3, 1, 1)]], [[True, False, True]])).points(0)
    np.testing.assert_array_equal(drawn.pixels[:, 0], [2, 1, 3])
    assert 0 < drawn.colors[0, 3] < 128
    assert (drawn.colors[1:, 3] == 255).all()


def test_points_behind_the_camera_or_far_outside_are_not_drawn() -> None:
    far = [(5, 5, -1), (1e15, 5, 2), (5, -1e15, 2), (5, 5, 2)]
    drawn = ShotDrawing(make_shot([far], [[False] * 4])).points(0)
    np.testing.assert_array_equal(drawn.pixels, [[5, 5]])


def test_paths_follow_each_point_from_frame_to_frame() -> None:
    shot = make_shot(
        [[(1, 1, 1), (2, 2, 1)], [(3, 3, 1), (4, 4, 1)], [(5, 5, 1), (6, 6, 1)]], [[True] * 2] * 3
    )
    paths = ShotDrawing(shot).paths(2)
    steps = paths.pixels[paths.lines]  # (lines, 2 ends, 2)
    np.testing.assert_array_equal(steps[:, :, 0], [[1, 3], [2, 4], [3, 5], [4, 6]])
    np.testing.assert_array_equal(paths.colors[:2, :3], trajectory_colors(shot))


def test_a_path_is_interrupted_where_its_point_is_behind_the_camera() -> None:
    """A line across the whole picture would join what was before and after."""
    shot = make_shot([[(1, 1, 1)], [(9e9, 1, -1)], [(3, 1, 1)], [(4, 1, 1)]], [[True]] * 4)
    paths = ShotDrawing(shot).paths(1)
    lengths = np.abs(np.diff(paths.pixels[paths.lines][:, :, 0], axis=1))[:, 0]
    np.testing.assert_array_equal(lengths, [0, 0, 1])


@given(st.integers(1, 50), st.integers(1, 80))
def test_as_many_paths_as_asked_for_spread_over_all_points(count: int, most: int) -> None:
    paths = ShotDrawing(still(count, 2)).paths(most)
    assert len(paths.lines) == min(count, most)
    if min(count, most) > 1:
        assert (paths.pixels[0, 0], paths.pixels[:, 0].max()) == (0, count - 1)


@given(st.integers(1, 60), st.data())
def test_trails_cover_each_step_within_reach_once(frame_count: int, data: st.DataObject) -> None:
    frame = data.draw(st.integers(0, frame_count - 1))
    length = data.draw(st.integers(0, 80))
    parts = trail_parts(frame, length, frame_count)
    covered = sorted(step for part in parts for step in range(part.first, part.last))
    assert covered == list(range(max(frame - length, 0), min(frame + length, frame_count - 1)))
    assert all(0 < part.opacity <= 1 for part in parts)


def test_trails_fade_out_and_show_the_past_stronger_than_the_future() -> None:
    parts = trail_parts(10, 4, 21)
    past = [part.opacity for part in parts if part.last <= 10]
    future = [part.opacity for part in parts if part.first >= 10]
    assert past == sorted(past) and past[-1] == 1.0
    assert future == pytest.approx([opacity * FUTURE_OPACITY for opacity in past])


def test_the_nearest_sampled_frame_is_shown() -> None:
    source = (1.0, 3.5, 6.0)
    assert [nearest_frame(source, frame) for frame in (-9, 1, 2, 2.5, 4, 6, 99)] == [0, 0, 0, 1, 1, 2, 2]


def test_frames_are_made_once_and_the_oldest_are_let_go() -> None:
    made: list[int] = []
    frames = FrameCache(lambda frame: made.append(frame) or frame, 2)
    assert [frames.of(frame) for frame in (1, 2, 1, 3, 1, 2)] == [1, 2, 1, 3, 1, 2]
    assert made == [1, 2, 3, 2]
