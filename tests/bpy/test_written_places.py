"""The add-on writes into its own folder of the user's Blender files and into the output folder only."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

bpy = pytest.importorskip("bpy")

from addon_shot import make_video, moving_cube, ops  # noqa: E402
from fake_rendering import FakeBackend  # noqa: E402

import blender_addon  # noqa: E402
from blender_addon import preferences, session  # noqa: E402
from blender_addon.client.job_records import JobRecords  # noqa: E402

_CHANGES = {
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.utime",
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Watch:
    """Notes what Python changes on the disk while it is switched on; an audit hook stays for ever."""

    def __init__(self) -> None:
        self.paths: list[Path] | None = None
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.paths is None:
            return
        if event == "open":
            path, mode, flags = arguments
            is_written = bool(flags & _WRITING) if mode is None else any(sign in mode for sign in "wax+")
            touched = [path] if is_written and isinstance(path, (str, bytes)) else []
        elif event in _CHANGES:
            # Names inside of a folder that is emptied come without it (dir_fd).
            is_relative = any(isinstance(argument, int) and argument >= 0 for argument in arguments[1:])
            touched = [] if is_relative else [one for one in arguments if isinstance(one, (str, bytes))]
        else:
            return
        self.paths += [Path(os.fsdecode(path)).absolute() for path in touched]


_watch = Watch()


@contextmanager
def written() -> Iterator[list[Path]]:
    _watch.paths = noted = []
    try:
        yield noted
    finally:
        _watch.paths = None


def test_all_that_is_written_lies_in_the_addons_own_folder(photo: Path) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    with written() as paths:
        blender_addon.register()
        try:
            records = JobRecords(preferences.user_folder("jobs"))
            session.replace_session(session.Session(FakeBackend(), records)).close()
            moving_cube(photo)
            make_video()
            ops.flextraj.load_result(target="SEQUENCE")
            ops.flextraj.open_log()
        finally:
            blender_addon.unregister()
    own = preferences.user_folder("")
    videos = [path for path in paths if path.suffix == ".mp4"]
    assert videos, "the watch has seen nothing"
    # Folders above it are made once, and Python's compiled modules lie beside their source.
    strange = [path for path in paths if not path.is_relative_to(own) and not own.is_relative_to(path)]
    assert [path for path in strange if "__pycache__" not in path.parts and path != Path(os.devnull)] == []


def test_results_go_to_the_output_folder_that_was_chosen(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = preferences.AddonSettings(output_folder=str(tmp_path / "my videos"))
    monkeypatch.setattr(preferences, "read_preferences", lambda: chosen)
    assert preferences.output_folder() == tmp_path / "my videos"
