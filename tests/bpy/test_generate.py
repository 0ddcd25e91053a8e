"""Generate, headless, from scene and photo to a finished job; the backend is plain Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

bpy = pytest.importorskip("bpy")

from addon_shot import MODEL_FRAMES, make_video, ops  # noqa: E402
from fake_rendering import FakeBackend  # noqa: E402

from blender_addon.client.messages import JobState, JobStatus  # noqa: E402
from blender_addon.core.errors import ErrorCode, FlexTrajError  # noqa: E402
from blender_addon.core.request import FitMode  # noqa: E402
from blender_addon.core.trajectory_file import read_trajectories  # noqa: E402
from blender_addon.properties import runtime_state  # noqa: E402


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
    # A posed rig lies over the photo already: the automatic fit leaves it there.
    assert (request.seed, request.prompt, request.fit) == (7, "a dancer", FitMode.AUTO)


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


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda s: setattr(s, "character", None), "No character is chosen"),
        (lambda s: setattr(s, "photo", ""), "No photo is chosen"),
        (lambda s: setattr(bpy.context.scene, "camera", None), "The scene has no camera"),
        (lambda s: setattr(s, "source", "LIST"), "The list has no subject that is included"),
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
