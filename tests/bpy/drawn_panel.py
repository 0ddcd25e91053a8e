"""What a panel draws, noted without a window."""

from __future__ import annotations

from types import FunctionType, MethodType, SimpleNamespace
from typing import Any

import bpy


class DrawnLayout:
    """Stands in for Blender's layout, which does not draw without a window; notes what is drawn."""

    def __init__(self, parent: DrawnLayout | None = None) -> None:
        self.drawn: list[tuple[str, str]] = [] if parent is None else parent.drawn
        self.buttons: list[tuple[str, SimpleNamespace]] = [] if parent is None else parent.buttons
        self.usable: set[str] = set() if parent is None else parent.usable
        self.enabled = True if parent is None else parent.enabled

    def _inner(self, *_places: Any, **_options: Any) -> DrawnLayout:
        return DrawnLayout(self)

    def _note(self, kind: str, name: str) -> None:
        """Note what can be pressed or changed."""
        self.drawn.append((kind, name))
        if self.enabled:
            self.usable.add(name)

    row = column = box = split = grid_flow = _inner

    def label(self, text: str = "", **_options: Any) -> None:
        self.drawn.append(("label", text))

    def text(self) -> str:
        """The labels, as one text."""
        return " ".join(text for kind, text in self.drawn if kind in ("label", "progress"))

    def separator(self) -> None:
        pass

    def progress(self, factor: float, text: str) -> None:
        assert 0.0 <= factor <= 1.0
        self.drawn.append(("progress", text))

    def prop(self, data: Any, name: str, **_options: Any) -> None:
        assert name in data.bl_rna.properties
        self._note("prop", name)

    def prop_enum(self, data: Any, name: str, value: str) -> None:
        assert value in data.bl_rna.properties[name].enum_items
        self._note("choice", value)

    def operator(self, name: str, **_options: Any) -> SimpleNamespace:
        self._note("operator", name)
        self.buttons.append((name, SimpleNamespace()))
        return self.buttons[-1][1]

    def menu(self, name: str, **_options: Any) -> None:
        self._note("menu", name)

    def template_list(
        self, kind: str, name: str, data: Any, items: str, *_active: Any, **_options: Any
    ) -> None:
        self._note("list", items)

    def template_icon(self, icon_value: int, scale: float) -> None:
        assert icon_value > 0
        self.drawn.append(("picture", ""))


class _Panel:
    """Stands in for an instance of a panel class, which only Blender can make."""

    def __init__(self, panel: Any, layout: DrawnLayout) -> None:
        self._panel, self.layout = panel, layout

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._panel, name)
        return MethodType(value, self) if isinstance(value, FunctionType) else value


def drawn_layout(panel: Any) -> DrawnLayout:
    """Draw a panel of the current scene."""
    layout = DrawnLayout()
    context = SimpleNamespace(
        scene=bpy.context.scene,
        view_layer=bpy.context.view_layer,
        window_manager=bpy.context.window_manager,
        preferences=None,
        region=None,
    )
    panel.draw(_Panel(panel, layout), context)
    return layout


def drawn(panel: Any) -> list[tuple[str, str]]:
    """Kind and text of what a panel draws, in its order."""
    return drawn_layout(panel).drawn


def drawn_text(panel: Any) -> str:
    """The labels that a panel draws, as one text."""
    return drawn_layout(panel).text()
