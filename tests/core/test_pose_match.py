"""Ranking of start frames: which frame a user would be offered."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_addon.core.placement import identity
from blender_addon.core.pose_match import PoseMatch, best_frames, match_pose, shrunk

HEIGHT, WIDTH = 60, 80


def figure(x: float, y: float, size: float, arms: float) -> np.ndarray:
    """A body with a head whose arms are `arms` sizes wide: (H, W) bool."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    u, v = (columns - x) / size, (rows - y) / size
    head = u**2 + (v + 1.2) ** 2 < 0.12
    trunk = (abs(u) < 0.35) & (abs(v) < 0.9)
    limbs = (abs(u) < arms) & (abs(v + 0.6) < 0.18)
    return head | trunk | limbs


def test_the_pose_of_the_photo_is_found_at_another_place_and_size() -> None:
    subject = figure(50, 30, 17, arms=1.1)
    matches = [
        match_pose(frame, figure(30, 28, 11, arms), subject) for frame, arms in enumerate((0.4, 1.1, 0.7))
    ]
    best = best_frames([match for match in matches if match is not None], 1, 1)[0]
    assert best.frame == 1
    assert best.overlap > 0.85
    assert best.fit[0, 0] == pytest.approx(17 / 11, rel=0.08)


def test_a_mirrored_pose_is_not_taken_for_the_same() -> None:
    def one_armed() -> np.ndarray:
        whole = figure(40, 30, 16, arms=1.3)
        whole[:, 46:] &= figure(40, 30, 16, arms=0.35)[:, 46:]
        return whole

    pose = one_armed()
    same, mirrored = match_pose(0, pose, pose), match_pose(1, pose[:, ::-1], pose)
    assert same is not None and mirrored is not None
    assert same.overlap > 0.98 > mirrored.overlap + 0.1


def test_a_half_body_photo_finds_the_upper_half_of_the_rig() -> None:
    subject = figure(40, 55, 30, arms=0.9)  # cut by the lower border
    found = match_pose(0, figure(40, 30, 14, arms=0.9), subject)
    assert found is not None and found.overlap > 0.75


def test_a_frame_on_which_the_rig_is_out_of_the_picture_is_left_out() -> None:
    assert match_pose(0, np.zeros((HEIGHT, WIDTH), bool), figure(40, 30, 14, 1)) is None


@given(st.lists(st.tuples(st.integers(0, 200), st.floats(0, 1)), max_size=30), st.integers(1, 6))
def test_offered_frames_are_the_best_ones_and_not_neighbours(values: list, count: int) -> None:
    matches = [PoseMatch(float(frame), overlap, identity()) for frame, overlap in values]
    found = best_frames(matches, count, 5)
    assert len(found) <= count
    assert [match.overlap for match in found] == sorted((m.overlap for m in found), reverse=True)
    frames = sorted(match.frame for match in found)
    assert all(later - earlier >= 5 for earlier, later in pairwise(frames))
    if matches:
        assert found[0].overlap == max(match.overlap for match in matches)


@given(st.integers(1, 300), st.integers(1, 300))
def test_shrinking_keeps_proportions(height: int, width: int) -> None:
    small = shrunk(np.ones((height, width), bool))
    assert small.all() and max(small.shape) <= max(96, 1)
    assert abs(small.shape[0] / small.shape[1] - height / width) <= 1.5 * max(1, height / width) / min(
        small.shape
    )
