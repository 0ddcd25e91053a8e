"""Packages that come with an extra: what a user would be told instead of a traceback."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from flextraj_backend.cli import main


@pytest.mark.parametrize(
    ("arguments", "missing", "extras"),
    [
        (["train", "--base", "base", "--data", "clips", "-o", "run"], "tensorboard", "[train]"),
        (["mini", "cpu", "-o", "mini"], "scipy", "[train,eval]"),
        (["study", "--check", "mini", "--json", "mini.json"], "torch", "[train,eval]"),
    ],
)
def test_a_command_whose_packages_are_missing_says_how_they_are_installed(
    arguments: list[str],
    missing: str,
    extras: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else find(name))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    told = capsys.readouterr().err
    assert stopped.value.code == 2
    assert f"The package {missing} is not installed: run '" in told and f'{extras}"' in told
    assert not list(tmp_path.iterdir())
