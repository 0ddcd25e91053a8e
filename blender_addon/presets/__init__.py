"""Built-in presets of Generate, which Blender lists beside the user's own."""

from __future__ import annotations

from pathlib import Path

from ..bridge.compat import add_preset_folder, remove_preset_folder

SUBFOLDER = "flextraj/generate"
BUILT_IN = Path(__file__).resolve().parent


def register() -> None:
    add_preset_folder(str(BUILT_IN))


def unregister() -> None:
    remove_preset_folder(str(BUILT_IN))
