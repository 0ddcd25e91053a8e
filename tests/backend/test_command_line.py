"""The command line's manners: one sentence, exit code 2, no traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flextraj_backend import cli


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flextraj_backend", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["conditions", "missing.npz", "-o", "out"], "missing.npz"),
        (["render", "missing.npz", "--image", "missing.jpg", "-o", "out.mp4"], "missing"),
        (["fly"], "No such command"),
        (["conditions"], "Missing"),
    ],
)
def test_a_mistake_ends_with_code_2_and_one_sentence(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.returncode == 2
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback_wherever_it_stands_on_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("conditions", "missing.npz", "-o", "out", "--debug")
    assert result.returncode == 2
    assert "Traceback" in result.stderr


def test_running_out_of_memory_or_a_full_disk_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for error, words in (
        (MemoryError(), "not enough memory"),
        (
            OSError(28, "No space left on device", "out.mp4"),
            "out.mp4 cannot be used: No space left on device",
        ),
    ):

        def fail(*_: object, raised: BaseException = error, **__: object) -> None:
            raise raised

        monkeypatch.setattr(cli, "app", fail)
        with pytest.raises(SystemExit) as caught:
            cli.main(["engines"])
        assert caught.value.code == 2
        assert words in capsys.readouterr().err


def test_the_version_is_printed() -> None:
    from blender_addon.core.version import package_version

    assert run("--version").stdout.strip() == package_version()
