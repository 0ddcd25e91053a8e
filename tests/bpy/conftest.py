"""Blender's user files go to a folder of the test run, set before anything imports bpy; shared fixtures."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from fake_rendering import FakeBackend

_user_resources = tempfile.mkdtemp(prefix="flextraj-blender-")
os.environ["BLENDER_USER_RESOURCES"] = _user_resources
atexit.register(shutil.rmtree, _user_resources, ignore_errors=True)


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeBackend]:
    """The add-on, registered in an empty scene, with a backend that renders at once."""
    from addon_shot import registered_addon

    from blender_addon.operators import generate

    monkeypatch.setattr(generate, "output_folder", lambda: tmp_path / "results")
    with registered_addon(tmp_path) as fake:
        yield fake


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "my photo ü.jpg"
    path.write_bytes(b"a photo")
    return path


@pytest.fixture
def shot(backend: FakeBackend, photo: Path) -> Any:
    """A cube that moves in front of a camera, and settings that are complete."""
    from addon_shot import moving_cube

    return moving_cube(photo)
