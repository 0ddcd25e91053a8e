"""The demo's folder and contact sheet, and what it says when it cannot run."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from blender_addon.core.errors import FlexTrajError
from flextraj_backend.demo.contact_sheet import PAPER, SheetRow, build_sheet, draw_tracks
from flextraj_backend.demo.output_folder import MARKER, staged_output
from flextraj_backend.demo.run import PHOTO, PHOTO_MASK, DemoOptions, run_demo
from flextraj_backend.image_io import read_mask, read_photo


def _make(folder: Path, text: str) -> Path:
    with staged_output(folder) as (staging, final):
        (staging / "video.mp4").write_text(text)
    return final


def test_a_second_demo_replaces_the_first_ones_files_and_keeps_the_users_notes(tmp_path: Path) -> None:
    folder = _make(tmp_path / "out", "first")
    (folder / "notes.txt").write_text("mine")
    assert _make(tmp_path / "out", "second") == folder
    assert (folder / "video.mp4").read_text() == "second"
    assert (folder / "notes.txt").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_a_users_folder_is_left_alone_and_the_demo_takes_the_next_number(tmp_path: Path) -> None:
    mine = tmp_path / "out"
    mine.mkdir()
    (mine / "video.mp4").write_text("my holiday")
    assert _make(mine, "demo") == tmp_path / "out-2"
    assert (mine / "video.mp4").read_text() == "my holiday"


def test_a_users_file_of_the_same_name_in_the_demos_folder_is_not_overwritten(tmp_path: Path) -> None:
    folder = _make(tmp_path / "out", "demo")
    (folder / "job.json").write_text("mine")
    refused = pytest.raises(FlexTrajError, match=r"job\.json is not the demo's")
    with refused, staged_output(folder) as (staging, _):
        (staging / "video.mp4").write_text("new")
        (staging / "job.json").write_text("{}")
    assert (folder / "job.json").read_text() == "mine"
    assert (folder / "video.mp4").read_text() == "demo"


def test_the_current_folder_is_used_only_where_it_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    assert (_make(Path(), "demo") / "video.mp4").resolve() == here / "video.mp4"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("x")
    monkeypatch.chdir(tmp_path / "mine")
    assert _make(Path(), "demo").resolve() == tmp_path / "mine-2"
    with pytest.raises(FlexTrajError, match="cannot be the output folder"):
        _make(Path(tmp_path.anchor), "demo")


def test_a_marker_cannot_make_the_demo_delete_files_elsewhere(tmp_path: Path) -> None:
    victim = tmp_path / "precious"
    victim.write_text("keep")
    folder = _make(tmp_path / "out", "demo")
    (folder / MARKER).write_text("../precious\n..\n/etc/hostname\n")
    with pytest.raises(FlexTrajError, match="is not the demo's"):
        _make(tmp_path / "out", "again")
    assert victim.read_text() == "keep"


def test_a_demo_that_fails_leaves_no_folder_behind(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), staged_output(tmp_path / "out") as (staging, _):
        (staging / "video.mp4").write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_place_gives_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FlexTrajError, match="choose another output folder"):
        _make(tmp_path / "file" / "out", "demo")


def test_without_blenders_module_the_sentence_names_the_install_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bpy", None)
    options = DemoOptions(tmp_path / "out", "preview", 0, with_blend=False)
    with pytest.raises(FlexTrajError, match=r"flextraj\[blender\]"):
        run_demo(options, lambda progress: None)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_engine_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    options = DemoOptions(tmp_path / "out", "nonsense", 0, with_blend=False)
    with pytest.raises(FlexTrajError, match="There is no engine 'nonsense'"):
        run_demo(options, lambda progress: None)
    assert list(tmp_path.iterdir()) == []


def test_photo_and_mask_belong_together_and_are_small_enough_to_ship() -> None:
    photo, mask = read_photo(PHOTO), read_mask(PHOTO_MASK)
    assert photo.shape == (480, 720, 3)
    assert mask.shape == (480, 720)
    assert PHOTO.stat().st_size <= 300_000
    # Face, hair, collar and suit belong to the subject; flag, backdrop and shuttle do not.
    for x, y in ((310, 150), (320, 30), (225, 110), (200, 260), (250, 430), (480, 450)):
        assert mask[y, x]
    for x, y in ((20, 400), (100, 300), (180, 150), (460, 200), (560, 200), (600, 450)):
        assert not mask[y, x]
    assert (PHOTO.parent / "PHOTO_LICENSE.md").is_file()


def test_a_contact_sheet_shows_every_picture_of_every_row() -> None:
    red, green, blue = (
        np.full((48, 72, 3), color, np.uint8) for color in ((200, 0, 0), (0, 200, 0), (0, 0, 200))
    )
    sheet = build_sheet(
        "Title", "motion draft", [SheetRow("a", [red, green]), SheetRow("b", [blue], ["below"])], 600
    )
    assert sheet.shape[1] == 600
    for color in ((200, 0, 0), (0, 200, 0), (0, 0, 200)):
        assert (sheet == color).all(axis=2).sum() > 5000
    assert tuple(sheet[0, 0]) == PAPER
    # Title and subtitle are written, dark on light, above the first row.
    assert sheet[:80].min() < 120


def test_tracks_are_drawn_where_the_points_are_and_hidden_points_are_not() -> None:
    picture = np.zeros((60, 90, 3), np.uint8)
    positions = np.array([[[20.0, 20.0], [60.0, 40.0]], [[30.0, 20.0], [60.0, 50.0]]])  # (2, 2, 2)
    visible = np.array([[True, True], [True, False]])
    drawn = draw_tracks(picture, positions, visible, 1)
    assert drawn[19:22, 29:32].max() > 150
    assert drawn[20, 25].max() > 30  # the path it came along
    assert drawn[40:56, 50:70].max() == 0
