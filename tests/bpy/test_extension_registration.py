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
from blender_addon import session  # noqa: E402


@pytest.fixture(autouse=True)
def _empty_scene():
    bpy.ops.wm.read_factory_settings(use_empty=True)


def traces() -> dict[str, object]:
    """Everything that registering may leave in Blender."""
    handlers = bpy.app.handlers
    lists = [name for name in dir(handlers) if isinstance(getattr(handlers, name), list)]
    return {
        "types": {name for name in dir(bpy.types) if "flextraj" in name.lower()},
        "classes": {cls.__name__ for cls in bpy.types.PropertyGroup.__subclasses__() if cls.is_registered},
        "operators": set(dir(bpy.ops.flextraj)),
        "handlers": {name: [f.__name__ for f in getattr(handlers, name)] for name in lists},
        "scene": set(bpy.types.Scene.bl_rna.properties.keys()),
        "manager": set(bpy.types.WindowManager.bl_rna.properties.keys()),
        "timer": bpy.app.timers.is_registered(session._tick),
        "threads": [thread.name for thread in threading.enumerate() if "FlexTraj" in thread.name],
    }


def test_disabling_the_addon_three_times_leaves_no_trace_in_blender() -> None:
    before = traces()
    for _ in range(3):
        blender_addon.register()
        during = traces()
        assert "flextraj" in during["scene"]  # type: ignore[operator]
        assert "generate" in during["operators"]  # type: ignore[operator]
        assert "enter_file" in during["handlers"]["load_post"]  # type: ignore[index]
        blender_addon.unregister()
        assert traces() == before


def test_a_failure_while_enabling_leaves_no_trace_in_blender(monkeypatch) -> None:
    from blender_addon import handlers

    before = traces()

    def fail() -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(handlers, "register", fail)
    with pytest.raises(RuntimeError, match="no"):
        blender_addon.register()
    assert traces() == before


def test_a_script_that_forgets_to_disable_the_addon_ends_all_the_same(tmp_path: Path) -> None:
    code = (
        "import bpy, blender_addon; blender_addon.register(); bpy.ops.flextraj.dismiss_error(); print('end')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(blender_addon.__file__).parents[1],
        env=dict(os.environ, BLENDER_USER_RESOURCES=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "end"), done.stderr


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
