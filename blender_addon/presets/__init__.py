"""Built-in presets of Generate, which Blender lists beside the user's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import bpy

from ..bridge.compat import add_preset_folder, remove_preset_folder

SUBFOLDER = "flextraj/generate"
BUILT_IN = Path(__file__).resolve().parent
_ORDER = ("Draft", "Standard", "Final")
"""The built-in ones, from the fastest to the best."""


@dataclass(frozen=True)
class ListedPreset:
    """A preset as the menu shows it.

    Attributes:
        name: as drawn.
        path: its file.
        is_built_in: comes with FlexTraj and cannot be removed.
    """

    name: str
    path: Path
    is_built_in: bool


def listed_presets() -> tuple[ListedPreset, ...]:
    """The built-in presets in their order, then the user's own by name."""
    folders = bpy.utils.preset_paths(SUBFOLDER)
    paths = [path for folder in folders for path in Path(folder).glob("*.py") if path.name[0] != "."]
    found = [
        ListedPreset(bpy.path.display_name(path.stem, title_case=False), path, is_built_in(path))
        for path in paths
    ]
    return tuple(sorted(found, key=_place_in_menu))


def is_built_in(path: Path) -> bool:
    """Whether a preset's file is one of FlexTraj itself."""
    return path.resolve().is_relative_to(BUILT_IN)


def _place_in_menu(preset: ListedPreset) -> tuple[int, str]:
    if preset.is_built_in and preset.name in _ORDER:
        return _ORDER.index(preset.name), ""
    return len(_ORDER), preset.name.casefold()


def register() -> None:
    add_preset_folder(str(BUILT_IN))


def unregister() -> None:
    remove_preset_folder(str(BUILT_IN))
