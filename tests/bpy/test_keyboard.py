"""What can be done without the mouse: F3 search and Quick Favorites find what stands in a menu."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

bpy = pytest.importorskip("bpy")

import blender_addon  # noqa: E402
from blender_addon.panels import menus  # noqa: E402

NEED_THEIR_BUTTON = {
    "add_lora": "the model's options",
    "add_preset": "the header of Generate",
    "cancel_sampling": "the bar of sampling, or Esc",
    "choose_engine": "the menu of engines",
    "choose_model": "the menu of models",
    "copy_command": "a message",
    "copy_error": "a message",
    "forget_job": "a row of the list",
    "guard_window": "no button: it listens while a shot is sampled",
    "notify": "a message",
    "remove_lora": "the model's options",
    "retry_job": "a row of the list",
    "show_object": "a message",
    "use_start_frame": "a row of the list",
}
"""Operators that only make sense where their button is, which Blender reaches by hovering and Enter."""


@pytest.fixture(autouse=True)
def _addon() -> Iterator[None]:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    blender_addon.register()
    yield
    blender_addon.unregister()


def entries() -> list[menus.Entry]:
    return [entry for menu in (*menus.SUBMENUS, menus.FLEXTRAJ_MT_main) for entry in menu.ENTRIES]


def test_every_action_stands_in_a_menu_where_search_finds_it() -> None:
    missing = set(dir(bpy.ops.flextraj)) - NEED_THEIR_BUTTON.keys()
    missing -= {entry.operator for entry in entries()} | {"load_result"}
    assert missing == set(), "add them to a menu of panels/menus.py, or say what they need"


def test_every_menu_entry_is_an_operator_that_takes_its_target() -> None:
    assert len(entries()) > 30
    for entry in entries():
        assert entry.operator in dir(bpy.ops.flextraj)
        if entry.target:
            targets = getattr(bpy.ops.flextraj, entry.operator).get_rna_type().properties["target"]
            assert entry.target in targets.enum_items


def test_what_stands_in_a_menu_is_not_hidden_from_search() -> None:
    for entry in entries():
        operator = getattr(bpy.types, f"FLEXTRAJ_OT_{entry.operator}")
        assert "INTERNAL" not in getattr(operator, "bl_options", set()), entry
