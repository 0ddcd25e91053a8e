"""A finished video back in Blender: where it lands, and that nothing is covered or overwritten."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

bpy = pytest.importorskip("bpy")

from addon_shot import begin_sampling, make_video, ops, strips  # noqa: E402
from fake_rendering import FRAMES, FakeBackend  # noqa: E402

from blender_addon import session  # noqa: E402
from blender_addon.core.errors import ErrorCode, FlexTrajError  # noqa: E402
from blender_addon.deferred import Alert  # noqa: E402
from blender_addon.properties import runtime_state  # noqa: E402


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


def test_a_movie_clip_starts_with_the_shot(backend: FakeBackend, shot: Any) -> None:
    make_video()
    ops.flextraj.load_result(target="CLIP")
    assert bpy.data.movieclips[0].frame_start == 11
    bpy.data.movieclips[0].frame_start = 100
    ops.flextraj.load_result(target="CLIP")
    # The clip is the user's since it was loaded.
    assert bpy.data.movieclips[0].frame_start == 100


def test_the_cameras_background_is_added_to_those_that_it_has(backend: FakeBackend, shot: Any) -> None:
    make_video()
    camera = bpy.context.scene.camera.data
    mine = camera.background_images.new()
    mine.alpha = 0.25
    assert ops.flextraj.load_result(target="BACKGROUND") == {"FINISHED"}
    assert camera.show_background_images
    kept, added = camera.background_images
    assert (kept.alpha, kept.image) == (0.25, None)
    assert (added.image.source, added.image_user.frame_start) == ("MOVIE", 11)
    # One picture a scene frame, so nothing is driven.
    assert camera.animation_data is None


@pytest.mark.parametrize("last_frame", [6, 24, 600])
def test_the_cameras_background_keeps_step_with_the_rig(
    backend: FakeBackend, shot: Any, last_frame: int
) -> None:
    shot.frame_range, shot.first_frame, shot.last_frame = "CUSTOM", 3, last_frame
    make_video()
    ops.flextraj.load_result(target="BACKGROUND")
    scene = bpy.context.scene
    camera = scene.camera
    for picture in range(FRAMES):
        frame = round(3 + picture * (last_frame - 3) / (FRAMES - 1))
        scene.frame_set(frame)
        evaluated = camera.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
        user = evaluated.background_images[0].image_user
        # What Blender shows: the frame within the duration, plus the offset.
        shown = min(max(frame - user.frame_start + 1, 0), user.frame_duration) + user.frame_offset
        assert shown == pytest.approx(picture + 1, abs=1), frame
        if picture in (0, FRAMES - 1) and last_frame > 6:
            assert min(max(shown, 1), FRAMES) == picture + 1


def test_a_background_needs_a_camera(backend: FakeBackend, shot: Any) -> None:
    make_video()
    bpy.data.objects.remove(bpy.context.scene.camera)
    with pytest.raises(RuntimeError, match="has no camera"):
        ops.flextraj.load_result(target="BACKGROUND")
    assert runtime_state().error_code == "no_camera"


def test_the_video_becomes_an_image_sequence_of_single_files(backend: FakeBackend, shot: Any) -> None:
    make_video()
    assert ops.flextraj.load_result(target="SEQUENCE") == {"FINISHED"}
    image = bpy.data.images[0]
    assert image.source == "SEQUENCE"
    folder = Path(bpy.path.abspath(image.filepath)).parent
    assert folder == Path(runtime_state().jobs[0].folder) / "frames"
    assert sorted(path.name for path in folder.iterdir()) == [f"{n:04}.png" for n in range(1, FRAMES + 1)]
    assert [row.stage for row in runtime_state().jobs] == ["done"]
    ops.flextraj.load_result(target="SEQUENCE")
    assert len(list(folder.parent.glob("frames*"))) == 1


def test_pictures_that_come_while_blender_renders_wait_until_it_has(
    backend: FakeBackend, shot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_video()
    current = session.current_session()
    is_rendering = True
    monkeypatch.setattr("blender_addon.deferred.is_rendering", lambda: is_rendering)
    monkeypatch.setattr("blender_addon.operators.results.is_rendering", lambda: is_rendering)
    assert not ops.flextraj.load_result.poll()
    current.fetch_frames(runtime_state().jobs[0].key)
    current.wait_until_idle()
    assert session.poll_once() == pytest.approx(0.2)
    assert len(bpy.data.images) == 0
    is_rendering = False
    session.poll_once()
    assert [image.source for image in bpy.data.images] == ["SEQUENCE"]
    assert not current.awaited_frames


def test_pictures_and_messages_that_come_while_a_shot_is_sampled_wait_until_it_is(
    backend: FakeBackend, shot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("blender_addon.session.notify", lambda alert: told.append(alert.error.message))
    make_video()
    current = session.current_session()
    current.fetch_frames(runtime_state().jobs[0].key)
    current.wait_until_idle()
    begin_sampling(shot)
    current.alerts.append(Alert(FlexTrajError("Something failed.", ErrorCode.ENGINE)))
    assert session.poll_once() == pytest.approx(0.2)
    assert len(bpy.data.images) == 0 and not told
    current.end_sampling()
    session.poll_once()
    assert [image.source for image in bpy.data.images] == ["SEQUENCE"]
    assert told == ["Something failed."]


def test_pictures_that_are_gone_before_they_are_loaded_stop_nothing(backend: FakeBackend, shot: Any) -> None:
    make_video()
    current = session.current_session()
    key = runtime_state().jobs[0].key
    current.fetch_frames(key)
    current.wait_until_idle()
    frames = current.jobs[key].frames
    assert frames is not None
    shutil.rmtree(frames)
    session.poll_once()
    assert not current.awaited_frames


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
