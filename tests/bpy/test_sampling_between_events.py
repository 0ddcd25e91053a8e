"""Sampling and jobs between Blender's own events: what undo, saving, rendering or playback would spoil."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

bpy = pytest.importorskip("bpy")

from addon_shot import begin_sampling, make_video, ops, order_of  # noqa: E402
from fake_rendering import FakeBackend  # noqa: E402

from blender_addon import session  # noqa: E402
from blender_addon.bridge.compat import add_color_strip  # noqa: E402
from blender_addon.client.job_reports import JobStage  # noqa: E402
from blender_addon.client.messages import JobState, JobStatus  # noqa: E402
from blender_addon.core.sample_settings import SampleProgress  # noqa: E402
from blender_addon.properties import runtime_state  # noqa: E402
from blender_addon.sampling_slot import show_sampling  # noqa: E402


def test_undo_and_loading_a_file_end_sampling_and_restore_the_frame(backend: FakeBackend, shot: Any) -> None:
    from blender_addon.handlers import end_sampling_before_change

    begin_sampling(shot)
    assert runtime_state().is_sampling
    assert not ops.flextraj.generate.poll()
    end_sampling_before_change()
    assert bpy.context.scene.frame_current == 3
    assert not runtime_state().is_sampling
    assert session.current_session().sampling is None


@pytest.fixture
def sampling_shot(shot: Any) -> Any:
    """The shot, half-way through sampling: on another frame and with a hidden object shown."""
    bpy.ops.mesh.primitive_cube_add(location=(0, 9, 0))
    bpy.context.object.name = "Hidden"
    bpy.context.object.hide_viewport = True
    begin_sampling(shot)
    assert not bpy.data.objects["Hidden"].hide_viewport
    return shot


def test_a_file_saved_while_sampling_holds_the_users_frame_and_visibility(
    backend: FakeBackend, sampling_shot: Any, tmp_path: Path
) -> None:
    path = str(tmp_path / "saved.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    assert session.current_session().sampling is None
    bpy.ops.wm.open_mainfile(filepath=path)
    assert bpy.context.scene.frame_current == 3
    assert bpy.data.objects["Hidden"].hide_viewport


def test_a_render_started_while_sampling_shows_the_users_frame(
    backend: FakeBackend, sampling_shot: Any
) -> None:
    rendered: list[int] = []
    bpy.app.handlers.render_post.append(lambda scene, _: rendered.append(scene.frame_current))
    scene = bpy.context.scene
    # The sequencer is rendered, the scene itself is not: that would ask for a graphics card.
    scene.sequence_editor_create()
    add_color_strip(scene.sequence_editor, "red", 1, 1, 9)
    bpy.ops.render.render()
    assert rendered == [3]
    assert scene.frame_current == 3
    assert session.current_session().sampling is None


def test_an_animation_rendered_while_sampling_has_its_own_frames(
    backend: FakeBackend, sampling_shot: Any, tmp_path: Path
) -> None:
    rendered: list[int] = []
    bpy.app.handlers.render_post.append(lambda scene, _: rendered.append(scene.frame_current))
    scene = bpy.context.scene
    scene.render.filepath = str(tmp_path / "frame")
    scene.frame_start, scene.frame_end = 7, 9
    scene.sequence_editor_create()
    add_color_strip(scene.sequence_editor, "red", 1, 1, 20)
    bpy.ops.render.render(animation=True)
    assert rendered == [7, 8, 9]
    assert scene.frame_current == 3


def test_a_renders_thread_leaves_the_end_of_sampling_to_the_main_thread(
    backend: FakeBackend, sampling_shot: Any
) -> None:
    from blender_addon.handlers import end_sampling_before_change

    current = session.current_session()
    thread = threading.Thread(target=end_sampling_before_change)
    thread.start()
    while not current.is_sampling_unwanted:
        time.sleep(0.005)
    assert current.sampling is not None
    assert thread.is_alive()
    current.end_sampling()
    thread.join(timeout=1.5)
    assert not thread.is_alive()


def test_playback_ends_sampling(backend: FakeBackend) -> None:
    from blender_addon.handlers import end_sampling_before_change

    assert end_sampling_before_change in bpy.app.handlers.animation_playback_pre


def test_the_cancel_button_ends_sampling_and_no_job(backend: FakeBackend, shot: Any, tmp_path: Path) -> None:
    assert not ops.flextraj.cancel_sampling.poll()
    backend.service.outcome = JobStatus("job1", JobState.RUNNING, "preview", phase="rendering")
    order, trajectories = order_of(shot, tmp_path)
    session.current_session().submit(order, trajectories)
    begin_sampling(shot)
    assert ops.flextraj.cancel_sampling() == {"FINISHED"}
    assert bpy.context.scene.frame_current == 3
    assert not runtime_state().is_sampling
    assert runtime_state().jobs[0].stage == "waiting"


def test_cancelling_all_jobs_ends_sampling_too(backend: FakeBackend, shot: Any) -> None:
    begin_sampling(shot)
    assert ops.flextraj.cancel_job() == {"FINISHED"}
    assert not runtime_state().is_sampling


def test_the_cancel_button_cancels_a_running_job(backend: FakeBackend, shot: Any, tmp_path: Path) -> None:
    backend.service.outcome = JobStatus("job1", JobState.RUNNING, "preview", phase="rendering")
    order, trajectories = order_of(shot, tmp_path)
    session.current_session().submit(order, trajectories)
    assert runtime_state().jobs[0].stage == "waiting"
    assert ops.flextraj.cancel_job() == {"FINISHED"}
    assert session.current_session().wait_for(order.key).stage is JobStage.CANCELLED
    assert runtime_state().jobs[0].stage == "cancelled"
    assert not order.folder.exists()


def test_the_panel_follows_the_worker_and_the_timer_rests_when_all_is_done(
    backend: FakeBackend, shot: Any
) -> None:
    assert session.poll_once() is None
    make_video()
    assert runtime_state().backend_phase == "running"
    assert session.poll_once() == pytest.approx(1.0)
    ops.flextraj.stop_backend()
    assert runtime_state().backend_phase == "stopped"
    assert session.poll_once() is None


def test_progress_of_sampling_is_shown(backend: FakeBackend) -> None:
    show_sampling(SampleProgress(12, 48))
    assert runtime_state().sampling_text == "Sampling frame 12 of 48"
    assert runtime_state().sampling_factor == pytest.approx(0.25)
