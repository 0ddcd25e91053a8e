"""The job list in the panel: what is there after another file, another scene, undo, saving or a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

bpy = pytest.importorskip("bpy")

from addon_shot import make_video, moving_cube, ops, order_of, use_backend  # noqa: E402
from fake_rendering import SUCCEEDED, FakeBackend  # noqa: E402

from blender_addon import session  # noqa: E402
from blender_addon.bridge.blend_file import read_blend_file  # noqa: E402
from blender_addon.client.http_client import BackendError  # noqa: E402
from blender_addon.client.job_reports import JobStage  # noqa: E402
from blender_addon.client.messages import JobState, JobStatus  # noqa: E402
from blender_addon.core.errors import ErrorCode, FlexTrajError  # noqa: E402
from blender_addon.handlers import enter_file  # noqa: E402
from blender_addon.operators.results import latest_result  # noqa: E402
from blender_addon.properties import runtime_state, scene_settings  # noqa: E402
from blender_addon.thumbnails import thumbnail_icon  # noqa: E402

RUNNING = JobStatus("job1", JobState.RUNNING, "preview", phase="rendering", step=1, steps=4)


def stages() -> list[str]:
    return [row.stage for row in runtime_state().jobs]


def save(path: Path) -> None:
    bpy.ops.wm.save_as_mainfile(filepath=str(path))


def open_file(path: Path) -> None:
    """Open a file as a window does: its jobs are looked for at once."""
    bpy.ops.wm.open_mainfile(filepath=str(path))
    ops.flextraj.find_jobs()


def restart(backend: FakeBackend, folder: Path, path: Path) -> None:
    """A new Blender opens the file; the one before left nothing but its files."""
    use_backend(backend, folder)
    open_file(path)


def start_job(settings: Any, folder: Path) -> str:
    """Generate without waiting, as in a window; return the job's key."""
    order, trajectories = order_of(settings, folder / "results")
    current = session.current_session()
    current.submit(order, trajectories)
    while current.jobs[order.key].stage is not JobStage.RUNNING:
        current.take_reports(current.runner.wait(0.1))
    return order.key


# Restart


def test_the_job_list_is_there_again_when_the_file_is_opened_again(
    backend: FakeBackend, shot: Any, tmp_path: Path
) -> None:
    make_video()
    save(tmp_path / "shot.blend")
    before = [(row.key, row.title, row.video, row.label) for row in runtime_state().jobs]
    restart(FakeBackend(), tmp_path, tmp_path / "shot.blend")
    assert [(row.key, row.title, row.video, row.label) for row in runtime_state().jobs] == before
    assert ops.flextraj.load_result(target="STRIP") == {"FINISHED"}


def test_a_job_made_after_the_last_save_is_not_lost_with_the_unsaved_changes(
    backend: FakeBackend, shot: Any, tmp_path: Path
) -> None:
    save(tmp_path / "shot.blend")
    make_video()
    restart(FakeBackend(), tmp_path, tmp_path / "shot.blend")
    assert stages() == ["done"]


def test_a_renamed_file_keeps_its_jobs_and_another_file_gets_none(
    backend: FakeBackend, shot: Any, tmp_path: Path
) -> None:
    make_video()
    save(tmp_path / "shot.blend")
    (tmp_path / "shot.blend").rename(tmp_path / "renamed.blend")
    bpy.ops.wm.read_factory_settings(use_empty=True)
    save(tmp_path / "other.blend")
    restart(FakeBackend(), tmp_path, tmp_path / "other.blend")
    assert stages() == []
    restart(FakeBackend(), tmp_path, tmp_path / "renamed.blend")
    assert stages() == ["done"]


def test_a_job_that_ran_when_blender_was_killed_is_picked_up_and_fetched(
    backend: FakeBackend, shot: Any, tmp_path: Path
) -> None:
    save(tmp_path / "shot.blend")
    backend.service.outcome = RUNNING
    start_job(shot, tmp_path)
    after = FakeBackend()
    after.service.outcome = SUCCEEDED
    restart(after, tmp_path, tmp_path / "shot.blend")
    assert stages() == ["done"]
    assert Path(runtime_state().jobs[0].video).is_file()
    assert not after.service.requests


