"""Run the add-on's tests under several Blender releases: 4.2 LTS, 4.5 LTS and 5.0.

    python3 scripts/test_blender_versions.py                  all of them, one after the other
    python3 scripts/test_blender_versions.py --versions 4.2   one of them
    python3 scripts/test_blender_versions.py -- -k overlay    what follows goes to pytest

Every release gets an environment of its own with Blender's Python module (about 1 GB each) below
`build/blender-versions`, which is used again the next time, and one process for all tests. Exit code 0 where
every test passed and every process ended by itself. Standard library only.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from bootstrap import ROOT, BootstrapError, make_environment, read_stamp, save_stamp, say

VERSIONS = ("4.2", "4.5", "5.0")
TESTS = ("tests/core", "tests/bpy")
LIMIT_SECONDS = 1200.0
"""Blender's module hangs at exit where an add-on has left something behind."""
_STAMP_NAME = "bpy"


@dataclass(frozen=True)
class Outcome:
    """How the tests ended under one release.

    Attributes:
        version: the release as its module tells it, such as 4.2.23.
        exit_code: of the process; None where it had to be killed.
    """

    version: str
    passed: int
    failed: int
    skipped: int
    seconds: float
    exit_code: int | None

    @property
    def is_good(self) -> bool:
        return self.exit_code == 0 and self.passed > 0 and self.failed == 0


def requirements(version: str) -> list[str]:
    """What pip installs: the project with the tools of its tests, but another release of Blender."""
    # As in pyproject.toml, Blender's own NumPy is older than 2; the module of 4.2 forgets to say so.
    return [f"bpy=={version}.*", "numpy>=1.26,<2", "-e", f"{ROOT}[test]"]


def install(venv: Path, python: Path, version: str) -> None:
    """Install once, and again where the project's requirements have changed. Raises BootstrapError."""
    wanted = requirements(version)
    project = (ROOT / "pyproject.toml").read_bytes()
    fingerprint = hashlib.sha256(project + repr(wanted).encode()).hexdigest()
    if read_stamp(venv).get(_STAMP_NAME) == fingerprint:
        return
    say(f"Installing Blender {version} as a Python module into {venv}")
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted]
    if subprocess.run(command, check=False).returncode != 0:
        raise BootstrapError(
            f"Blender {version} could not be installed: see the message above, check network and disk."
        )
    save_stamp(venv, {_STAMP_NAME: fingerprint})


def blender_version(python: Path) -> str:
    """The release inside an environment. Raises BootstrapError where it does not start."""
    code = "import bpy; print(*bpy.app.version, sep='.')"
    try:
        run = subprocess.run(
            [str(python), "-c", code], capture_output=True, text=True, timeout=120, check=False
        )
    except subprocess.TimeoutExpired:
        raise BootstrapError(f"{python} does not end after 'import bpy': remove its folder.") from None
    if run.returncode != 0:
        problem = (run.stderr.strip().splitlines() or ["no message"])[-1]
        raise BootstrapError(
            f"{python} cannot import bpy ({problem}): remove its folder, or install what is missing."
        )
    return run.stdout.strip().splitlines()[-1]


def run_tests(python: Path, arguments: list[str], seconds: float) -> Outcome:
    """Run the tests in one process and count what they report."""
    version = blender_version(python)
    say(f"Tests under Blender {version}")
    environment = dict(os.environ, PYTHONDONTWRITEBYTECODE="1")
    with tempfile.TemporaryDirectory(prefix="flextraj-versions-") as folder:
        report = Path(folder) / "report.xml"
        # The cache of the last failures belongs to the checkout's own environment.
        options = ["-p", "no:cacheprovider", f"--junitxml={report}"]
        command = [str(python), "-m", "pytest", *options, *TESTS, *arguments]
        started = time.monotonic()
        try:
            code = subprocess.run(command, cwd=ROOT, env=environment, timeout=seconds, check=False).returncode
        except subprocess.TimeoutExpired:
            code = None
        duration = time.monotonic() - started
        passed, failed, skipped = count_tests(report)
    return Outcome(version, passed, failed, skipped, duration, code)


def count_tests(report: Path) -> tuple[int, int, int]:
    """Count passed, failed and skipped tests of a JUnit file; all 0 where there is none."""
    if not report.is_file():
        return 0, 0, 0
    total = failed = skipped = 0
    for suite in ElementTree.parse(report).iter("testsuite"):
        total += int(suite.get("tests", 0))
        failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped += int(suite.get("skipped", 0))
    return total - failed - skipped, failed, skipped


def table(outcomes: list[Outcome]) -> str:
    """The results, one line a release."""
    lines = [
        "{:<9} {:>6} {:>6} {:>7} {:>9}   {}".format("Blender", "passed", "failed", "skipped", "time", "exit")
    ]
    for outcome in outcomes:
        ending = "killed, it did not end" if outcome.exit_code is None else str(outcome.exit_code)
        lines.append(
            f"{outcome.version:<9} {outcome.passed:>6} {outcome.failed:>6} {outcome.skipped:>7} "
            f"{outcome.seconds:>7.0f} s   {ending}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the add-on's tests under several Blender releases.")
    parser.add_argument("--versions", nargs="+", default=list(VERSIONS), metavar="VERSION")
    parser.add_argument("--venv-root", type=Path, default=ROOT / "build" / "blender-versions")
    parser.add_argument("--seconds", type=float, default=LIMIT_SECONDS, help="time limit of each release")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest, after --")
    options = parser.parse_args()
    outcomes = []
    try:
        for version in options.versions:
            venv = options.venv_root.absolute() / f"bpy-{version}"
            python = make_environment(venv)
            install(venv, python, version)
            outcomes.append(run_tests(python, options.pytest, options.seconds))
    except BootstrapError as error:
        sys.exit(f"test_blender_versions: {error}")
    except KeyboardInterrupt:
        sys.exit("test_blender_versions: stopped; run the same command again to go on.")
    finally:
        if outcomes:
            say("Results")
            print(table(outcomes))
    if not all(outcome.is_good for outcome in outcomes):
        sys.exit(1)


if __name__ == "__main__":
    main()
