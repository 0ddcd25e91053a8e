"""The panel's buttons, headless, from scene and photo to a loaded video; the backend is plain Python."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

bpy = pytest.importorskip("bpy")

from fake_rendering import FRAMES, FakeBackend  # noqa: E402

import blender_addon  # noqa: E402
from blender_addon import session  # noqa: E402
from blender_addon.client.job_reports import JobStage  # noqa: E402
from blender_addon.client.messages import JobState, JobStatus  # noqa: E402
from blender_addon.core.errors import ErrorCode, FlexTrajError  # noqa: E402
from blender_addon.core.request import FitMode  # noqa: E402
from blender_addon.core.sample_settings import SampleProgress  # noqa: E402
from blender_addon.core.trajectory_file import read_trajectories  # noqa: E402
from blender_addon.operators import generate as generate_module  # noqa: E402
from blender_addon.properties import runtime_state, scene_settings  # noqa: E402

MODEL_FRAMES = 5
ops: Any = bpy.ops


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeBackend]:
    """The add-on, registered in an empty scene, with a backend that renders at once."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    blender_addon.register()
    fake = FakeBackend()
    original = session.replace_session(session.Session(fake))
    original.close()
    monkeypatch.setattr(generate_module, "output_folder", lambda: tmp_path / "results")
    yield fake
    blender_addon.unregister()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "my photo ü.jpg"
    path.write_bytes(b"a photo")
    return path


@pytest.fixture
def shot(backend: FakeBackend, photo: Path) -> Any:
    """A cube that moves in front of a camera, and settings that are complete."""
    scene = bpy.context.scene
    bpy.ops.mesh.primitive_cube_add(size=1.0)
    cube = bpy.context.object
    cube.name = "Dancer"
    cube.keyframe_insert("location", frame=11)
    cube.location.x = 1.0
    cube.keyframe_insert("location", frame=15)
    bpy.ops.object.camera_add(location=(0, -6, 0), rotation=(1.5708, 0, 0))
    scene.camera = bpy.context.object
    scene.frame_set(3)
    settings = scene_settings(scene)
    settings.source = "CHARACTER"
    settings.character = cube
    settings.photo = str(photo)
    settings.points = 64
    settings.frames = MODEL_FRAMES
    return settings


def make_video() -> None:
    assert ops.flextraj.generate() == {"FINISHED"}


def strips() -> Any:
    editor = bpy.context.scene.sequence_editor
    return editor.strips if hasattr(editor, "strips") else editor.sequences


# Generate


def test_generate_makes_a_video_from_a_scene_and_a_photo(
    backend: FakeBackend, shot: Any, photo: Path
) -> None:
    make_video()
    state = runtime_state()
    assert [(row.stage, row.label, row.title) for row in state.jobs] == [("done", "motion draft", "Dancer")]
    assert state.jobs[0].warnings == "The rig does not line up with the photo."
    assert Path(state.jobs[0].video).is_file()
    assert state.error_text == ""
    assert backend.service.uploads[1] == photo


def test_generate_samples_what_the_panel_says(backend: FakeBackend, shot: Any) -> None:
    shot.aligned, shot.seed, shot.prompt, shot.fit = True, 7, "a dancer", "none"
    make_video()
    trajectories = read_trajectories(backend.service.uploads[0])
    assert trajectories.frame_count == MODEL_FRAMES
    assert trajectories.point_count == 64
    assert (trajectories.meta.width, trajectories.meta.height) == (720, 480)
    assert trajectories.meta.source_frames == (11.0, 12.0, 13.0, 14.0, 15.0)
    assert (trajectories.meta.aligned, trajectories.meta.seed) == (True, 7)
    assert [segment.name for segment in trajectories.meta.segments] == ["Dancer"]
    request = backend.service.requests[0]
    assert (request.seed, request.prompt, request.fit) == (7, "a dancer", FitMode.NONE)