def test_a_job_that_its_backend_has_lost_says_so_and_is_retried_with_one_click(
    backend: FakeBackend, shot: Any, tmp_path: Path
) -> None:
    save(tmp_path / "shot.blend")
    backend.service.outcome = RUNNING
    key = start_job(shot, tmp_path)
    after = FakeBackend()
    after.service.job_error = BackendError("There is no job 'job1'.", ErrorCode.REQUEST, 404)
    restart(after, tmp_path, tmp_path / "shot.blend")
    assert stages() == ["lost"]
    assert "retry it" in runtime_state().jobs[0].message
    # An old trouble is shown in its row, not as today's error.
    assert runtime_state().error_text == ""
    after.service.job_error = None
    after.service.submit = lambda request, key: SUCCEEDED  # type: ignore[method-assign]
    assert ops.flextraj.retry_job(key=key) == {"FINISHED"}
    assert stages() == ["done"]


def test_a_scene_that_looks_at_jobs_of_yesterday_starts_no_backend(
    backend: FakeBackend, shot: Any, tmp_path: Path
) -> None:
    make_video()
    save(tmp_path / "shot.blend")
    after = FakeBackend()
    after.connect_error = FlexTrajError("must not be started", ErrorCode.BACKEND)
    restart(after, tmp_path, tmp_path / "shot.blend")
    assert runtime_state().error_text == ""
    assert runtime_state().backend_phase == "stopped"


def test_headless_files_are_opened_without_looking_for_jobs(
    backend: FakeBackend, shot: Any, tmp_path: Path
) -> None:
    make_video()
    save(tmp_path / "shot.blend")
    use_backend(FakeBackend(), tmp_path)
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "shot.blend"))
    assert stages() == []
    assert not session.current_session().runner.has_work


# Another file, another scene, undo


def test_another_file_shows_its_own_jobs_and_those_that_still_run(
    backend: FakeBackend, shot: Any, tmp_path: Path, photo: Path
) -> None:
    save(tmp_path / "first.blend")
    make_video()
    backend.service.outcome = RUNNING
    start_job(shot, tmp_path)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    assert [(row.stage, row.file) for row in runtime_state().jobs] == [("running", "first.blend")]
    assert "made in first.blend" in runtime_state().jobs[0].origin
    backend.service.outcome = SUCCEEDED
    session.current_session().wait_until_idle()
    assert stages() == ["done"]
    open_file(tmp_path / "first.blend")
    assert [(row.stage, row.file) for row in runtime_state().jobs] == [("done", ""), ("done", "")]


def test_another_scene_shows_the_jobs_of_the_file_and_undo_does_not_lose_them(
    backend: FakeBackend, shot: Any, tmp_path: Path
) -> None:
    window = bpy.context.window_manager.windows[0]
    with bpy.context.temp_override(window=window):
        bpy.ops.ed.undo_push(message="before")
        make_video()
        bpy.ops.mesh.primitive_cube_add()
        bpy.ops.ed.undo_push(message="after")
        bpy.ops.ed.undo()
        assert len(bpy.data.meshes) == 1
        assert stages() == ["done"]
        bpy.ops.ed.redo()
    assert stages() == ["done"]
    window.scene = bpy.data.scenes.new("Second")
    session.show_session()
    assert stages() == ["done"]
    save(tmp_path / "shot.blend")
    restart(FakeBackend(), tmp_path, tmp_path / "shot.blend")
    assert stages() == ["done"]


def test_every_scene_of_a_saved_file_carries_its_identity(
    backend: FakeBackend, shot: Any, tmp_path: Path
) -> None:
    make_video()
    bpy.data.scenes.new("Second")
    save(tmp_path / "shot.blend")
    ids = {scene_settings(scene).file_id for scene in bpy.data.scenes}
    assert len(ids) == 1 and "" not in ids
    assert read_blend_file().ids == ids


