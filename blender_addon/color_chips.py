"""Small squares of one colour as icons."""

from __future__ import annotations

from typing import Any

import bpy.utils.previews
import numpy as np

_SIDE, _MARGIN = 32, 3
_MOST = 1000


class ColorChips:
    """Icons by their colour."""

    def __init__(self) -> None:
        self._icons: Any = bpy.utils.previews.new()

    def icon(self, color: tuple[int, int, int]) -> int:
        """The icon of a colour, RGB from 0 to 255."""
        name = "{:02x}{:02x}{:02x}".format(*color)
        if name not in self._icons:
            if len(self._icons) >= _MOST:
                self._icons.clear()
            pixels = np.zeros((_SIDE, _SIDE, 4), dtype=np.float32)
            pixels[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN] = [*(value / 255 for value in color), 1.0]
            icon = self._icons.new(name)
            icon.icon_size = (_SIDE, _SIDE)
            icon.icon_pixels_float.foreach_set(pixels.ravel())
        return self._icons[name].icon_id

    def close(self) -> None:
        """Free the icons."""
        bpy.utils.previews.remove(self._icons)


_chips: ColorChips | None = None


def color_chip(color: tuple[int, int, int]) -> int:
    """The icon of a colour, 0 where there is none."""
    return 0 if _chips is None else _chips.icon(color)


def register() -> None:
    global _chips
    _chips = ColorChips()


def unregister() -> None:
    global _chips
    if _chips is not None:
        _chips.close()
        _chips = None