def test_generate_gives_the_scene_its_frame_and_selection_back(backend: FakeBackend, shot: Any) -> None:
    selected = [ob.name for ob in bpy.context.selected_objects]
    bpy.context.scene.frame_set(3, subframe=0.25)
    make_video()
    assert (bpy.context.scene.frame_current, bpy.context.scene.frame_subframe) == (3, 0.25)
    assert [ob.name for ob in bpy.context.selected_objects] == selected


def test_a_custom_range_and_the_scenes_size_are_used(backend: FakeBackend, shot: Any) -> None:
    scene = bpy.context.scene
    scene.render.resolution_x, scene.render.resolution_y = 200, 101
    scene.render.resolution_percentage = 50
    shot.frame_range, shot.first_frame, shot.last_frame, shot.size = "CUSTOM", 2, 6, "SCENE"
    make_video()
    meta = read_trajectories(backend.service.uploads[0]).meta
    assert (meta.width, meta.height) == (100, 50)
    assert (meta.source_frames[0], meta.source_frames[-1]) == (2.0, 6.0)


def test_props_of_the_list_are_background(backend: FakeBackend, shot: Any) -> None:
    bpy.ops.mesh.primitive_plane_add(size=4.0, location=(0, 0, -1))
    ground = bpy.context.object
    shot.source = "LIST"
    bpy.data.objects["Dancer"].select_set(True)
    ops.flextraj.add_subjects()
    next(item for item in shot.subjects if item.object == ground).background = True
    make_video()
    segments = read_trajectories(backend.service.uploads[0]).meta.segments
    assert {(segment.name, segment.background) for segment in segments} == {
        ("Dancer", False),
        ("Plane", True),
    }


def test_a_prop_that_was_deleted_from_the_scene_does_not_stop_the_others(
    backend: FakeBackend, shot: Any
) -> None:
    bpy.ops.mesh.primitive_plane_add(size=4.0, location=(0, 0, -1))
    shot.source = "LIST"
    bpy.data.objects["Dancer"].select_set(True)
    ops.flextraj.add_subjects()
    next(item for item in shot.subjects if item.object.name == "Plane").background = True
    bpy.context.collection.objects.unlink(bpy.data.objects["Plane"])
    make_video()
    segments = read_trajectories(backend.service.uploads[0]).meta.segments
    assert [segment.name for segment in segments] == ["Dancer"]


def test_a_frame_rate_plays_the_motion_from_its_start(backend: FakeBackend, shot: Any) -> None:
    shot.frame_range, shot.first_frame, shot.last_frame, shot.frame_rate = "CUSTOM", 1, 100, 12.0
    make_video()
    meta = read_trajectories(backend.service.uploads[0]).meta
    assert (meta.fps, meta.source_frames) == (12.0, (1.0, 3.0, 5.0, 7.0, 9.0))


def test_the_panel_warns_of_a_video_that_will_be_a_row_of_pictures(backend: FakeBackend, shot: Any) -> None:
    from blender_addon.bridge.shot_frames import ShotFrames
    from blender_addon.bridge.shot_request import read_sample_settings
    from blender_addon.core.frame_summary import frames_text, is_jerky

    shot.frames = 49
    bpy.context.scene.frame_end = 600
    dancer = bpy.data.objects["Dancer"]
    for frame in (1, 595):
        dancer.keyframe_insert("location", frame=frame)
    frames = ShotFrames()

    def shown() -> Any:
        return frames.of(bpy.context.scene, read_sample_settings(bpy.context, shot))

    assert frames_text(shown()).startswith("49 frames over scene frames 1–595: 1.9 frames per second; choose")
    assert is_jerky(shown())
    shot.frame_range, shot.first_frame, shot.last_frame = "CUSTOM", 11, 59
    assert frames_text(shown()) == "49 frames over scene frames 11–59: 24 frames per second"
    shot.last_frame = 11
    assert shown() is None


def test_a_second_job_does_not_overwrite_the_first(backend: FakeBackend, shot: Any) -> None:
    make_video()
    make_video()
    videos = {row.video for row in runtime_state().jobs}
    assert len(videos) == 2
    assert all(Path(video).is_file() for video in videos)


