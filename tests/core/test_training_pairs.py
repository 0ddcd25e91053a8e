"""The command line of a set of training pairs, and what its progress lines mean."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_addon.client.dataset_folder import FolderKind, check_folder, check_library, look_at_folder
from blender_addon.core.errors import ErrorCode, FlexTrajError, RequestError
from blender_addon.core.synthesis_progress import MAX_LINE, SynthesisProgress, SynthesisState, read_progress
from blender_addon.core.training_pairs import ActionName, CameraMove, PairsRequest, Renderer

FOLDER = Path("/data/my pairs")


def options(request: PairsRequest) -> dict[str, str]:
    return dict(one.removeprefix("--").split("=", 1) for one in request.arguments())


def test_every_setting_reaches_the_command() -> None:
    request = PairsRequest(
        folder=FOLDER, clips=4, characters=3, others=1, seed=7, width=72, height=48, frames=9, fps=8,
        points=64, renderer=Renderer.CYCLES, actions=(ActionName.WALK, ActionName.JUMP),
        cameras=(CameraMove.ORBIT,), library=Path("/data/fbx"), processes=2,
    )  # fmt: skip
    assert options(request) == {
        "output": "/data/my pairs", "clips": "4", "seed": "7", "size": "72x48", "frames": "9", "fps": "8",
        "points": "64", "renderer": "cycles", "characters": "3", "others": "1", "workers": "2",
        "progress": "json", "actions": "walk,jump", "cameras": "orbit", "library": "/data/fbx",
    }  # fmt: skip


def test_all_actions_and_cameras_are_also_those_that_only_the_backend_knows() -> None:
    assert {"actions", "cameras", "library"}.isdisjoint(options(PairsRequest(FOLDER)))


def test_a_folder_that_looks_like_an_option_is_none() -> None:
    assert "--library=/-x --seed=1" in PairsRequest(FOLDER, library=Path("/-x --seed=1")).arguments()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"actions": ()}, "No action is chosen"),
        ({"cameras": ()}, "No camera move is chosen"),
        ({"clips": 0}, "Clips 0 is not possible: give 1 to"),
        ({"width": 5000}, "Width 5000 is not possible: give 16 to 4096"),
        ({"seed": -1}, "Seed -1 is not possible"),
        ({"others": 17}, "Other characters 17 is not possible: give 0 to 16"),
    ],
)
def test_an_impossible_set_is_refused_before_anything_starts(changes: Any, sentence: str) -> None:
    with pytest.raises(RequestError, match=sentence):
        replace(PairsRequest(FOLDER), **changes)


def test_a_relative_folder_is_no_place_to_write_to() -> None:
    with pytest.raises(FlexTrajError) as caught:
        PairsRequest(Path("pairs"))
    assert caught.value.code is ErrorCode.PAIRS_FOLDER


# Progress


def test_a_line_says_how_far_the_clips_are() -> None:
    line = b'{"state":"running","done":3,"clips":200,"clips_per_minute":55.1,"eta_seconds":12,"message":""}\n'
    assert read_progress(line) == SynthesisProgress(
        SynthesisState.RUNNING, 3, 200, clips_per_minute=55.1, eta_seconds=12.0
    )


def test_an_error_keeps_its_sentence_and_kind() -> None:
    line = b'{"state": "error", "message": "The disk is full: free some space.", "code": "disk"}'
    found = read_progress(line)
    assert found is not None
    assert (found.state, found.message, found.code) == (
        SynthesisState.ERROR, "The disk is full: free some space.", ErrorCode.DISK,
    )  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"Fra:1 Mem:20M | Rendering",
        b"{not json}",
        b'{"done": 3}',
        b'{"state": "dancing"}',
        b'{"state": ["running"]}',
        b"[1]",
        b"\xff{",
        b'{"state":"running","message":"' + b"x" * MAX_LINE + b'"}',
    ],
)
def test_what_blender_and_libraries_write_is_no_progress(line: bytes) -> None:
    assert read_progress(line) is None


@given(
    st.dictionaries(st.text(max_size=12), st.none() | st.booleans() | st.floats() | st.integers() | st.text())
)
def test_no_line_of_the_child_can_break_the_panel(values: dict[str, Any]) -> None:
    found = read_progress(json.dumps({**values, "state": "running"}).encode())
    assert found is not None and 0.0 <= found.fraction <= 1.0


@given(st.binary(max_size=200))
def test_no_bytes_of_the_child_can_break_the_panel(line: bytes) -> None:
    read_progress(b"{" + line)


# Folder


def test_an_empty_and_a_missing_folder_are_new(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").touch()
    for folder in (tmp_path, tmp_path / "missing"):
        assert check_folder(folder).kind is FolderKind.NEW


def test_a_dataset_tells_its_finished_clips_and_its_contact_sheet(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text('{"seed": 1}')
    assert (look_at_folder(tmp_path).clips, look_at_folder(tmp_path).contact_sheet) == (0, None)
    (tmp_path / "clips.jsonl").write_text("{}\n" * 30)
    (tmp_path / "unfinished").mkdir()
    for number in range(7):
        (tmp_path / "unfinished" / f"clip{number}.tar").touch()
    (tmp_path / "unfinished" / ".half.tar").touch()
    (tmp_path / "contact_sheet.png").touch()
    found = check_folder(tmp_path)
    assert (found.kind, found.clips, found.contact_sheet) == (
        FolderKind.DATASET, 37, tmp_path / "contact_sheet.png",
    )  # fmt: skip
    assert found.sheet_stamp > 0


@pytest.mark.parametrize("name", ["thesis.doc", "dataset.json"])
def test_other_files_are_never_written_among(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("[not a dataset")
    with pytest.raises(FlexTrajError, match="holds other files: choose an empty one") as caught:
        check_folder(tmp_path)
    assert caught.value.code is ErrorCode.PAIRS_FOLDER


def test_a_file_and_a_folder_without_parent_are_no_output_folder(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for path in (file, tmp_path / "no" / "such"):
        with pytest.raises(FlexTrajError, match="choose another"):
            check_folder(path)


def test_a_missing_folder_of_own_characters_is_told(tmp_path: Path) -> None:
    check_library(None)
    check_library(tmp_path)
    with pytest.raises(FlexTrajError, match="with characters: choose another") as caught:
        check_library(tmp_path / "missing")
    assert caught.value.code is ErrorCode.CHARACTER_FOLDER