def test_a_file_without_jobs_is_saved_without_a_trace_of_them(backend: FakeBackend, tmp_path: Path) -> None:
    save(tmp_path / "plain.blend")
    assert scene_settings(bpy.context.scene).file_id == ""


# Unsaved files


def test_a_file_that_is_saved_for_the_first_time_keeps_its_jobs(
    backend: FakeBackend, shot: Any, tmp_path: Path
) -> None:
    make_video()
    save(tmp_path / "shot.blend")
    assert [(row.stage, row.file) for row in runtime_state().jobs] == [("done", "")]
    session.current_session().wait_until_idle()
    restart(FakeBackend(), tmp_path, tmp_path / "shot.blend")
    assert stages() == ["done"]


def test_jobs_of_a_file_that_was_never_saved_are_offered_and_taken_over(
    backend: FakeBackend, shot: Any, tmp_path: Path, photo: Path
) -> None:
    make_video()
    use_backend(FakeBackend(), tmp_path)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    ops.flextraj.find_jobs()
    assert (stages(), runtime_state().unsaved_jobs) == ([], 1)
    assert ops.flextraj.find_jobs(unsaved="YES") == {"FINISHED"}
    assert (stages(), runtime_state().unsaved_jobs) == (["done"], 0)
    save(tmp_path / "shot.blend")
    session.current_session().wait_until_idle()
    restart(FakeBackend(), tmp_path, tmp_path / "shot.blend")
    assert stages() == ["done"]


def test_a_recovered_file_that_was_never_saved_finds_its_jobs_by_itself(
    backend: FakeBackend, shot: Any, tmp_path: Path
) -> None:
    make_video()
    # What Blender keeps for "Recover Last Session": the file, but not as the one that was saved.
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "quit.blend"), copy=True)
    restart(FakeBackend(), tmp_path, tmp_path / "quit.blend")
    assert stages() == ["done"]
    assert runtime_state().unsaved_jobs == 0


# Rows


def test_an_interrupted_job_is_retried_with_one_click_and_has_no_error_of_its_own_making(
    backend: FakeBackend, shot: Any, tmp_path: Path
) -> None:
    backend.service.outcome = RUNNING
    key = start_job(shot, tmp_path)
    ops.flextraj.stop_backend()
    session.current_session().wait_until_idle()
    session.poll_once()
    assert stages() == ["interrupted"]
    assert runtime_state().error_text == ""
    backend.service.outcome = JobStatus("job1", JobState.INTERRUPTED, "preview", error="Stopped: retry it.")
    assert ops.flextraj.retry_job(key=key) == {"FINISHED"}
    assert stages() == ["done"]
    assert backend.service.retried == ["job1"]


def test_a_failed_job_shows_its_error_with_the_job_until_it_is_retried(
    backend: FakeBackend, shot: Any, tmp_path: Path
) -> None:
    backend.service.outcome = JobStatus(
        "job1", JobState.FAILED, "preview", error="No room: use less.", error_code=ErrorCode.GPU_MEMORY
    )
    with pytest.raises(RuntimeError, match="No room: use less"):
        ops.flextraj.generate()
    state = runtime_state()
    assert (state.error_text, state.error_code) == ("No room: use less.", "gpu_memory")
    assert state.error_job == state.jobs[0].key
    assert (state.jobs[0].code, state.jobs[0].stage) == ("gpu_memory", "failed")
    assert (Path(state.jobs[0].folder) / "log.txt").read_text() == "first line\nlast line"
    ops.flextraj.retry_job(key=state.jobs[0].key)
    assert runtime_state().error_text == ""
    assert stages() == ["done"]