# Reasons why Generate is greyed, and errors


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda s: setattr(s, "character", None), "No character is chosen"),
        (lambda s: setattr(s, "photo", ""), "No photo is chosen"),
        (lambda s: setattr(bpy.context.scene, "camera", None), "The scene has no camera"),
        (lambda s: setattr(s, "source", "LIST"), "The list of subjects is empty"),
        (
            lambda s: (setattr(s, "source", "SELECTION"), bpy.ops.object.select_all(action="DESELECT")),
            "Nothing",
        ),
        (lambda s: (setattr(s, "frame_range", "CUSTOM"), setattr(s, "last_frame", 1)), "The last frame must"),
    ],
)
def test_the_greyed_button_says_what_is_missing(
    backend: FakeBackend, shot: Any, spoil: Any, sentence: str
) -> None:
    spoil(shot)
    assert not ops.flextraj.generate.poll()
    with pytest.raises(RuntimeError, match=sentence):
        ops.flextraj.generate()


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda s: setattr(s, "frames", 1001), "Preview makes 1 to 1000 frames, not 1001"),
        (
            lambda s: (setattr(s, "size", "CUSTOM"), setattr(s, "width", 2050)),
            "Preview makes at most 2048 pixels a side",
        ),
        (
            lambda s: (
                setattr(s, "size", "SCENE"),
                setattr(bpy.context.scene.render, "resolution_x", 3840),
                setattr(bpy.context.scene.render, "resolution_percentage", 100),
            ),
            "Preview makes at most 2048 pixels a side",
        ),
        (lambda s: setattr(s, "engine", "wan"), "The weights are missing"),
    ],
)
def test_what_the_engine_cannot_make_is_said_before_anything_is_sampled(
    backend: FakeBackend, shot: Any, spoil: Any, sentence: str
) -> None:
    ops.flextraj.start_backend()
    assert ops.flextraj.generate.poll()
    spoil(shot)
    with pytest.raises(RuntimeError, match=sentence):
        ops.flextraj.generate()


def test_a_deleted_character_is_missed_rather_than_sampled(backend: FakeBackend, shot: Any) -> None:
    bpy.context.collection.objects.unlink(bpy.data.objects["Dancer"])
    with pytest.raises(RuntimeError, match="No character is chosen"):
        ops.flextraj.generate()


def test_a_photo_that_is_gone_is_named(backend: FakeBackend, shot: Any, photo: Path) -> None:
    photo.unlink()
    with pytest.raises(RuntimeError, match="does not exist: choose the image again"):
        ops.flextraj.generate()
    assert "does not exist" in runtime_state().error_text
    assert runtime_state().error_code == ErrorCode.NO_PHOTO.value
    assert len(runtime_state().jobs) == 0


def test_a_sampling_error_is_shown_and_the_frame_restored(backend: FakeBackend, shot: Any) -> None:
    build = bpy.data.objects["Dancer"].modifiers.new("Build", "BUILD")
    build.frame_start, build.frame_duration = 11, 4
    with pytest.raises(RuntimeError, match="Error: "):
        ops.flextraj.generate()
    assert runtime_state().error_text.endswith(".")
    assert bpy.context.scene.frame_current == 3
    assert not runtime_state().is_sampling
    assert not backend.service.requests


def test_a_missing_backend_is_explained(backend: FakeBackend, shot: Any) -> None:
    backend.connect_error = FlexTrajError("The backend is not installed: run it.", ErrorCode.BACKEND_MISSING)
    with pytest.raises(RuntimeError, match="The backend is not installed: run it"):
        ops.flextraj.generate()
    assert runtime_state().error_code == ErrorCode.BACKEND_MISSING.value
    ops.flextraj.dismiss_error()
    assert runtime_state().error_text == ""


def test_a_failed_job_shows_its_sentence_and_the_next_one_works(backend: FakeBackend, shot: Any) -> None:
    good = backend.service.outcome
    backend.service.outcome = JobStatus(
        "job1", JobState.FAILED, "preview", error="The disk is full: free space."
    )
    with pytest.raises(RuntimeError, match="The disk is full: free space"):
        ops.flextraj.generate()
    backend.service.outcome = good
    make_video()
    assert [row.stage for row in runtime_state().jobs] == ["failed", "done"]


