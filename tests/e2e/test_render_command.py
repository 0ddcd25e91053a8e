"""`flextraj render`, `engines`, `doctor`: what a user at the command line gets, and what is never lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_shot
from server_harness import backend_environment, wait_until

from blender_addon.client import backend_location
from blender_addon.core.request import RenderRequest
from blender_addon.core.trajectory_file import read_trajectories
from flextraj_backend import cli, diagnosis
from flextraj_backend.diagnosis import Severity
from flextraj_backend.engines.base import Availability
from flextraj_backend.engines.preview.engine import PreviewEngine
from flextraj_backend.video_io import read_video

OUTPUTS = {"out.mp4", "out.id.mp4", "out.color.mp4", "out.json"}


@pytest.fixture
def shot(tmp_path: Path) -> Path:
    """A folder with shot.npz, photo.png and mask.png."""
    (tmp_path / "shot.npz").write_bytes(tiny_shot.trajectory_bytes())
    (tmp_path / "photo.png").write_bytes(tiny_shot.png(tiny_shot.photo()))
    (tmp_path / "mask.png").write_bytes(tiny_shot.png(tiny_shot.mask()))
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line in this process: (exit code, stdout, stderr)."""

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            cli.main(list(map(str, arguments)))
        captured = capsys.readouterr()
        return int(caught.value.code or 0), captured.out, captured.err

    return call


def made(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"shot.npz", "photo.png", "mask.png"}


def arguments(shot: Path, *more: str | Path) -> list[str | Path]:
    return ["render", shot / "shot.npz", "--image", shot / "photo.png", "-o", shot / "out.mp4", *more]


def test_render_writes_the_video_its_conditions_and_how_they_were_made(shot: Path, run: Callable) -> None:
    code, out, _ = run(*arguments(shot, "--mask", shot / "mask.png", "--seed", "7", "--color-cue"))
    assert code == 0
    assert made(shot) == OUTPUTS
    assert "5 frames" in out and "out.json" in out
    sidecar = json.loads((shot / "out.json").read_text())
    assert sidecar["seed"] == 7
    assert sidecar["label"] and sidecar["label"] in out
    assert sidecar["label"].encode() in (shot / "out.mp4").read_bytes()
    request = RenderRequest.from_dict(sidecar["request"])
    assert request.color_cue and request.mask is not None
    frames, _ = read_video(shot / "out.mp4")
    assert len(frames) == tiny_shot.FRAMES


def test_a_colour_cue_can_take_the_photos_colours(shot: Path, run: Callable) -> None:
    common = ("--mask", shot / "mask.png", "--surface", "--color-cue")
    assert run(*arguments(shot, *common))[0] == 0
    own, _ = read_video(shot / "out.color.mp4")
    assert run(*arguments(shot, *common, "--photo-colors"))[0] == 0
    photos, _ = read_video(shot / "out.color.mp4")
    assert RenderRequest.from_dict(json.loads((shot / "out.json").read_text())["request"]).photo_colors
    assert np.abs(np.asarray(own).astype(int) - np.asarray(photos)).max() > 50
    code, _, error = run(*arguments(shot, "--photo-colors"))
    assert code == 2 and "color_cue" in error


def test_the_same_inputs_and_seed_give_the_same_video(shot: Path, run: Callable) -> None:
    run(*arguments(shot, "--seed", "3"))
    first = (shot / "out.mp4").read_bytes()
    assert run(*arguments(shot, "--seed", "3"))[0] == 0
    assert (shot / "out.mp4").read_bytes() == first


def test_a_fit_can_be_taken_from_an_earlier_render_or_given_by_hand(shot: Path, run: Callable) -> None:
    run(*arguments(shot))
    (shot / "fit.json").write_text(json.dumps([[1.1, 0, 4], [0, 1.1, -3]]))
    assert run(*arguments(shot, "--fit", shot / "fit.json"))[0] == 0
    sidecar = json.loads((shot / "out.json").read_text())
    assert sidecar["fit"]["matrix"] == [[1.1, 0.0, 4.0], [0.0, 1.1, -3.0]]
    assert run(*arguments(shot, "--fit", shot / "out.json"))[0] == 0
    assert json.loads((shot / "out.json").read_text())["fit"]["matrix"] == sidecar["fit"]["matrix"]


def test_pins_of_an_earlier_render_come_along_with_its_fit(shot: Path, run: Callable) -> None:
    run(*arguments(shot))
    sidecar = json.loads((shot / "out.json").read_text())
    segment, point = _first_point(shot)
    sidecar["request"]["pins"] = [{"segment": segment, "point": point, "x": 30.0, "y": 20.0}]
    (shot / "pinned.json").write_text(json.dumps(sidecar))
    assert run(*arguments(shot, "--fit", shot / "pinned.json"))[0] == 0
    again = json.loads((shot / "out.json").read_text())
    assert again["request"]["pins"] == sidecar["request"]["pins"]
    assert again["fit"]["pinned"]


def _first_point(shot: Path) -> tuple[int, int]:
    trajectories = read_trajectories(shot / "shot.npz")
    return trajectories.meta.segments[trajectories.seg_id[0]].id, int(trajectories.traj_id[0])


