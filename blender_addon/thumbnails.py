"""Small pictures of finished videos as icons, loaded by Blender when they are first drawn."""

from __future__ import annotations

from typing import Any

import bpy.utils.previews
import numpy as np
from numpy.typing import NDArray

_MOST = 200
"""Icons kept at a time; the panel shows a few."""


class Thumbnails:
    """Icons by the path of their file."""

    def __init__(self) -> None:
        self._icons: Any = bpy.utils.previews.new()

    def icon(self, path: str, stamp: int = 0) -> int:
        """The icon of a picture, 0 where there is none; a picture with another stamp is read again."""
        return self._preview(path, stamp).icon_id if path else 0

    def can_show(self, path: str, stamp: int) -> bool:
        """Whether Blender finds a picture in a file, which it reads at once."""
        return min(self._preview(path, stamp).image_size) > 0

    def _preview(self, path: str, stamp: int) -> Any:
        name = f"{path}#{stamp}" if stamp else path
        if name not in self._icons:
            if len(self._icons) >= _MOST:
                self._icons.clear()
            # Reads nothing yet: Blender does that in a thread once the icon is drawn.
            self._icons.load(name, path, "IMAGE")
        return self._icons[name]

    def draw(self, name: str, rgba: NDArray[np.uint8]) -> None:
        """Make a picture (H, W, 4), top row first, the icon of a name."""
        height, width = rgba.shape[:2]
        icon = self._icons[name] if name in self._icons else self._icons.new(name)
        icon.image_size = width, height
        icon.image_pixels_float = (rgba[::-1].reshape(-1) / 255.0).tolist()

    def drawn(self, name: str) -> int:
        """The icon that was drawn for a name, 0 where there is none."""
        return self._icons[name].icon_id if name in self._icons else 0

    def close(self) -> None:
        """Free the icons."""
        bpy.utils.previews.remove(self._icons)


_thumbnails: Thumbnails | None = None


def thumbnail_icon(path: str, stamp: int = 0) -> int:
    """The icon of a picture, 0 where there is none; a picture with another stamp is read again."""
    return 0 if _thumbnails is None else _thumbnails.icon(path, stamp)


def can_show(path: str, stamp: int) -> bool:
    """Whether Blender finds a picture in a file; the first time it reads the file for that."""
    return _thumbnails is not None and _thumbnails.can_show(path, stamp)


def draw_icon(name: str, rgba: NDArray[np.uint8]) -> None:
    """Make a picture (H, W, 4) uint8, top row first, the icon of a name."""
    if _thumbnails is not None:
        _thumbnails.draw(name, rgba)


def drawn_icon(name: str) -> int:
    """The icon that was drawn for a name, 0 where there is none."""
    return 0 if _thumbnails is None else _thumbnails.drawn(name)


def register() -> None:
    global _thumbnails
    _thumbnails = Thumbnails()


def unregister() -> None:
    global _thumbnails
    if _thumbnails is not None:
        _thumbnails.close()
        _thumbnails = None