# Sampling between UI events


def test_undo_and_loading_a_file_end_sampling_and_restore_the_frame(backend: FakeBackend, shot: Any) -> None:
    from blender_addon.bridge.shot_request import plan_shot
    from blender_addon.bridge.shot_sampling import sample_shot
    from blender_addon.handlers import end_sampling_before_change

    plan = plan_shot(bpy.context, shot)
    sampling = sample_shot(bpy.context.scene, bpy.context.view_layer, plan.sample)
    session.current_session().begin_sampling(sampling)
    session.show_sampling(next(sampling))
    assert runtime_state().is_sampling
    assert bpy.context.scene.frame_current != 3
    assert not ops.flextraj.generate.poll()
    end_sampling_before_change()
    assert bpy.context.scene.frame_current == 3
    assert not runtime_state().is_sampling
    assert session.current_session().sampling is None


@pytest.fixture
def sampling_shot(shot: Any) -> Any:
    """The shot, half-way through sampling: on another frame and with a hidden object shown."""
    from blender_addon.bridge.shot_request import plan_shot
    from blender_addon.bridge.shot_sampling import sample_shot

    bpy.ops.mesh.primitive_cube_add(location=(0, 9, 0))
    bpy.context.object.name = "Hidden"
    bpy.context.object.hide_viewport = True
    sampling = sample_shot(bpy.context.scene, bpy.context.view_layer, plan_shot(bpy.context, shot).sample)
    session.current_session().begin_sampling(sampling)
    session.show_sampling(next(sampling))
    assert bpy.context.scene.frame_current != 3
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
    scene.sequence_editor.strips.new_effect("red", "COLOR", 1, 1, frame_end=9)
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
    scene.sequence_editor.strips.new_effect("red", "COLOR", 1, 1, frame_end=20)
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


def test_the_cancel_button_ends_sampling(backend: FakeBackend, shot: Any) -> None:
    from blender_addon.bridge.shot_request import plan_shot
    from blender_addon.bridge.shot_sampling import sample_shot

    assert not ops.flextraj.cancel_job.poll()
    sampling = sample_shot(bpy.context.scene, bpy.context.view_layer, plan_shot(bpy.context, shot).sample)
    session.current_session().begin_sampling(sampling)
    session.show_sampling(next(sampling))
    assert ops.flextraj.cancel_job() == {"FINISHED"}
    assert bpy.context.scene.frame_current == 3
    assert not runtime_state().is_sampling


def test_the_cancel_button_cancels_a_running_job(backend: FakeBackend, shot: Any) -> None:
    backend.service.outcome = JobStatus("job1", JobState.RUNNING, "preview", phase="rendering")
    from blender_addon.bridge.shot_request import plan_shot
    from blender_addon.bridge.shot_sampling import run_to_end, sample_shot

    plan = plan_shot(bpy.context, shot)
    trajectories = run_to_end(sample_shot(bpy.context.scene, bpy.context.view_layer, plan.sample))
    order = plan.order(trajectories, generate_module.output_folder())
    session.current_session().submit(order)
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
    session.show_sampling(SampleProgress(12, 48))
    assert runtime_state().sampling_text == "Sampling frame 12 of 48"
    assert runtime_state().sampling_factor == pytest.approx(0.25)


def test_another_file_keeps_the_job_list_and_forgets_the_sampling(backend: FakeBackend, shot: Any) -> None:
    make_video()
    runtime_state().is_sampling = True
    session.show_sampling(None)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    # Factory settings switch handlers off that are not persistent: ours must have written the list again.
    assert [row.stage for row in runtime_state().jobs] == ["done"]
    assert ops.flextraj.load_result.poll()


# Subjects, photo, camera