@pytest.mark.parametrize(
    ("name", "content"),
    [("out.json", '{"my": "notes"}'), ("out.id.mp4", "my film"), ("out.color.mp4", "my film")],
)
def test_a_file_of_the_users_beside_the_video_is_never_replaced(
    shot: Path, run: Callable, name: str, content: str
) -> None:
    (shot / name).write_text(content)
    code, _, err = run(*arguments(shot))
    assert code == 2
    assert name in err and "choose another name" in err
    assert (shot / name).read_text() == content
    assert made(shot) == {name}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--engine", "nothing"], "no engine 'nothing'"),
        (["--keep-points", "0"], "'keep_points'"),
        (["--seed", "-1"], "'seed'"),
        (["--steps", "0"], "'steps'"),
        (["--fit", "guess"], "'none', 'auto' or a JSON file"),
        (["--fit", "shot.npz"], "holds no fit"),
        (["--mask", "nothing.png"], "nothing.png cannot be opened"),
        (["--mask", "shot.npz"], "readable image"),
        (["--image", "shot.npz"], "readable image"),
        (["-o", "out.avi"], "ends in .mp4"),
        (["-o", "missing/out.mp4"], "There is no folder missing"),
        (["--steps", "many"], "--steps"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(
    shot: Path, run: Callable, monkeypatch: pytest.MonkeyPatch, more: list[str], words: str
) -> None:
    monkeypatch.chdir(shot)
    code, _, err = run(*arguments(Path(), *more))
    assert code == 2
    assert words in err
    assert len(err.strip().splitlines()) == 1
    assert made(shot) == set()


def test_a_mask_of_other_proportions_is_refused_instead_of_squeezed(shot: Path, run: Callable) -> None:
    (shot / "mask.png").write_bytes(tiny_shot.png(np.zeros((50, 200), np.uint8)))
    code, _, err = run(*arguments(shot, "--mask", shot / "mask.png"))
    assert code == 2
    assert "200x50" in err and "128x96" in err


@pytest.mark.skipif(os.name == "nt", reason="sends a Unix signal")
def test_ctrl_c_leaves_nothing_half_written(shot: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flextraj_backend", *map(str, arguments(shot))]
    command += ["--engine", "fake", "--prompt", "wait", "--negative-prompt", str(tmp_path / "rendering")]
    process = subprocess.Popen(
        command, env={**os.environ, **backend_environment()}, stderr=subprocess.PIPE, text=True
    )
    with process:
        wait_until((tmp_path / "rendering").exists, "the render")
        (tmp_path / "rendering").unlink()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.strip().endswith("flextraj: Stopped.")
    assert "Traceback" not in err
    assert made(shot) == set()


def test_engines_tells_a_program_and_a_person_what_can_run(
    run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = run("engines", "--json")
    assert code == 0
    (preview,) = (info for info in json.loads(out) if info["name"] == "preview")
    assert preview["available"] and preview["seconds"] > 0
    monkeypatch.setattr(PreviewEngine, "availability", lambda self: Availability(False, "Buy a computer."))
    code, out, _ = run("engines")
    assert code == 0
    assert "preview: Buy a computer." in out


def test_doctor_finds_what_is_there_and_says_how_to_get_what_is_not(
    run: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(backend_location.CONFIG_VARIABLE, str(tmp_path))
    code, out, _ = run("doctor", "--json")
    findings = {finding["name"]: finding for finding in json.loads(out)}
    assert code == 0
    assert {"Python", "ffmpeg", "torch", "CUDA", "disk", "memory", "engine preview"} <= set(findings)
    assert findings["ffmpeg"]["severity"] == "ok"
    assert "bootstrap.py demo" in findings["Blender extension"]["fix"]
    backend_location.write_backend_pointer(Path(sys.executable))
    _, out, _ = run("doctor")
    assert "engine preview" in out


def test_doctor_shows_a_command_with_brackets_whole(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    command = "pip install flextraj[models]"
    found = diagnosis.Finding("device", Severity.OPTIONAL, command)
    monkeypatch.setattr(diagnosis, "diagnose", lambda: (found,))
    assert command in run("doctor")[1]


def test_doctor_ends_with_an_error_where_something_needed_is_broken(
    run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_ffmpeg() -> str:
        raise RuntimeError("No ffmpeg exe could be found")

    monkeypatch.setattr(diagnosis.imageio_ffmpeg, "get_ffmpeg_exe", no_ffmpeg)
    code, out, _ = run("doctor")
    assert code == 1
    assert "pip install --force-reinstall imageio-ffmpeg" in out
    assert [finding for finding in diagnosis.diagnose() if finding.severity is Severity.BROKEN]


def test_a_server_that_cannot_have_its_port_or_token_says_so(
    run: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FLEXTRAJ_TOKEN", "short")
    code, _, err = run("serve", "--data-dir", tmp_path)
    assert code == 2 and "at least 16" in err
    monkeypatch.setenv("FLEXTRAJ_TOKEN", "a-token-that-is-long-enough")
    code, _, err = run("serve", "--data-dir", tmp_path, "--host", "192.0.2.1")
    assert code == 2 and "cannot listen on 192.0.2.1" in err
    (tmp_path / "file").touch()
    code, _, err = run("serve", "--data-dir", tmp_path / "file")
    assert code == 2 and "choose another with --data-dir" in err
