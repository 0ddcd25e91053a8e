"""Frames chosen one by one: what a user would lose if the command line or the videos took others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from blender_addon.core.conditioning import ConditioningSettings, Coverage
from blender_addon.core.errors import FlexTrajError, RequestError
from blender_addon.core.trajectories import Segment, TrajectoryMeta, TrajectorySet
from blender_addon.core.trajectory_file import write_trajectories
from flextraj_backend import cli
from flextraj_backend.commands.frame_options import parse_kept_frames
from flextraj_backend.conditioning.render import render_conditioning

FRAMES, COUNT, WIDTH, HEIGHT = 6, 40, 48, 32


@pytest.fixture
def shot() -> TrajectorySet:
    generator = np.random.default_rng(0)
    positions = generator.uniform((4, 4, 1), (WIDTH - 4, HEIGHT - 4, 9), (FRAMES, COUNT, 3))
    return TrajectorySet(
        positions.astype(np.float32),
        np.ones((FRAMES, COUNT), bool),
        np.zeros(COUNT, np.uint16),
        np.arange(COUNT).astype(np.uint16),
        TrajectoryMeta(WIDTH, HEIGHT, 12, tuple(map(float, range(FRAMES))), (Segment(0, "body"),)),
        silhouette=np.ones((1, HEIGHT, WIDTH), bool),
    )


@pytest.mark.parametrize(
    ("text", "frames"),
    [
        ("", None),
        ("  ", None),
        ("4", (4,)),
        ("7, 0,12", (0, 7, 12)),
        ("2:4", (2, 3, 4)),
        ("0:48:12", (0, 12, 24, 36, 48)),
        ("0:5:2,3,4", (0, 2, 3, 4)),
    ],
)
def test_the_option_reads_numbers_and_ranges(text: str, frames: tuple[int, ...] | None) -> None:
    assert parse_kept_frames(text, 1.0) == frames


@pytest.mark.parametrize("text", ["a", "1,,2", "3:1", "-1", "1:2:0", "1:2:3:4", "0:20000", "1.5", "²"])
def test_the_option_refuses_what_is_no_list_of_frames(text: str) -> None:
    with pytest.raises(RequestError, match="are no kept frames"):
        parse_kept_frames(text, 1.0)


def test_the_option_does_not_silently_win_over_the_fraction() -> None:
    with pytest.raises(RequestError, match="exclude each other"):
        parse_kept_frames("1", 0.5)


@pytest.mark.parametrize("coverage", Coverage)
def test_exactly_the_chosen_frames_are_painted(shot: TrajectorySet, coverage: Coverage) -> None:
    chosen = (0, 2, FRAMES - 1)
    videos = render_conditioning(shot, ConditioningSettings(frames=chosen, coverage=coverage))
    painted = np.flatnonzero(videos.ids.any(axis=(1, 2, 3)))
    assert tuple(painted.tolist()) == chosen


@pytest.mark.parametrize("frames", [(0, FRAMES), (-1,), ()])
def test_a_frame_that_the_set_does_not_have_is_refused(shot: TrajectorySet, frames: tuple[int, ...]) -> None:
    with pytest.raises(FlexTrajError, match=f"the set's {FRAMES} frames|of the set's {FRAMES}"):
        render_conditioning(shot, ConditioningSettings(frames=frames))


def test_the_command_keeps_the_frames_and_says_which(shot: TrajectorySet, tmp_path: Path) -> None:
    source, folder = write_trajectories(shot, tmp_path / "shot.npz"), tmp_path / "out"
    with pytest.raises(SystemExit) as ended:
        cli.main(["conditions", str(source), "-o", str(folder), "--kept-frames", "0,2:3"])
    assert ended.value.code == 0
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert summary["frames_kept"] == [0, 2, 3]