@pytest.mark.parametrize("outcome", [SUCCEEDED, RUNNING])
def test_only_jobs_that_did_not_end_well_can_be_removed_or_retried(
    backend: FakeBackend, shot: Any, tmp_path: Path, outcome: JobStatus
) -> None:
    backend.service.outcome = RUNNING
    key = start_job(shot, tmp_path)
    with pytest.raises(RuntimeError, match="cannot be retried"):
        ops.flextraj.retry_job(key=key)
    with pytest.raises(RuntimeError, match=r"has ended|still runs"):
        ops.flextraj.forget_job(key=key)
    ops.flextraj.cancel_job(key=key)
    session.current_session().wait_for(key)
    with pytest.raises(RuntimeError, match="cannot be retried"):
        ops.flextraj.retry_job(key=key)


def test_a_job_taken_off_the_list_does_not_come_back_with_the_file(
    backend: FakeBackend, shot: Any, tmp_path: Path
) -> None:
    make_video()
    make_video()
    save(tmp_path / "shot.blend")
    kept, gone = (row.key for row in runtime_state().jobs)
    ops.flextraj.forget_job(key=gone)
    session.current_session().wait_until_idle()
    restart(FakeBackend(), tmp_path, tmp_path / "shot.blend")
    assert [row.key for row in runtime_state().jobs] == [kept]


def test_each_finished_job_has_its_own_thumbnail(backend: FakeBackend, shot: Any) -> None:
    make_video()
    make_video()
    thumbnails = [Path(row.thumbnail) for row in runtime_state().jobs]
    assert len(set(thumbnails)) == 2
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in thumbnails)
    # There are no icons without a window; asking for them must not fail, nor for a picture that is gone.
    thumbnails[0].unlink()
    assert [thumbnail_icon(str(path)) for path in (*thumbnails, "")] == [0, 0, 0]


def test_the_selected_job_stays_selected_while_others_progress(
    backend: FakeBackend, shot: Any, tmp_path: Path
) -> None:
    make_video()
    make_video()
    runtime_state().job_index = 0
    session.show_session()
    assert runtime_state().job_index == 0
    backend.service.outcome = RUNNING
    key = start_job(shot, tmp_path)
    session.show_session()
    assert runtime_state().jobs[runtime_state().job_index].key == key


def test_a_new_file_forgets_the_error_of_the_last_one(backend: FakeBackend) -> None:
    session.show_error(FlexTrajError("Yesterday's trouble.", ErrorCode.NO_CAMERA))
    enter_file()
    assert runtime_state().error_text == ""


def test_a_second_shot_of_another_scene_does_not_mix_with_the_first(
    backend: FakeBackend, shot: Any, photo: Path
) -> None:
    make_video()
    bpy.context.window_manager.windows[0].scene = bpy.data.scenes.new("Second")
    with bpy.context.temp_override(scene=bpy.data.scenes["Second"]):
        assert not ops.flextraj.generate.poll()
        moving_cube(photo).character.name = "Other"
        make_video()
    assert [row.title for row in runtime_state().jobs] == ["Dancer", "Other"]


def test_a_file_saved_as_the_next_shot_does_not_take_the_jobs_of_the_first_one_along(
    backend: FakeBackend, shot: Any, tmp_path: Path
) -> None:
    make_video()
    save(tmp_path / "shot010.blend")
    session.current_session().wait_until_idle()
    save(tmp_path / "shot020.blend")
    first = runtime_state().jobs[0].key
    assert [row.file for row in runtime_state().jobs] == ["shot010.blend"]
    make_video()
    save(tmp_path / "shot020.blend")
    restart(FakeBackend(), tmp_path, tmp_path / "shot010.blend")
    state = runtime_state()
    assert [row.file for row in state.jobs] == ["", "shot020.blend"]
    # Not the newest of all: its video belongs to another shot.
    assert state.jobs[state.job_index].key == first
    found = latest_result()
    assert found is not None and found.key == first


def test_the_newest_result_is_never_one_of_a_file_that_has_nothing_to_do_with_this_one(
    backend: FakeBackend, shot: Any, tmp_path: Path
) -> None:
    save(tmp_path / "first.blend")
    backend.service.outcome = RUNNING
    start_job(shot, tmp_path)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    backend.service.outcome = SUCCEEDED
    session.current_session().wait_until_idle()
    assert stages() == ["done"]
    assert latest_result() is None
