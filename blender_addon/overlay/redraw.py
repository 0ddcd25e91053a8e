"""Asking Blender to draw again."""

from __future__ import annotations

from ..bridge.compat import open_windows


def redraw_viewports() -> None:
    """Draw all 3D viewports again."""
    for window in open_windows():
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                area.tag_redraw()
