"""While a shot is sampled the scene is turned over: what a user may do meanwhile, and what waits."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

bpy = pytest.importorskip("bpy")

from drawn_panel import drawn_layout  # noqa: E402

import blender_addon  # noqa: E402
from blender_addon.operators import sampling_guard  # noqa: E402
from blender_addon.operators.sampling_guard import leaves_scene_alone  # noqa: E402
from blender_addon.panels.layout import SidebarPanel  # noqa: E402
from blender_addon.properties import runtime_state  # noqa: E402

VIEW, SIDEBAR, TIMELINE = (50, 50), (150, 50), (50, 150)


def region(kind: str, x: int, y: int, width: int, height: int, **more: Any) -> SimpleNamespace:
    return SimpleNamespace(type=kind, x=x, y=y, width=width, height=height, **more)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A 3D view with the sidebar over its right half, and a timeline above; R turns the view."""
    view = SimpleNamespace(lock_camera=False, region_3d=SimpleNamespace(view_perspective="CAMERA"))
    sidebar = region("UI", 100, 0, 100, 100, active_panel_category="FlexTraj", button=True)
    viewport = SimpleNamespace(
        type="VIEW_3D",
        regions=[region("WINDOW", 0, 0, 200, 100), sidebar],
        spaces=SimpleNamespace(active=view),
    )
    timeline = SimpleNamespace(type="DOPESHEET_EDITOR", regions=[region("WINDOW", 0, 100, 200, 100)])
    keymap = SimpleNamespace(
        keymap_items=SimpleNamespace(
            match_event=lambda event: {
                "R": SimpleNamespace(idname="view3d.rotate"),
                "MIDDLEMOUSE": SimpleNamespace(idname="view3d.rotate"),
                "LEFTMOUSE": SimpleNamespace(idname="view3d.select"),
            }.get(event.type)
        )
    )
    monkeypatch.setattr(sampling_guard, "_is_over_button", lambda _context, place: place[1].button)
    context = SimpleNamespace(
        temp_override=lambda **_places: nullcontext(),
        window=SimpleNamespace(screen=SimpleNamespace(areas=[viewport, timeline])),
        window_manager=SimpleNamespace(
            keyconfigs=SimpleNamespace(user=SimpleNamespace(keymaps={"3D View": keymap}))
        ),
    )
    return SimpleNamespace(context=context, view=view, sidebar=sidebar)


def passes(
    screen: SimpleNamespace, kind: str, place: tuple[int, int], value: str = "PRESS", **keys: bool
) -> bool:
    event = SimpleNamespace(
        type=kind, value=value, mouse_x=place[0], mouse_y=place[1], **{"alt": False, "ctrl": False, **keys}
    )
    return leaves_scene_alone(screen.context, event)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("kind", ["LEFTMOUSE", "RIGHTMOUSE", "X", "DEL", "G", "SPACE", "Z"])
@pytest.mark.parametrize("place", [VIEW, TIMELINE, (900, 900)])
def test_a_click_or_key_that_could_change_the_scene_waits(
    screen: SimpleNamespace, kind: str, place: tuple[int, int]
) -> None:
    assert not passes(screen, kind, place)
    assert not passes(screen, kind, place, "CLICK_DRAG")


@pytest.mark.parametrize("kind", ["R", "MIDDLEMOUSE"])
def test_the_view_can_be_turned_meanwhile(screen: SimpleNamespace, kind: str) -> None:
    assert passes(screen, kind, VIEW)


def test_a_view_that_the_camera_follows_cannot_be_turned(screen: SimpleNamespace) -> None:
    screen.view.lock_camera = True
    assert not passes(screen, "MIDDLEMOUSE", VIEW)
    assert not passes(screen, "WHEELUPMOUSE", SIDEBAR)
    screen.view.region_3d.view_perspective = "PERSP"
    assert passes(screen, "MIDDLEMOUSE", VIEW)


def test_lists_can_be_scrolled_but_the_wheel_turns_no_values(screen: SimpleNamespace) -> None:
    assert passes(screen, "WHEELUPMOUSE", SIDEBAR)
    assert passes(screen, "WHEELUPMOUSE", TIMELINE)
    assert not passes(screen, "WHEELUPMOUSE", SIDEBAR, ctrl=True)
    assert not passes(screen, "WHEELUPMOUSE", TIMELINE, alt=True)


def test_cancel_in_our_sidebar_can_be_clicked_and_other_tabs_cannot(screen: SimpleNamespace) -> None:
    assert passes(screen, "LEFTMOUSE", SIDEBAR)
    assert not passes(screen, "RIGHTMOUSE", SIDEBAR)
    # Beside the button the view shows through.
    screen.sidebar.button = False
    assert not passes(screen, "LEFTMOUSE", SIDEBAR)
    screen.sidebar.button = True
    screen.sidebar.active_panel_category = "Item"
    assert not passes(screen, "LEFTMOUSE", SIDEBAR)


@pytest.mark.parametrize(
    ("kind", "value"), [("MOUSEMOVE", "NOTHING"), ("LEFTMOUSE", "RELEASE"), ("TIMER", "NOTHING")]
)
def test_a_drag_that_began_before_can_end(screen: SimpleNamespace, kind: str, value: str) -> None:
    assert passes(screen, kind, VIEW, value)


def test_a_file_that_is_dropped_on_the_window_waits(screen: SimpleNamespace) -> None:
    assert not passes(screen, "", VIEW, "RELEASE")


def test_navigation_names_operators_that_blender_has() -> None:
    # A Blender without support for 3D mice, such as the module, lacks theirs.
    for name in (name for name in sampling_guard._NAVIGATION if ".ndof_" not in name):
        assert getattr(bpy.ops.view3d, name.removeprefix("view3d.")).get_rna_type() is not None, name


def test_every_panel_is_disabled_while_sampling_but_for_cancel() -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    blender_addon.register()
    try:
        panels = [
            panel
            for panel in (getattr(bpy.types, name) for name in dir(bpy.types) if "FLEXTRAJ_PT_" in name)
            if issubclass(panel, SidebarPanel)
        ]
        before = {panel.__name__: drawn_layout(panel).usable for panel in panels}
        assert len(panels) > 12
        assert "flextraj.generate" in before["FLEXTRAJ_PT_generate"]
        runtime_state().is_sampling = True
        meanwhile = {panel.__name__: drawn_layout(panel).usable for panel in panels}
        assert meanwhile.pop("FLEXTRAJ_PT_generate") == {"flextraj.cancel_sampling"}
        assert not any(meanwhile.values()), meanwhile
    finally:
        blender_addon.unregister()
