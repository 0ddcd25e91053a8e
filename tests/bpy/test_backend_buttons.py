"""Starting, stopping and watching the backend from the panel."""

from __future__ import annotations

import pytest

bpy = pytest.importorskip("bpy")

from addon_shot import ops  # noqa: E402
from fake_rendering import FakeBackend  # noqa: E402

import blender_addon  # noqa: E402
from blender_addon import session  # noqa: E402
from blender_addon.core.errors import ErrorCode, FlexTrajError  # noqa: E402
from blender_addon.properties import runtime_state, scene_settings  # noqa: E402


def test_starting_the_backend_lists_its_engines_and_stopping_ends_it(backend: FakeBackend) -> None:
    assert not ops.flextraj.stop_backend.poll()
    assert ops.flextraj.start_backend() == {"FINISHED"}
    assert [engine.name for engine in session.current_session().engines] == ["preview", "wan"]
    assert not ops.flextraj.start_backend.poll()
    ops.flextraj.choose_engine(name="wan")
    assert scene_settings(bpy.context.scene).engine == "wan"
    assert ops.flextraj.stop_backend() == {"FINISHED"}
    assert backend.stops == 1


def test_a_backend_that_does_not_start_tells_why(backend: FakeBackend) -> None:
    backend.connect_error = FlexTrajError("It does not start: repair it.", ErrorCode.BACKEND)
    with pytest.raises(RuntimeError, match="It does not start: repair it"):
        ops.flextraj.start_backend()
    assert runtime_state().backend_phase == "failed"


def test_disabling_the_addon_stops_the_backend(backend: FakeBackend) -> None:
    ops.flextraj.start_backend()
    blender_addon.unregister()
    try:
        assert backend.stops >= 1
    finally:
        blender_addon.register()
