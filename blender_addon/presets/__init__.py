"""Built-in presets of Generate, which Blender lists beside the user's own."""

from __future__ import annotations

from pathlib import Path

from ..bridge.compat import add_preset_folder, remove_preset_folder

SUBFOLDER = "flextraj/generate"
_FOLDER = str(Path(__file__).resolve().parent)


def register() -> None:
    add_preset_folder(_FOLDER)


def unregister() -> None:
    remove_preset_folder(_FOLDER)
