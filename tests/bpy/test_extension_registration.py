"""Enabling and disabling the add-on inside Blender leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

bpy = pytest.importorskip("bpy")

import blender_addon  # noqa: E402
from blender_addon import handlers, session  # noqa: E402
from blender_addon.overlay import viewport  # noqa: E402

TIMERS = (session._tick, handlers.enter_first_file, viewport.turn_off_after_failure)


@pytest.fixture(autouse=True)
def _empty_scene():
    bpy.ops.wm.read_factory_settings(use_empty=True)


def registered(kind: type) -> set[str]:
    """Names of the add-on's registered classes of a kind."""
    ours = [cls for cls in kind.__subclasses__() if cls.__module__.startswith(blender_addon.ADDON_ID)]
    # A class whose registration has been taken back is still a subclass until it is collected.
    return {cls.__name__ for cls in ours if getattr(cls, "is_registered", False)}


def appended_drawings() -> dict[str, int]:
    """How many functions draw each menu, header and panel of Blender."""
    drawn = {}
    for name in dir(bpy.types):
        draw = getattr(getattr(bpy.types, name), "draw", None)
        if functions := getattr(draw, "_draw_funcs", None):
            # The first is the menu's own.
            drawn[name] = len(functions)
    return {name: count for name, count in drawn.items() if count > 1}


def traces() -> dict[str, object]:
    """Everything that registering may leave in Blender."""
    handlers = bpy.app.handlers
    lists = [name for name in dir(handlers) if isinstance(getattr(handlers, name), list)]
    kinds = ("Operator", "Panel", "Menu", "UIList", "Header", "PropertyGroup", "AddonPreferences", "Gizmo")
    # Blender makes these classes when they are first asked for.
    kinds_of_data = [getattr(bpy.types, name) for name in dir(bpy.types)]
    data = [cls for cls in kinds_of_data if isinstance(cls, type) and issubclass(cls, bpy.types.ID)]
    keymaps = bpy.context.window_manager.keyconfigs.addon.keymaps
    return {
        "types": {name for name in dir(bpy.types) if "flextraj" in name.lower()},
        "classes": {kind: registered(getattr(bpy.types, kind)) for kind in kinds},
        "operators": set(dir(bpy.ops.flextraj)),
        "handlers": {name: list(getattr(handlers, name)) for name in lists},
        "properties": {cls.__name__: set(cls.bl_rna.properties.keys()) for cls in data},
        "timers": [function for function in TIMERS if bpy.app.timers.is_registered(function)],
        "threads": [thread.name for thread in threading.enumerate() if "FlexTraj" in thread.name],
        "keymaps": {keymap.name: len(keymap.keymap_items) for keymap in keymaps},
        "presets": bpy.utils.preset_paths("flextraj/generate"),
        "drawings": appended_drawings(),
        "translation": bpy.app.translations.pgettext_iface("Sample Points", "Operator"),
        "add-ons": set(bpy.context.preferences.addons.keys()),
    }


def test_disabling_the_addon_three_times_leaves_no_trace_in_blender() -> None:
    before = traces()
    for _ in range(3):
        blender_addon.register()
        during = traces()
        assert "flextraj" in during["properties"]["Scene"]  # type: ignore[index]
        assert "generate" in during["operators"]  # type: ignore[operator]
        assert handlers.enter_file in during["handlers"]["load_post"]  # type: ignore[index]
        assert "FLEXTRAJ_OT_generate" in during["classes"]["Operator"]  # type: ignore[index]
        assert "VIEW3D_MT_object" in during["drawings"]  # type: ignore[operator]
        assert during["keymaps"] == before["keymaps"], "shortcuts are the user's own"
        blender_addon.unregister()
        after = traces()
        assert {name: value for name, value in after.items() if value != before[name]} == {}


def test_enabling_and_disabling_leaves_nothing_that_keeps_the_process_alive(tmp_path: Path) -> None:
    """What is drawn or shown cannot be asked of Blender: a leftover draw handler ends in a crash instead."""
    code = (
        "import bpy, blender_addon\n"
        "from blender_addon.overlay.viewport import viewport_overlay, SampledShot\n"
        "from blender_addon.thumbnails import thumbnail_icon\n"
        "for _ in range(3):\n"
        "    blender_addon.register()\n"
        "    viewport_overlay().show(SampledShot(bpy.context.scene.session_uid, None, None))\n"
        "    thumbnail_icon('picture.png')\n"
        "    blender_addon.unregister()\n"
        "print('end')"
    )
    assert run_script(code, tmp_path) == (0, "end", "")


def test_a_failure_while_enabling_leaves_no_trace_in_blender(monkeypatch) -> None:
    before = traces()

    def fail() -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(handlers, "register", fail)
    with pytest.raises(RuntimeError, match="no"):
        blender_addon.register()
    assert traces() == before


def test_a_script_that_forgets_to_disable_the_addon_ends_all_the_same(tmp_path: Path) -> None:
    code = "import bpy, blender_addon; blender_addon.register(); bpy.ops.flextraj.notify.poll(); print('end')"
    assert run_script(code, tmp_path) == (0, "end", "")


def run_script(code: str, user_resources: Path) -> tuple[int, str, str]:
    """Run Python in a process of its own; return exit code, output and errors."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(blender_addon.__file__).parents[1],
        env=dict(os.environ, BLENDER_USER_RESOURCES=str(user_resources)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout.strip(), done.stderr.strip()


def test_every_button_and_panel_follows_blenders_naming_and_has_a_tooltip() -> None:
    blender_addon.register()
    try:
        operators = [getattr(bpy.types, name) for name in dir(bpy.types) if name.startswith("FLEXTRAJ_OT_")]
        panels = [getattr(bpy.types, name) for name in dir(bpy.types) if name.startswith("FLEXTRAJ_PT_")]
        # The preset popover opens from another panel's header: Blender gives it its place.
        panels.remove(bpy.types.FLEXTRAJ_PT_presets)  # type: ignore[attr-defined]
        assert len(operators) >= 14
        for operator in operators:
            assert operator.bl_idname.startswith("flextraj.") or operator.bl_idname.startswith("FLEXTRAJ_OT_")
            description = operator.bl_description
            assert len(description) > 10
            assert not description.endswith("."), operator
        assert {panel.bl_category for panel in panels} == {"FlexTraj"}
        assert {panel.bl_space_type for panel in panels} == {"VIEW_3D"}
    finally:
        blender_addon.unregister()


def test_settings_are_saved_with_the_file_and_run_time_state_is_not(tmp_path: Path) -> None:
    blender_addon.register()
    try:
        bpy.context.scene.flextraj.photo = "//photo.jpg"
        bpy.context.scene.flextraj.points = 123
        state = bpy.context.window_manager.flextraj
        state.error_text = "old error"
        state.is_sampling = True
        state.jobs.add().key = "old"
        path = tmp_path / "scene.blend"
        bpy.ops.wm.save_as_mainfile(filepath=str(path))
        bpy.ops.wm.read_factory_settings(use_empty=True)
        bpy.ops.wm.open_mainfile(filepath=str(path))
        settings, state = bpy.context.scene.flextraj, bpy.context.window_manager.flextraj
        assert (settings.photo, settings.points) == ("//photo.jpg", 123)
        assert state.error_text == ""
        assert not state.is_sampling
        assert len(state.jobs) == 0
    finally:
        blender_addon.unregister()
