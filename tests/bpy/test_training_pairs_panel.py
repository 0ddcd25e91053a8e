"""Training Pairs: the buttons, what the panel shows, and that no generation outlives its Blender."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import psutil
import pytest

bpy = pytest.importorskip("bpy")

from addon_shot import ops  # noqa: E402
from drawn_panel import drawn, drawn_text  # noqa: E402
from fake_backend_python import FakeSynthesize, fake_synthesize  # noqa: E402
from fake_rendering import FakeBackend  # noqa: E402

import blender_addon  # noqa: E402
from blender_addon import command_line, session  # noqa: E402
from blender_addon.bridge.pairs_request import read_pairs_request  # noqa: E402
from blender_addon.core.errors import ErrorCode, FlexTrajError  # noqa: E402
from blender_addon.core.training_pairs import ActionName, CameraMove, PairsRequest, Renderer  # noqa: E402
from blender_addon.panels import training_pairs  # noqa: E402
from blender_addon.panels.training_pairs import (  # noqa: E402
    FLEXTRAJ_PT_pair_actions,
    FLEXTRAJ_PT_pair_clips,
    FLEXTRAJ_PT_training_pairs,
)
from blender_addon.properties import runtime_state  # noqa: E402

PATIENCE = 30.0
pytestmark = pytest.mark.skipif(os.name == "nt", reason="the fake interpreter is a shell script")


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSynthesize:
    return fake_synthesize(tmp_path / "fake", monkeypatch)


@pytest.fixture
def training(backend: FakeBackend, tmp_path: Path) -> Any:
    """Settings that are complete."""
    settings = bpy.context.scene.flextraj.training
    settings.folder = str(tmp_path / "my pairs") + os.sep
    settings.clips = 3
    return settings


def words(panel: Any = FLEXTRAJ_PT_training_pairs) -> str:
    return drawn_text(panel)


def collect_until(condition: Callable[[], Any], what: str) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, what
        session.poll_once()
        time.sleep(0.01)


def pairs() -> Any:
    return session.current_session().pairs


def test_every_setting_of_the_panel_reaches_the_request(training: Any, tmp_path: Path) -> None:
    values = {
        "clips": 5, "characters": 4, "others": 1, "seed": 9, "width": 72, "height": 48, "frames": 9, "fps": 8,
        "points": 64, "processes": 2,
    }  # fmt: skip
    for name, value in values.items():
        setattr(training, name, value)
    training.renderer = "cycles"
    training.actions, training.cameras = {"jump", "walk"}, {"shake"}
    training.library = str(tmp_path)
    request = read_pairs_request(training)
    expected = {
        **values,
        "folder": tmp_path / "my pairs",
        "renderer": Renderer.CYCLES,
        "actions": (ActionName.WALK, ActionName.JUMP),
        "cameras": (CameraMove.SHAKE,),
        "library": tmp_path,
    }
    assert set(expected) == {item.name for item in fields(PairsRequest)}
    assert {name: getattr(request, name) for name in expected} == expected
    panels = (FLEXTRAJ_PT_training_pairs, FLEXTRAJ_PT_pair_actions, FLEXTRAJ_PT_pair_clips)
    shown = {name for panel in panels for _, name in drawn(panel)}
    assert shown > set(expected) - {"actions", "cameras"} | set(ActionName) | set(CameraMove)


def test_an_untouched_panel_asks_for_what_the_request_has_by_default(training: Any, tmp_path: Path) -> None:
    training.property_unset("clips")
    assert read_pairs_request(training) == PairsRequest(tmp_path / "my pairs")


def test_a_headless_generate_waits_for_the_dataset(training: Any, fake: FakeSynthesize) -> None:
    assert ops.flextraj.generate_pairs() == {"FINISHED"}
    assert "--clips=3" in fake.told()["arguments"]
    assert len(Path(training.folder, "clips.jsonl").read_text().splitlines()) == 3


def test_without_a_folder_one_click_chooses_one(backend: FakeBackend, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="There is no output folder: choose one"):
        ops.flextraj.generate_pairs()
    assert runtime_state().error_code == ErrorCode.PAIRS_FOLDER
    assert ops.flextraj.pick_pairs_folder(target="OUTPUT", directory=str(tmp_path)) == {"FINISHED"}
    assert (runtime_state().error_text, bpy.context.scene.flextraj.training.folder) == ("", str(tmp_path))


def test_own_characters_are_chosen_like_a_folder(backend: FakeBackend, tmp_path: Path) -> None:
    ops.flextraj.pick_pairs_folder(target="CHARACTERS", directory=str(tmp_path))
    training = bpy.context.scene.flextraj.training
    assert (training.library, training.folder) == (str(tmp_path), "")


def test_a_folder_beside_a_file_that_is_not_saved_is_refused(training: Any) -> None:
    training.folder = "//pairs"
    with pytest.raises(FlexTrajError, match="save that first"):
        read_pairs_request(training)


def test_other_files_are_not_written_among(training: Any, fake: FakeSynthesize) -> None:
    Path(training.folder).mkdir()
    (Path(training.folder) / "thesis.doc").touch()
    with pytest.raises(RuntimeError, match="holds other files: choose an empty one"):
        ops.flextraj.generate_pairs()
    assert not fake.heard.exists()
    drawn_panel = drawn(FLEXTRAJ_PT_training_pairs)
    assert ("operator", "flextraj.pick_pairs_folder") in drawn_panel


def test_the_panel_shows_progress_then_the_contact_sheet(
    training: Any, fake: FakeSynthesize, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without a window Blender makes no icons.
    monkeypatch.setattr(training_pairs, "thumbnail_icon", lambda path, stamp: 1)
    fake.behave("hang")
    pairs().start(command_line.PairsOrder(read_pairs_request(training)))
    collect_until(lambda: pairs().report.progress.done, "the first clip")
    assert "1 of 3 clips" in words() and "120 clips a minute, 1 s left" in words()
    assert ("operator", "flextraj.cancel_pairs") in drawn(FLEXTRAJ_PT_training_pairs)
    assert not ops.flextraj.generate_pairs.poll()
    assert ops.flextraj.cancel_pairs() == {"FINISHED"}
    collect_until(lambda: not pairs().has_work, "the end")
    assert "Cancelled; finished clips: 1" in words()
    assert "A dataset is in this folder (finished clips: 1)" in words()
    fake.behave("finish")
    ops.flextraj.generate_pairs()
    assert "Done; finished clips: 3" in words()
    assert ("picture", "") in drawn(FLEXTRAJ_PT_training_pairs)
    assert ("operator", "flextraj.open_pairs_folder") in drawn(FLEXTRAJ_PT_training_pairs)
    for target in ("FOLDER", "SHEET"):
        assert ops.flextraj.open_pairs_folder(target=target) == {"FINISHED"}


def test_nothing_is_opened_that_is_not_there(training: Any) -> None:
    with pytest.raises(RuntimeError, match="press Generate Pairs first"):
        ops.flextraj.open_pairs_folder(target="FOLDER")
    Path(training.folder).mkdir()
    with pytest.raises(RuntimeError, match="There is no contact sheet yet"):
        ops.flextraj.open_pairs_folder(target="SHEET")


def test_a_dataset_of_yesterday_is_found_without_pressing_anything(
    training: Any, fake: FakeSynthesize
) -> None:
    ops.flextraj.generate_pairs()
    pairs()._folder = pairs()._asked = None
    assert "A dataset" not in words()
    collect_until(lambda: "(finished clips: 3)" in words(), "the look at the folder")


def test_a_failure_stands_in_the_panel_with_its_log(training: Any, fake: FakeSynthesize) -> None:
    fake.behave("crash")
    with pytest.raises(RuntimeError, match="Something broke"):
        ops.flextraj.generate_pairs()
    state = runtime_state()
    assert state.error_code == ErrorCode.DEFECT
    assert ops.flextraj.open_log(key=state.error_job) == {"FINISHED"}
    assert bpy.data.texts[-1].as_string().strip() == "Something broke"


def test_a_generation_that_fails_in_a_window_is_told(training: Any, fake: FakeSynthesize) -> None:
    fake.behave("error")
    pairs().start(command_line.PairsOrder(read_pairs_request(training)))
    collect_until(lambda: runtime_state().error_text, "the message")
    assert runtime_state().error_text == "The GPU is gone: use the fast renderer."


def test_a_generation_goes_on_while_another_file_is_opened(training: Any, fake: FakeSynthesize) -> None:
    fake.behave("hang")
    pairs().start(command_line.PairsOrder(read_pairs_request(training)))
    collect_until(lambda: pairs().report.progress.done, "the first clip")
    bpy.ops.wm.read_factory_settings(use_empty=True)
    assert "1 of 3 clips" in words()
    assert ops.flextraj.cancel_pairs() == {"FINISHED"}
    collect_until(lambda: not pairs().has_work, "the end")


def test_disabling_the_addon_ends_the_child(fake: FakeSynthesize, tmp_path: Path) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    blender_addon.register()
    fake.behave("hang")
    try:
        pairs().start(command_line.PairsOrder(PairsRequest(tmp_path / "pairs", clips=2)))
        collect_until(lambda: pairs().report.progress.done, "the first clip")
    finally:
        blender_addon.unregister()
    wait_for_end(fake.told()["pid"])


KILLED = """
import sys, time, bpy, blender_addon
from blender_addon.session import current_session, poll_once
blender_addon.register()
training = bpy.context.scene.flextraj.training
training.folder, training.clips = sys.argv[1], 3
from blender_addon.bridge.pairs_request import read_pairs_request
from blender_addon.client.pairs_runner import PairsOrder
current_session().pairs.start(PairsOrder(read_pairs_request(training)))
while not current_session().pairs.report.progress.done:
    poll_once()
    time.sleep(0.02)
