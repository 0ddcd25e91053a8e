"""The sidebar's tab that FlexTraj has in every 3D view."""

from __future__ import annotations

import bpy

from .bridge.compat import open_windows

TAB = "FlexTraj"


def shows_our_tab(area: bpy.types.Area, region: bpy.types.Region) -> bool:
    """Whether a region is a sidebar with FlexTraj's tab in front."""
    if area.type != "VIEW_3D" or region.type != "UI":
        return False
    return getattr(region, "active_panel_category", TAB) == TAB


def redraw_panels() -> None:
    """Redraw the sidebars that show FlexTraj."""
    for window in open_windows():
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                for region in area.regions:
                    if region.type == "UI":
                        region.tag_redraw()
