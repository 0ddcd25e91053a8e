"""What all panels share: their place, and text that wraps."""

from __future__ import annotations

import textwrap
from abc import abstractmethod
from typing import Any

import bpy

from ..blender_types import Context, Layout
from ..properties import runtime_state
from ..sidebar import TAB
from ..translations import translated

_PIXELS_PER_CHARACTER = 6.6
_PIXELS_OF_MARGIN = 60


class SidebarPanel:
    """Place of every FlexTraj panel."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = TAB


class ChildPanel(SidebarPanel):
    """A panel inside of the main one."""

    bl_parent_id = "FLEXTRAJ_PT_main"


class RowList:
    """A list whose rows `draw_row` draws; Blender hands over much more than rows need."""

    @abstractmethod
    def draw_row(self, layout: Layout, item: Any) -> None:
        """Draw one row."""

    def draw_item(
        self,
        context: Context,
        layout: Layout,
        data: Any,
        item: Any,
        icon: int | None,
        active_data: Any,
        active_property: str | None,
        index: int | None = 0,
        flt_flag: int | None = 0,
    ) -> None:
        self.draw_row(layout, item)


def panel_layout(panel: bpy.types.Panel) -> Layout:
    """The panel's layout, disabled while a shot is sampled: see `operators.sampling_guard`."""
    layout: Layout = panel.layout
    layout.enabled = not runtime_state().is_sampling
    return layout


def split_layout(panel: bpy.types.Panel) -> Layout:
    """The panel's layout with labels on the left, as Blender's own property panels have it."""
    layout = panel_layout(panel)
    split_labels(layout)
    return layout


def split_labels(layout: Layout) -> None:
    """Put labels on the left, without the dots for keyframes."""
    layout.use_property_split = True
    layout.use_property_decorate = False


def wrapped_text(layout: Layout, context: Context, text: str, icon: str = "NONE") -> None:
    """Draw a sentence, translated, over as many lines as the region's width asks for."""
    preferences = context.preferences
    scale = 1.0 if preferences is None else preferences.system.ui_scale
    width = 250 if context.region is None else context.region.width
    columns = max(int((width - _PIXELS_OF_MARGIN * scale) / (_PIXELS_PER_CHARACTER * scale)), 16)
    column = layout.column(align=True)
    column.scale_y = 0.8
    for number, line in enumerate(textwrap.wrap(translated(text), columns)):
        if icon == "NONE":
            column.label(text=line, translate=False)
        else:
            column.label(text=line, translate=False, icon=icon if number == 0 else "BLANK1")
