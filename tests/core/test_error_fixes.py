"""Every kind of error has its button or a reason for none, and a command that is copied works as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from blender_addon.client.backend_location import INSTALL_COMMAND, PYTHON_VARIABLE
from blender_addon.client.help_commands import command_in
from blender_addon.core.errors import ErrorCode
from blender_addon.error_fixes import FIXES, Fix, NoFix, fix_of


@pytest.mark.parametrize("code", list(ErrorCode))
def test_no_error_leaves_the_user_without_a_button_or_a_reason(code: ErrorCode) -> None:
    fix = FIXES[code]
    if isinstance(fix, NoFix):
        assert len(fix.reason) > 20 and fix.reason.endswith(".")
        assert fix_of(code) is None
    else:
        assert fix_of(code) is fix
        assert fix.operator.count(".") == 1
        assert fix.label.istitle() or "GPU" in fix.label, "buttons are in title case"


def test_only_errors_that_no_click_can_mend_have_no_button() -> None:
    without = {code for code, fix in FIXES.items() if isinstance(fix, NoFix)}
    assert without == {ErrorCode.REQUEST, ErrorCode.TRAJECTORIES}
    assert len([fix for fix in FIXES.values() if isinstance(fix, Fix)]) == len(ErrorCode) - 2


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "a folder" / "python"
    path.parent.mkdir()
    path.touch()
    monkeypatch.setenv(PYTHON_VARIABLE, str(path))
    return path


def test_a_command_of_ours_is_copied_so_that_it_runs_in_any_terminal(python: Path) -> None:
    sentence = "The weights of 'wan' are not there yet: run 'flextraj weights fetch wan' to download them."
    assert command_in(sentence, "") == f'"{python}" -m flextraj_backend weights fetch wan'


def test_a_complete_command_is_copied_as_it_stands(python: Path) -> None:
    command = '"/x/python" -m pip install "flextraj[models]"'
    assert command_in(f"torch is not installed: run '{command}'.", "") == command


def test_the_python_of_the_preferences_is_the_one_that_is_named(python: Path, tmp_path: Path) -> None:
    chosen = tmp_path / "python3"
    chosen.touch()
    assert command_in("Run 'flextraj doctor'.", str(chosen)) == f'"{chosen}" -m flextraj_backend doctor'


@pytest.mark.parametrize(
    "sentence",
    ["The backend 1 speaks protocol 1: update both.", "The weights of 'wan' are damaged: fetch them again."],
)
def test_a_sentence_without_a_command_gets_the_one_that_installs(sentence: str) -> None:
    assert command_in(sentence, "") == INSTALL_COMMAND


def test_without_a_backend_the_command_stays_readable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(PYTHON_VARIABLE, str(tmp_path / "missing"))
    assert command_in("Run 'flextraj doctor'.", "") == "flextraj doctor"
