"""`scripts/test_blender_versions.py`: a release that fails must not be taken for one that passes."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    module = importlib.import_module("test_blender_versions")
    # No release of Blender is needed to run tests that do not import it.
    monkeypatch.setattr(module, "blender_version", lambda _python: "9.9.9")
    return module


def run(runner: ModuleType, folder: Path, code: str, seconds: float = 60.0) -> Any:
    test = folder / "test_sample.py"
    test.write_text(code, encoding="utf-8")
    runner.__dict__["TESTS"] = (str(test),)
    return runner.run_tests(Path(sys.executable), ["--rootdir", str(folder)], seconds)


def test_passed_and_skipped_tests_are_counted(runner: ModuleType, tmp_path: Path) -> None:
    code = "import pytest\ndef test_one(): pass\n@pytest.mark.skip\ndef test_two(): pass"
    outcome = run(runner, tmp_path, code)
    assert (outcome.version, outcome.passed, outcome.skipped, outcome.exit_code) == ("9.9.9", 1, 1, 0)
    assert outcome.is_good


@pytest.mark.parametrize(
    "code",
    [
        "def test_one(): assert False",
        "import no_such_module",
        "",  # no test at all
        # All pass, and then the process crashes.
        "import atexit, os\natexit.register(os._exit, 3)\ndef test_one(): pass",
    ],
)
def test_a_release_that_fails_is_not_good(runner: ModuleType, tmp_path: Path, code: str) -> None:
    outcome = run(runner, tmp_path, code)
    assert not outcome.is_good
    assert "9.9.9" in runner.table([outcome])


def test_a_process_that_does_not_end_is_killed_and_told(runner: ModuleType, tmp_path: Path) -> None:
    code = "import atexit, time\natexit.register(time.sleep, 60)\ndef test_one(): pass"
    outcome = run(runner, tmp_path, code, seconds=8.0)
    assert outcome.exit_code is None
    assert not outcome.is_good
    assert "did not end" in runner.table([outcome])
