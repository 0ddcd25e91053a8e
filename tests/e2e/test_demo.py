"""`flextraj demo`, run once as a user runs it: rig, local server, preview engine, files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

from blender_addon.core.trajectories import TrajectorySet
from blender_addon.core.trajectory_file import read_trajectories
from flextraj_backend.demo.run import PHOTO
from flextraj_backend.image_io import read_photo
from flextraj_backend.video_io import read_video

pytest.importorskip("bpy")
pytestmark = [pytest.mark.blender, pytest.mark.slow]

FILES = ("video.mp4", "id.mp4", "color.mp4", "trajectories.npz", "contact_sheet.png", "job.json")
FACE = (slice(120, 240), slice(255, 375))
CHEST = (slice(250, 420), slice(170, 420))
"""Rows and columns of face and chest in the photo."""


@dataclass(frozen=True, eq=False)
class Demo:
    """What one run left behind."""

    folder: Path
    temporary: Path
    printed: str
    video: np.ndarray
    fitted: np.ndarray
    """(T, N, 2) tracks on the photo."""
    trajectories: TrajectorySet
    sidecar: dict


def _environment(temporary: Path) -> dict[str, str]:
    temporary.mkdir()
    return {**os.environ, "TMPDIR": str(temporary), "TEMP": str(temporary), "TMP": str(temporary)}


def _processes_of(temporary: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any(str(temporary) in part for part in process.info["cmdline"] or ()):
            found.append(process)
    return found


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    place = tmp_path_factory.mktemp("demo")
    temporary = place / "temporary"
    done = subprocess.run(
        [sys.executable, "-m", "flextraj_backend", "demo", "-o", "out"],
        cwd=place,
        env=_environment(temporary),
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    folder = place / "out"
    sidecar = json.loads((folder / "job.json").read_text())
    trajectories = read_trajectories(folder / "trajectories.npz")
    matrix = np.array(sidecar["fit"]["matrix"])
    fitted = trajectories.positions[..., :2] @ matrix[:, :2].T + matrix[:, 2]
    video, _ = read_video(folder / "video.mp4")
    return Demo(folder, temporary, done.stdout, video, fitted, trajectories, sidecar)


def test_every_promised_file_is_there_and_is_named_on_the_screen(demo: Demo) -> None:
    for name in FILES:
        assert (demo.folder / name).stat().st_size > 1000
        assert f"out/{name}: " in demo.printed.replace("\\", "/")
    leftovers = {path.name for path in demo.folder.iterdir()} - set(FILES)
    assert leftovers == {".flextraj-demo"}


def test_all_three_videos_play_49_frames_of_720_by_480(demo: Demo) -> None:
    for name in FILES[:3]:
        frames, fps = read_video(demo.folder / name)
        assert frames.shape == (49, 480, 720, 3)
        assert fps == 16
        assert frames.max() > 100


def test_the_video_starts_with_the_photo_itself(demo: Demo) -> None:
    error = demo.video[0].astype(float) - read_photo(PHOTO)
    assert 10 * np.log10(255**2 / (error**2).mean()) > 34


def test_rig_and_photo_do_not_line_up_so_that_the_fit_has_work_to_do(demo: Demo) -> None:
    matrix = np.array(demo.sidecar["fit"]["matrix"])
    assert matrix[0, 0] > 1.15
    assert np.abs(matrix[:, 2]).max() > 80
    assert demo.sidecar["fit"]["iou"] > 0.75
    assert not demo.trajectories.meta.aligned


@pytest.mark.parametrize("region", [FACE, CHEST], ids=["face", "chest"])
def test_the_photo_goes_where_the_rig_goes(demo: Demo, region: tuple[slice, slice]) -> None:
    rows, columns = region
    start = demo.fitted[0]
    inside = (
        (start[:, 0] > columns.start)
        & (start[:, 0] < columns.stop)
        & (start[:, 1] > rows.start)
        & (start[:, 1] < rows.stop)
    )
    template = demo.video[0][rows, columns]
    travelled, errors = [], []
    for frame in range(4, 49, 4):
        shown = inside & demo.trajectories.visible[0] & demo.trajectories.visible[frame]
        expected = np.median(demo.fitted[frame, shown] - start[shown], axis=0)
        score = cv2.matchTemplate(demo.video[frame], template, cv2.TM_CCOEFF_NORMED)
        _, best, _, place = cv2.minMaxLoc(score)
        assert best > 0.35
        errors.append(np.linalg.norm(np.array(place) - (columns.start, rows.start) - expected))
        travelled.append(expected)
    # A still photo would miss by the whole way.
    assert np.ptp(np.array(travelled), axis=0)[0] > 60
    assert np.linalg.norm(travelled, axis=1).max() > 40
    assert np.median(errors) < 4
    assert max(errors) < 14


def test_what_is_not_the_subject_stays_where_it_is(demo: Demo) -> None:
    far = demo.video[:, 20:300, 560:].astype(int)
    assert np.abs(far - far[0]).mean(axis=(1, 2, 3)).max() < 4


def test_the_result_calls_itself_a_motion_draft(demo: Demo) -> None:
    assert demo.sidecar["label"] == "motion draft"
    assert "motion draft" in demo.printed


def test_no_server_and_no_temporary_file_is_left(demo: Demo) -> None:
    assert _processes_of(demo.temporary) == []
    assert list(demo.temporary.glob("flextraj-*")) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT")
def test_ctrl_c_stops_the_server_too_and_leaves_nothing_half_made(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    process = subprocess.Popen(
        [sys.executable, "-m", "flextraj_backend", "demo", "-o", "out"],
        cwd=tmp_path,
        env=_environment(temporary),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        deadline = time.monotonic() + 120
        while not any("jobs" in str(path) for path in temporary.glob("flextraj-server-*/data/jobs/*")):
            assert time.monotonic() < deadline, "no job was submitted"
            assert process.poll() is None, "the demo ended early"
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.strip().endswith("flextraj: Stopped.")
    assert not (tmp_path / "out").exists()
    assert _processes_of(temporary) == []
    assert [path.name for path in tmp_path.iterdir()] == ["temporary"]