def test_the_list_of_subjects_takes_each_object_once(backend: FakeBackend, shot: Any) -> None:
    bpy.ops.object.select_all(action="SELECT")
    assert ops.flextraj.add_subjects() == {"FINISHED"}
    assert [item.object.name for item in shot.subjects] == ["Dancer"]  # the camera has no surface
    assert ops.flextraj.add_subjects() == {"CANCELLED"}
    assert ops.flextraj.remove_subject() == {"FINISHED"}
    assert len(shot.subjects) == 0
    assert shot.subject_index == 0
    assert not ops.flextraj.remove_subject.poll()


def test_subjects_cannot_be_added_without_a_selection(backend: FakeBackend) -> None:
    with pytest.raises(RuntimeError, match="Select a mesh, curve, text or armature first"):
        ops.flextraj.add_subjects()


def test_adding_subjects_can_be_undone(backend: FakeBackend, shot: Any) -> None:
    bpy.data.objects["Dancer"].select_set(True)
    with bpy.context.temp_override(window=bpy.context.window_manager.windows[0]):
        bpy.ops.ed.undo_push(message="before")
        ops.flextraj.add_subjects()
        bpy.ops.ed.undo_push(message="after")
        assert len(scene_settings(bpy.context.scene).subjects) == 1
        bpy.ops.ed.undo()
    assert len(scene_settings(bpy.context.scene).subjects) == 0


def test_seg_ids_are_stored_on_the_meshes_of_a_chosen_armature(backend: FakeBackend, shot: Any) -> None:
    bpy.ops.object.armature_add()
    rig = bpy.context.object
    modifier = bpy.data.objects["Dancer"].modifiers.new("Armature", "ARMATURE")
    modifier.object = rig
    shot.character = rig
    assert ops.flextraj.assign_seg_ids() == {"FINISHED"}
    assert bpy.data.objects["Dancer"]["flextraj_seg_id"] == 0


def test_the_file_browser_sets_photo_and_mask(backend: FakeBackend) -> None:
    assert ops.flextraj.pick_image(target="PHOTO", filepath="//a.png") == {"FINISHED"}
    assert ops.flextraj.pick_image(target="MASK", filepath="//b.png") == {"FINISHED"}
    settings = scene_settings(bpy.context.scene)
    assert (settings.photo, settings.mask) == ("//a.png", "//b.png")
    with pytest.raises(RuntimeError, match="No file was chosen"):
        ops.flextraj.pick_image(target="PHOTO", filepath="")
    assert settings.photo == "//a.png"


def test_a_relative_photo_is_found_beside_the_saved_file(
    backend: FakeBackend, shot: Any, photo: Path, tmp_path: Path
) -> None:
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "scene.blend"))
    shot.photo = f"//{photo.name}"
    make_video()
    assert backend.service.uploads[1].samefile(photo)


def test_a_scene_without_camera_gets_one_that_sees_the_subject(backend: FakeBackend, shot: Any) -> None:
    bpy.data.objects.remove(bpy.context.scene.camera)
    assert ops.flextraj.add_camera() == {"FINISHED"}
    assert bpy.context.scene.camera.name == "FlexTraj Camera"
    make_video()
    assert read_trajectories(backend.service.uploads[0]).visible.any(axis=1).all()


# Results


def test_the_video_becomes_a_strip_where_the_shot_starts(backend: FakeBackend, shot: Any) -> None:
    make_video()
    assert ops.flextraj.load_result(target="STRIP") == {"FINISHED"}
    strip = strips()[0]
    assert (strip.frame_final_start, strip.frame_final_duration, strip.channel) == (11, FRAMES, 1)
    assert strip.name == "Dancer (motion draft)"
    assert len(bpy.data.movieclips) == 0


