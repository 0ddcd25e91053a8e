"""The colour cue in the photo's colours."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from blender_addon.core.trajectories import Segment, TrajectoryMeta, TrajectorySet
from flextraj_backend.conditioning.photo_colors import with_photo_colors

WIDTH, HEIGHT = 64, 48


def one_frame(
    points: NDArray[np.floating],
    visible: NDArray[np.bool_],
    seg_id: NDArray[np.integer] | None = None,
    color: NDArray[np.uint8] | None = None,
) -> TrajectorySet:
    """A set of one frame from points (N, 3) and visibility (N,)."""
    segment = np.zeros(len(points), np.uint16) if seg_id is None else seg_id.astype(np.uint16)
    traj_id = np.array([np.count_nonzero(segment[:i] == one) for i, one in enumerate(segment)], np.uint16)
    segments = tuple(Segment(i, f"part {i}", group=i) for i in range(int(segment.max()) + 1))
    meta = TrajectoryMeta(WIDTH, HEIGHT, 24, (0.0,), segments)
    positions = points[None].astype(np.float32)
    return TrajectorySet(positions, visible[None], segment, traj_id, meta, color=color)


def ramp() -> NDArray[np.uint8]:
    """A photo whose red tells the column and whose green the row."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([3 * columns, 4 * rows, np.full_like(rows, 9)], axis=2).astype(np.uint8)


def shown(trajectories: TrajectorySet) -> NDArray[np.uint8]:
    assert trajectories.color is not None
    return trajectories.color


def test_points_take_the_colour_of_the_pixel_that_they_lie_on() -> None:
    points = np.array([[0.5, 0.5, 1], [10.5, 20.5, 1], [11.0, 20.5, 1]])
    colors = shown(with_photo_colors(one_frame(points, np.ones(3, bool)), ramp()))
    assert colors[0].tolist() == [0, 0, 9]
    assert colors[1].tolist() == [30, 80, 9]
    assert colors[2, 0] in (31, 32)  # between two columns


def test_points_are_looked_up_where_the_fit_puts_them() -> None:
    fit = np.array([[1.0, 0, 7], [0, 1, -5]])
    points = np.array([[10.5, 20.5, 1]])
    colors = shown(with_photo_colors(one_frame(points, np.ones(1, bool)), ramp(), fit))
    assert colors[0].tolist() == [3 * 17, 4 * 15, 9]


def test_a_hidden_point_takes_the_colour_of_its_own_segment_beside_it() -> None:
    points = np.array([[5.5, 5.5, 1], [50.5, 40.5, 1], [6.5, 5.5, 1], [49.5, 40.5, 1], [6.0, 5.5, 1]])
    visible = np.array([True, True, False, False, True])
    seg_id = np.array([0, 0, 0, 0, 1])
    colors = shown(with_photo_colors(one_frame(points, visible, seg_id), ramp())).astype(int)
    assert colors[2].tolist() == colors[0].tolist()
    assert colors[3].tolist() == colors[1].tolist()


def test_a_segment_that_the_photo_does_not_show_keeps_its_colours_or_takes_the_mean() -> None:
    points = np.array([[5.5, 5.5, 1], [15.5, 5.5, 1], [30.5, 20.5, 1]])
    visible, seg_id = np.array([True, True, False]), np.array([0, 0, 1])
    own = np.array([[1, 2, 3], [4, 5, 6], [200, 100, 50]], np.uint8)
    assert shown(with_photo_colors(one_frame(points, visible, seg_id, own), ramp()))[2].tolist() == [
        200,
        100,
        50,
    ]
    assert shown(with_photo_colors(one_frame(points, visible, seg_id), ramp()))[2].tolist() == [30, 20, 9]


def test_a_set_that_the_photo_does_not_show_stays_as_it_is() -> None:
    outside = one_frame(np.array([[-5.0, 3, 1], [10, 10, 1]]), np.array([True, False]))
    assert with_photo_colors(outside, ramp()) is outside


@given(st.integers(0, 2**32 - 1), st.integers(1, 200))
@settings(max_examples=60, deadline=None)
def test_no_colour_is_invented(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.uniform((-8, -8, 1), (WIDTH + 8, HEIGHT + 8, 5), (count, 3))
    photo = rng.integers(60, 90, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    trajectories = one_frame(points, rng.random(count) < 0.7, rng.integers(3, size=count))
    colored = with_photo_colors(trajectories, photo)
    if colored is not trajectories:
        assert shown(colored).shape == (count, 3)
        assert shown(colored).min() >= 60 and shown(colored).max() < 90
    assert np.array_equal(colored.positions, trajectories.positions)
