"""Starting, stopping and watching the backend from the panel."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

bpy = pytest.importorskip("bpy")

from addon_shot import ops  # noqa: E402
from fake_rendering import FakeBackend  # noqa: E402

import blender_addon  # noqa: E402
from blender_addon import session  # noqa: E402
from blender_addon.client.job_reports import BackendReport  # noqa: E402
from blender_addon.client.messages import DeviceInfo  # noqa: E402
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


def wait_for_backend(condition: Callable[[BackendReport], bool]) -> None:
    """Collect reports as the window's timer does."""
    deadline = time.monotonic() + 10
    while not condition(session.current_session().backend):
        assert time.monotonic() < deadline
        session.poll_once()
        time.sleep(0.02)


def test_the_panel_shows_version_memory_and_log_and_asks_again_on_request(backend: FakeBackend) -> None:
    assert not ops.flextraj.look_at_device.poll()
    assert not ops.flextraj.copy_log.poll()
    ops.flextraj.start_backend()
    wait_for_backend(lambda report: report.device is not None and bool(report.log))
    shown = session.current_session().backend
    assert shown.version == "1.2.3"
    assert shown.device is not None and shown.device.free_bytes == 20 << 30
    assert shown.log == ("It listens.", "It renders.")
    backend.service.device = lambda: DeviceInfo("GPU", "GPU memory", 24 << 30, 2 << 30)  # type: ignore[method-assign]
    assert ops.flextraj.look_at_device() == {"FINISHED"}
    wait_for_backend(lambda report: report.device is not None and report.device.free_bytes == 2 << 30)
    assert ops.flextraj.copy_log() == {"FINISHED"}


def test_a_backend_without_the_probe_shows_no_memory_and_works(backend: FakeBackend) -> None:
    def absent() -> DeviceInfo:
        raise FlexTrajError("There is no such call.", ErrorCode.REQUEST)

    backend.service.device = absent  # type: ignore[method-assign]
    ops.flextraj.start_backend()
    wait_for_backend(lambda report: bool(report.log))
    assert session.current_session().backend.device is None
    assert runtime_state().error_text == ""


def test_an_error_without_an_operator_pops_up_with_its_button_and_is_reported(backend: FakeBackend) -> None:
    # Without a window there is no popup; the report is what a script would see.
    assert ops.flextraj.notify(message="It broke.", code="defect", key="job") == {"FINISHED"}


def test_disabling_the_addon_stops_the_backend(backend: FakeBackend) -> None:
    ops.flextraj.start_backend()
    blender_addon.unregister()
    try:
        assert backend.stops >= 1
    finally:
        blender_addon.register()