@pytest.mark.parametrize("last_frame", [6, 24, 600])
def test_the_strip_keeps_step_with_the_rig_on_the_timeline(
    backend: FakeBackend, shot: Any, last_frame: int
) -> None:
    shot.frame_range, shot.first_frame, shot.last_frame = "CUSTOM", 3, last_frame
    make_video()
    ops.flextraj.load_result(target="STRIP")
    pictures = (last_frame - 3) / (FRAMES - 1)
    for strip in strips():
        assert strip.frame_final_start == 3
        assert strip.frame_final_duration == pytest.approx(pictures * FRAMES, abs=1)
    movie = next(strip for strip in strips() if strip.type == "MOVIE")
    assert movie.frame_duration == FRAMES
    speed = next(strip for strip in strips() if strip.type == "SPEED")
    assert (speed.speed_control, speed.channel) == ("STRETCH", movie.channel + 1)
    scene = bpy.context.scene
    for picture in (0, 2, 4):
        # A neighbour will do where there are more pictures than scene frames.
        tolerance = 4 if pictures > 1 else 44
        shown = red_of_the_sequencer(scene, round(3 + picture * pictures))
        assert shown == pytest.approx(40 * picture, abs=tolerance)


def red_of_the_sequencer(scene: Any, frame: int) -> float:
    """Red of the picture that the Video Sequencer shows on a frame, 0 to 255."""
    path = str(Path(bpy.app.tempdir) / "sequencer.png")
    scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = 48, 32, 100
    scene.view_settings.view_transform = "Standard"
    scene.render.image_settings.file_format, scene.render.filepath = "PNG", path
    scene.frame_set(frame)
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(path)
    red = image.pixels[4 * (16 * 48 + 24)] * 255
    bpy.data.images.remove(image)
    return red


def test_two_stretched_strips_do_not_cover_each_other(backend: FakeBackend, shot: Any) -> None:
    shot.frame_range, shot.first_frame, shot.last_frame = "CUSTOM", 1, 100
    make_video()
    ops.flextraj.load_result(target="STRIP")
    ops.flextraj.load_result(target="STRIP")
    assert sorted(strip.channel for strip in strips()) == [1, 2, 3, 4]


def test_a_second_strip_does_not_cover_the_first(backend: FakeBackend, shot: Any) -> None:
    make_video()
    ops.flextraj.load_result(target="STRIP")
    ops.flextraj.load_result(target="STRIP")
    assert [strip.channel for strip in strips()] == [1, 2]


def test_the_video_becomes_a_movie_clip_or_an_image_once(backend: FakeBackend, shot: Any) -> None:
    make_video()
    for _ in range(2):
        assert ops.flextraj.load_result(target="CLIP") == {"FINISHED"}
        assert ops.flextraj.load_result(target="IMAGE") == {"FINISHED"}
    assert [clip.frame_duration for clip in bpy.data.movieclips] == [FRAMES]
    assert [(image.source, image.frame_duration) for image in bpy.data.images] == [("MOVIE", FRAMES)]


def test_loading_before_anything_is_finished_says_so(backend: FakeBackend) -> None:
    with pytest.raises(RuntimeError, match="No video is finished yet"):
        ops.flextraj.load_result()


@pytest.mark.parametrize("target", ["STRIP", "CLIP", "IMAGE"])
def test_a_video_that_was_deleted_is_named(backend: FakeBackend, shot: Any, target: str) -> None:
    make_video()
    Path(runtime_state().jobs[0].video).unlink()
    with pytest.raises(RuntimeError, match="does not exist any more"):
        ops.flextraj.load_result(target=target)


@pytest.mark.parametrize("target", ["STRIP", "CLIP", "IMAGE"])
def test_a_damaged_video_is_not_loaded(backend: FakeBackend, shot: Any, target: str) -> None:
    make_video()
    Path(runtime_state().jobs[0].video).write_bytes(b"no video")
    with pytest.raises(RuntimeError, match="is not a video that Blender can read"):
        ops.flextraj.load_result(target=target)
    assert bpy.context.scene.sequence_editor is None or len(strips()) == 0
    assert (len(bpy.data.movieclips), len(bpy.data.images)) == (0, 0)


def test_a_job_taken_off_the_list_keeps_its_files(backend: FakeBackend, shot: Any) -> None:
    make_video()
    job = runtime_state().jobs[0]
    video = Path(job.video)
    assert ops.flextraj.open_output_folder(key=job.key) == {"FINISHED"}
    assert ops.flextraj.forget_job(key=job.key) == {"FINISHED"}
    assert len(runtime_state().jobs) == 0
    assert video.is_file()


# Backend and engines


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