print("running", flush=True)
time.sleep(60)
"""


def test_a_killed_blender_leaves_no_child(fake: FakeSynthesize, tmp_path: Path) -> None:
    fake.behave("hang")
    blender = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "pairs")],
        cwd=Path(blender_addon.__file__).parents[1],
        env=dict(os.environ, BLENDER_USER_RESOURCES=str(tmp_path / "user")),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert blender.stdout is not None
        assert "running" in iter(blender.stdout.readline, "").__next__()
        blender.send_signal(signal.SIGKILL)
        wait_for_end(fake.told()["pid"])
    finally:
        blender.kill()
        blender.wait()
        assert blender.stdout is not None
        blender.stdout.close()


def wait_for_end(pid: int) -> None:
    until = time.monotonic() + PATIENCE
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until, "the child outlived its Blender"
        time.sleep(0.02)


def test_blenders_command_line_makes_pairs_of_the_files_settings(
    training: Any, fake: FakeSynthesize, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training.frames = 9
    output = tmp_path / "others"
    assert command_line.run(["synthesize", "-o", str(output), "--clips", "2", "--workers", "2"]) == 0
    arguments = fake.told()["arguments"]
    assert {f"--output={output}", "--clips=2", "--frames=9", "--workers=2"} <= set(arguments)
    assert capsys.readouterr().out.splitlines()[-1] == f"{output}: 2 clips"


def test_blenders_command_line_tells_a_failure_in_one_sentence(
    training: Any, fake: FakeSynthesize, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.behave("refuse")
    assert command_line.run(["synthesize", "--seed", "3"]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.endswith("…")]
    assert lines == ["flextraj: The folder is of another seed: choose another folder."]
    assert command_line.run(["synthesize", "--clips", "0"]) == 2
    assert "--clips 0 is not possible: give 1 to" in capsys.readouterr().err
