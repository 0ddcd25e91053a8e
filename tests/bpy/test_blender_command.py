"""`blender -b shot.blend -c flextraj ...`, called as Blender calls it; the backend is plain Python."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

bpy = pytest.importorskip("bpy")

from addon_shot import MODEL_FRAMES, use_backend  # noqa: E402
from fake_rendering import FakeBackend  # noqa: E402

from blender_addon import command_line  # noqa: E402
from blender_addon.client.messages import JobState, JobStatus  # noqa: E402
from blender_addon.core.errors import ErrorCode, FlexTrajError  # noqa: E402
from blender_addon.core.request import MAX_PROMPT  # noqa: E402
from blender_addon.core.trajectory_file import read_trajectories  # noqa: E402


@pytest.fixture(autouse=True)
def _results_go_to_the_tests_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(command_line, "output_folder", lambda: tmp_path / "results")


def run(*arguments: object) -> int:
    return command_line.run([str(argument) for argument in arguments])


def only_sentence(capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence about a mistake."""
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.endswith("…")]
    assert len(lines) == 1, lines
    assert lines[0].startswith("flextraj: ")
    assert lines[0].endswith(".")
    return lines[0].removeprefix("flextraj: ")


def test_render_makes_the_video_of_the_files_own_settings(
    backend: FakeBackend, shot: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shot.seed, shot.prompt = 7, "a dancer"
    video = tmp_path / "shot.mp4"
    assert run("render", "-o", video) == 0
    assert video.stat().st_size > 0
    assert [path.name for path in tmp_path.glob(".shot*")] == []
    request = backend.service.requests[0]
    assert (request.engine, request.seed, request.prompt) == ("preview", 7, "a dancer")
    output = capsys.readouterr()
    assert output.out.splitlines()[-1].startswith(f"{video} (motion draft): {MODEL_FRAMES} frames")
    assert "Note: The rig does not line up with the photo." in output.err


def test_options_change_what_is_rendered_and_not_the_file(
    backend: FakeBackend, shot: Any, photo: Path, tmp_path: Path
) -> None:
    blend = tmp_path / "shot.blend"
    shot.photo = ""
    bpy.ops.wm.save_as_mainfile(filepath=str(blend))
    saved = blend.read_bytes()
    options = "--engine wan --seed 3 --prompt 'a ü dancer' --frames 2:9 --model-frames 4 --points 32"
    assert run("render", "--photo", photo, *shlex.split(options)) == 0
    request = backend.service.requests[0]
    assert (request.engine, request.seed, request.prompt) == ("wan", 3, "a ü dancer")
    sampled = read_trajectories(backend.service.uploads[0])
    assert (sampled.frame_count, sampled.point_count) == (4, 32)
    assert (sampled.meta.source_frames[0], sampled.meta.source_frames[-1]) == (2.0, 9.0)
    assert backend.service.uploads[1] == photo
    assert blend.read_bytes() == saved


def test_a_relative_photo_is_looked_for_where_the_command_was_given(
    backend: FakeBackend, shot: Any, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photo.parent)
    assert run("render", "--photo", photo.name) == 0
    assert backend.service.uploads[1] == photo


def test_objects_replace_the_files_subjects_and_props_stay_props(
    backend: FakeBackend, shot: Any, tmp_path: Path
) -> None:
    for name in ("Ground", "Wall"):
        bpy.ops.mesh.primitive_plane_add(location=(0, 0, -1))
        bpy.context.object.name = name
        row = shot.subjects.add()
        row.object, row.background = bpy.context.object, True
    output = tmp_path / "shot.npz"
    assert run("sample", "--objects", "Dancer, Ground", "-o", output) == 0
    segments = {(one.name, one.background) for one in read_trajectories(output).meta.segments}
    assert segments == {("Dancer", False), ("Ground", True)}


def test_sampling_needs_neither_photo_nor_backend(backend: FakeBackend, shot: Any, tmp_path: Path) -> None:
    shot.photo = ""
    assert run("sample", "--output", tmp_path / "shot.npz") == 0
    assert read_trajectories(tmp_path / "shot.npz").frame_count == MODEL_FRAMES
    assert backend.service.requests == []
    assert bpy.context.scene.frame_current == 3


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("", "The following arguments are required: COMMAND"),
        ("paint", "invalid choice: 'paint'"),
        ("render --seed x", "invalid int value: 'x'"),
        ("render --seed -1", "--seed -1 is not possible: give 0 to 2147483647"),
        ("render --seed 99999999999", "--seed 99999999999 is not possible"),
        ("render --model-frames 1", "--model-frames 1 is not possible: give 2 to 2000"),
        ("render --frames 5", "'5' is not a first and last frame such as 1:49"),
        ("render --frames 9:2", "The last frame must come after the first one"),
        ("render --objects Nobody", "There is no object 'Nobody' in the scene"),
        ("render --objects ,", "no object is named"),
        ("render --photo missing.jpg", "missing.jpg does not exist"),
        ("render -o video.avi", "video.avi does not end in .mp4"),
        ("render -o missing/video.mp4", "There is no folder missing: make it first"),
        ("sample", "The following arguments are required: -o/--output"),
        ("sample -o shot.mp4", "shot.mp4 does not end in .npz"),
        pytest.param(f"render --prompt {'x' * (MAX_PROMPT + 1)}", "--prompt is too long", id="long prompt"),
    ],
)
def test_a_mistake_ends_with_code_2_and_one_sentence(
    backend: FakeBackend,
    shot: Any,
    arguments: str,
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert command_line.run(shlex.split(arguments)) == 2
    assert sentence in only_sentence(capsys)
    assert backend.service.requests == []
    assert sorted(tmp_path.rglob("*")) == before


def test_help_is_no_error(backend: FakeBackend, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("render", "--help") == 0
    assert "blender -b FILE.blend -c flextraj render" in capsys.readouterr().out


def test_a_shot_that_is_not_complete_is_told_before_the_backend_starts(
    backend: FakeBackend, shot: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    bpy.context.scene.camera = None
    assert run("render") == 2
    assert only_sentence(capsys).startswith("The scene has no camera")


def test_a_missing_backend_ends_with_its_sentence(
    backend: FakeBackend, shot: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backend.connect_error = FlexTrajError("There is no backend: install it.", ErrorCode.BACKEND_MISSING)
    assert run("render", "-o", tmp_path / "video.mp4") == 2
    assert only_sentence(capsys) == "There is no backend: install it."
    assert not (tmp_path / "video.mp4").exists()


def test_a_failed_job_leaves_an_earlier_video_alone(
    backend: FakeBackend, shot: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = tmp_path / "video.mp4"
    video.write_bytes(b"yesterday's")
    backend.service.outcome = JobStatus(
        "job1", JobState.FAILED, "preview", error="The photo has no subject: give a mask."
    )
    assert run("render", "-o", video) == 2
    assert only_sentence(capsys) == "The photo has no subject: give a mask."
    assert video.read_bytes() == b"yesterday's"


def test_ctrl_c_cancels_the_job_and_ends_with_130(
    backend: FakeBackend,
    shot: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    session = use_backend(backend, tmp_path / "interrupted")
    backend.service.outcome = JobStatus("job1", JobState.RUNNING, "preview")
    waits = iter([KeyboardInterrupt])
    wait = session.runner.wait

    def interrupted_wait(timeout: float) -> Any:
        for interrupt in waits:
            raise interrupt
        return wait(timeout)

    monkeypatch.setattr(session.runner, "wait", interrupted_wait)
    assert run("render") == 130
    assert only_sentence(capsys) == "Stopped."
    assert [report.stage.value for report in session.jobs.values()] == ["cancelled"]
