"""An interpreter for the backend that runs `fake_synthesize.py` whatever module it is asked for."""

from __future__ import annotations

import json
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from blender_addon.client.backend_location import PYTHON_VARIABLE

_SCRIPT = Path(__file__).with_name("fake_synthesize.py")


@dataclass(frozen=True)
class FakeSynthesize:
    """What the child is to do, and what it was told.

    Attributes:
        python: the interpreter.
        plan: file that says how it behaves.
        heard: file with its arguments and its process id, once it runs.
    """

    python: Path
    plan: Path
    heard: Path

    def behave(self, way: str) -> None:
        """'finish', 'slow', 'hang' (until its input closes), 'deaf', 'refuse', 'error' or 'crash'."""
        self.plan.write_text(json.dumps({"way": way, "heard": str(self.heard)}), "utf-8")

    def told(self) -> dict[str, Any]:
        """Arguments and process id."""
        return json.loads(self.heard.read_text("utf-8"))


def fake_synthesize(folder: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSynthesize:
    """Let the add-on find this interpreter; it finishes at once unless told otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{_SCRIPT}" "$@"\n', "utf-8")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    fake = FakeSynthesize(python, folder / "plan.json", folder / "heard.json")
    fake.behave("finish")
    monkeypatch.setenv(PYTHON_VARIABLE, str(python))
    monkeypatch.setenv("FAKE_SYNTHESIZE", str(fake.plan))
    return fake
