"""`flextraj conditions` writes what it promises, and nothing half-written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from blender_addon.core.conditioning import ConditioningSettings, Coverage
from blender_addon.core.trajectories import Segment, TrajectoryMeta, TrajectorySet
from blender_addon.core.trajectory_file import write_trajectories
from flextraj_backend.cli import main
from flextraj_backend.commands import conditions
from flextraj_backend.conditioning.render import render_conditioning
from flextraj_backend.video_io import VideoError, read_video

FILES = ["color.mp4", "color.npz", "id.mp4", "id.npz", "summary.json"]


@pytest.fixture
def shot() -> TrajectorySet:
    generator = np.random.default_rng(2)
    frames, count, width, height = 5, 60, 65, 48
    return TrajectorySet(
        generator.uniform((0, 0, 1), (width, height, 4), (frames, count, 3)).astype(np.float32),
        np.ones((frames, count), bool),
        np.zeros(count, np.uint16),
        np.arange(count).astype(np.uint16),
        TrajectoryMeta(width, height, 12, tuple(map(float, range(frames))), (Segment(0, "body"),)),
        color=generator.integers(1, 256, (count, 3)).astype(np.uint8),
    )


@pytest.fixture
def shot_file(shot: TrajectorySet, tmp_path: Path) -> Path:
    return write_trajectories(shot, tmp_path / "shot.npz")


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["conditions", *map(str, arguments)])
    code = ended.value.code
    assert isinstance(code, int)
    return code


def test_folder_holds_lossless_frames_videos_and_summary(
    shot: TrajectorySet, shot_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "deep" / "out"
    options = ["--keep-points", 0.5, "--keep-frames", 0.5, "--surface", "--seed", 3]
    assert run(shot_file, "-o", folder, *options) == 0
    assert sorted(path.name for path in folder.iterdir()) == FILES
    settings = ConditioningSettings(keep_points=0.5, keep_frames=0.5, seed=3, coverage=Coverage.SURFACE)
    expected = render_conditioning(shot, settings)
    for name, video in (("id", expected.ids), ("color", expected.color)):
        with np.load(folder / f"{name}.npz", allow_pickle=False) as archive:
            np.testing.assert_array_equal(archive["frames"], video)
        frames, fps = read_video(folder / f"{name}.mp4")
        assert frames.shape == (5, 48, 66, 3) and fps == pytest.approx(12)  # odd width padded for H.264
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["frames_kept"] == [0, 4] and summary["settings"]["coverage"] == "surface"
    assert [share > 0 for share in summary["painted_fraction"]] == [True, False, False, False, True]


def test_running_again_replaces_the_results_and_nothing_else(shot_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    assert run(shot_file, "-o", folder) == 0
    assert run(shot_file, "-o", folder, "--no-color-cue") == 0
    assert (folder / "notes.txt").read_text() == "mine"
    with np.load(folder / "color.npz", allow_pickle=False) as archive:
        assert not archive["frames"].any()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "shot.npz"]


def test_nothing_is_left_when_writing_fails(
    shot_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(path: Path, *_arguments: object, **_named: object) -> Path:
        path.write_bytes(b"half")
        raise VideoError("The video encoder stopped.")

    monkeypatch.setattr(conditions, "write_video", fail)
    assert run(shot_file, "-o", tmp_path / "out") == 2
    assert "The video encoder stopped." in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shot.npz"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--keep-points", "0"], "The fraction of points to keep is 0: give a number above 0 and at most 1."),
        (["--keep-frames", "2"], "The fraction of frames to keep is 2: give a number above 0 and at most 1."),
        (["--seed", "-4"], "The seed is -4: give a whole number of at least 0."),
        (["--keep-points", "many"], "Invalid value for '--keep-points'"),
    ],
)
def test_a_bad_number_gets_a_sentence(
    shot_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    sentence: str,
) -> None:
    assert run(shot_file, "-o", tmp_path / "out", *arguments) == 2
    error = capsys.readouterr().err
    assert sentence in error and "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_is_not_overwritten(
    shot_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "precious.txt"
    target.write_text("mine")
    assert run(shot_file, "-o", target) == 2
    assert "is a file, not a folder: give another folder." in capsys.readouterr().err
    assert target.read_text() == "mine"


def test_a_file_that_is_no_trajectory_set_gets_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "shot.npz"
    wrong.write_bytes(b"not an archive")
    assert run(wrong, "-o", tmp_path / "out") == 2
    assert "is not a complete .npz archive" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
