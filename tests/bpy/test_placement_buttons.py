"""Photo and placement, headless: what a user would lose between the buttons and the request."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

bpy = pytest.importorskip("bpy")

from drawn_panel import drawn_layout, drawn_text  # noqa: E402
from fake_rendering import FIT, SUBJECT, FakeBackend  # noqa: E402

from blender_addon.bridge.photo_files import read_mask  # noqa: E402
from blender_addon.bridge.placement import (  # noqa: E402
    of_another_photo,
    remember_painted_mask,
    sampling_key,
)
from blender_addon.bridge.shot_request import read_sample_settings  # noqa: E402
from blender_addon.core.errors import ErrorCode, FlexTrajError  # noqa: E402
from blender_addon.core.placement import apply, as_affine, compose, mirror  # noqa: E402
from blender_addon.core.request import FitMode, FitPin  # noqa: E402
from blender_addon.core.rig_overlap import rig_overlap  # noqa: E402
from blender_addon.core.trajectory_file import read_trajectories  # noqa: E402
from blender_addon.overlay.placement_view import placed_fit, placement_view  # noqa: E402
from blender_addon.panels import photo as photo_panel  # noqa: E402
from blender_addon.panels.generate import FLEXTRAJ_PT_generate  # noqa: E402
from blender_addon.panels.photo import FLEXTRAJ_PT_photo  # noqa: E402
from blender_addon.panels.placement import FLEXTRAJ_PT_placement  # noqa: E402
from blender_addon.properties import runtime_state  # noqa: E402
from flextraj_backend.image_io import read_mask as read_mask_in_backend  # noqa: E402
from flextraj_backend.image_io import write_image  # noqa: E402

ops: Any = bpy.ops
IDENTITY = np.eye(2, 3)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return write_image(tmp_path / "my photo ü.png", np.full((400, 600, 3), 90, np.uint8))


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    picture = np.zeros((200, 300), np.uint8)
    picture[60:180, 120:210] = 255
    return write_image(tmp_path / "mask.png", picture)


def stored(shot: Any) -> np.ndarray:
    return np.array(shot.placement.matrix).reshape(2, 3)


def generated(backend: FakeBackend) -> Any:
    assert ops.flextraj.generate() == {"FINISHED"}
    return backend.service.requests[-1]


# Fit to Photo


def test_generate_uses_the_fit_that_was_shown(backend: FakeBackend, shot: Any) -> None:
    assert ops.flextraj.fit_to_photo() == {"FINISHED"}
    assert np.allclose(stored(shot), as_affine(FIT.matrix), atol=1e-4)
    request = generated(backend)
    assert request.fit is FitMode.GIVEN
    assert request.fit_matrix == pytest.approx(FIT.matrix, abs=1e-4)
    subject = placement_view().subject_of(bpy.context.scene)
    assert subject is not None and np.array_equal(subject.mask, SUBJECT)
    assert subject.warnings == FIT.warnings


def test_the_fit_sees_the_first_frame_only_and_leaves_the_scene(backend: FakeBackend, shot: Any) -> None:
    bpy.context.scene.frame_set(3, subframe=0.5)
    ops.flextraj.fit_to_photo()
    assert (bpy.context.scene.frame_current, bpy.context.scene.frame_subframe) == (3, 0.5)
    path = Path(shot.photo).with_name("sent.npz")
    path.write_bytes(backend.service.sent[0])
    trajectories = read_trajectories(path)
    assert trajectories.meta.source_frames == (11.0,)
    assert trajectories.silhouette is not None and trajectories.silhouette.any()
    ops.flextraj.generate()
    whole = read_trajectories(backend.service.uploads[-2])
    assert np.array_equal(whole.positions[:1], trajectories.positions)
    assert np.array_equal(whole.traj_id, trajectories.traj_id)


def test_a_posed_rig_is_fitted_when_that_is_asked_for(backend: FakeBackend, shot: Any) -> None:
    shot.aligned = True
    ops.flextraj.fit_to_photo()
    assert not shot.aligned
    assert generated(backend).fit is FitMode.GIVEN


def test_a_refused_fit_says_why_and_changes_nothing(backend: FakeBackend, shot: Any) -> None:
    backend.service.fit_outcome = FlexTrajError("The mask is empty: paint it.", ErrorCode.MASK)
    with pytest.raises(RuntimeError, match="The mask is empty"):
        ops.flextraj.fit_to_photo()
    assert (shot.fit, runtime_state().error_code) == ("auto", "mask")


def test_a_backend_that_does_not_start_is_told(backend: FakeBackend, shot: Any) -> None:
    backend.connect_error = FlexTrajError("The backend is missing: install it.", ErrorCode.BACKEND_MISSING)
    with pytest.raises(RuntimeError, match="install it"):
        ops.flextraj.fit_to_photo()
    assert runtime_state().error_code == "backend_missing"


def test_another_size_of_the_video_moves_the_fit_along(backend: FakeBackend, shot: Any) -> None:
    ops.flextraj.fit_to_photo()
    shot.size, shot.width, shot.height = "CUSTOM", 360, 240
    assert generated(backend).fit_matrix == pytest.approx((1.5, 0, -10, 0, 1.5, 15), abs=1e-3)


def test_the_placement_can_be_given_up(backend: FakeBackend, shot: Any) -> None:
    ops.flextraj.fit_to_photo()
    ops.flextraj.reset_fit()
    request = generated(backend)
    assert (request.fit, request.fit_matrix) == (FitMode.AUTO, None)
    assert placement_view().rig is None


def test_another_photo_has_another_subject(backend: FakeBackend, shot: Any, tmp_path: Path) -> None:
    ops.flextraj.fit_to_photo()
    shot.photo = str(write_image(tmp_path / "other.png", np.zeros((40, 60, 3), np.uint8)))
    assert placement_view().subject_of(bpy.context.scene) is None


def test_a_placement_on_another_photo_is_named_until_it_is_made_anew(
    backend: FakeBackend, shot: Any, tmp_path: Path
) -> None:
    ops.flextraj.fit_to_photo()
    assert "another photo" not in drawn_text(FLEXTRAJ_PT_placement)
    first, shot.photo = shot.photo, str(write_image(tmp_path / "other.png", np.zeros((40, 60, 3), np.uint8)))
    assert "placed on another photo" in drawn_text(FLEXTRAJ_PT_placement)
    assert "placed on another photo" in drawn_text(FLEXTRAJ_PT_generate)
    shot.photo = first
    assert "another photo" not in drawn_text(FLEXTRAJ_PT_placement)
    shot.photo = str(tmp_path / "other.png")
    ops.flextraj.fit_to_photo()
    assert "another photo" not in drawn_text(FLEXTRAJ_PT_placement)


def test_a_mask_painted_over_another_photo_is_named(
    backend: FakeBackend, shot: Any, mask: Path, tmp_path: Path
) -> None:
    shot.mask = str(mask)
    remember_painted_mask(shot)
    assert not of_another_photo(shot)
    shot.photo = str(write_image(tmp_path / "other.png", np.zeros((40, 60, 3), np.uint8)))
    assert any("mask was painted" in sentence for sentence in of_another_photo(shot))
    shot.mask = ""
    assert not of_another_photo(shot)


def test_a_fit_of_a_photo_that_is_not_chosen_any_more_is_dropped(
    backend: FakeBackend, shot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = str(write_image(tmp_path / "other.png", np.zeros((40, 60, 3), np.uint8)))
    fit = backend.service.fit

    def choose_meanwhile(request: Any, give_up: Any) -> Any:
        shot.photo = other
        return fit(request, give_up)

    monkeypatch.setattr(backend.service, "fit", choose_meanwhile)
    assert ops.flextraj.fit_to_photo() == {"CANCELLED"}
    assert FitMode(shot.fit) is FitMode.AUTO
    assert placement_view().subject_of(bpy.context.scene) is None


def test_unaligned_motion_is_sent_as_the_camera_sees_it(backend: FakeBackend, shot: Any) -> None:
    ops.flextraj.fit_to_photo()
    shot.fit = "none"
    request = generated(backend)
    assert (request.fit, request.fit_matrix, request.pins) == (FitMode.NONE, None, ())
    assert not read_trajectories(backend.service.uploads[-2]).meta.aligned


# Dragging and mirroring


def test_the_rig_goes_where_it_is_dragged(backend: FakeBackend, shot: Any) -> None:
    assert ops.flextraj.place_rig(shift=(12, -5)) == {"FINISHED"}
    assert np.allclose(stored(shot), [[1, 0, 12], [0, 1, -5]])
    ops.flextraj.place_rig(scale=2.0)
    rig = placement_view().rig
    assert rig is not None
    assert np.allclose(apply(stored(shot), rig.center()), rig.center() + np.array([12, -5]), atol=1e-3)
    assert np.allclose(stored(shot)[:, :2], 2 * np.eye(2))


def test_the_scene_stays_as_it_is_when_the_rig_is_dragged(backend: FakeBackend, shot: Any) -> None:
    cube, camera = bpy.data.objects["Dancer"], bpy.context.scene.camera
    before = [list(map(tuple, ob.matrix_world)) for ob in (cube, camera)]
    ops.flextraj.place_rig(shift=(50, 50), angle=0.5)
    assert [list(map(tuple, ob.matrix_world)) for ob in (cube, camera)] == before


def test_the_motion_is_mirrored_only_on_request(backend: FakeBackend, shot: Any) -> None:
    ops.flextraj.fit_to_photo()
    assert not generated(backend).mirror
    assert not backend.service.fits[0].mirror
    rig = placement_view().rig
    assert rig is not None
    seen = rig.seen_center(stored(shot))
    ops.flextraj.mirror_motion()
    request = generated(backend)
    assert request.mirror and np.linalg.det(as_affine(request.fit_matrix)[:, :2]) > 0
    placed = compose(as_affine(request.fit_matrix), mirror(720))
    assert np.allclose(rig.seen_center(placed), seen, atol=1.0)
    ops.flextraj.mirror_motion()
    assert np.allclose(stored(shot), as_affine(FIT.matrix), atol=1e-2)


def test_the_panel_says_how_much_the_rig_covers_where_it_stands_now(backend: FakeBackend, shot: Any) -> None:
    def said() -> str:
        return drawn_text(FLEXTRAJ_PT_placement)

    ops.flextraj.fit_to_photo()
    rig = placement_view().rig
    assert rig is not None
    for mirrored in (False, True):
        if mirrored:
            ops.flextraj.mirror_motion()
        (outline,) = rig.outlines().values()
        placed = placed_fit(bpy.context, rig)  # type: ignore[arg-type]
        exact = rig_overlap([(outline, placed)], SUBJECT)
        assert 0.05 < exact < 0.95 and f"The rig covers {exact:.0%} of the subject" in said()
        assert ("Rig and subject differ." in said()) is not mirrored
        assert ("elsewhere than Fit to Photo" in said()) is mirrored
    ops.flextraj.mirror_motion()
    assert "Rig and subject differ." in said()
    ops.flextraj.place_rig(shift=(3000, 0))
    assert "The rig covers 0% of the subject" in said() and "Rig and subject differ." not in said()
    shot.fit = "auto"
    assert "The rig covers" not in said() and "elsewhere" not in said()


def test_a_mirrored_motion_is_fitted_mirrored(backend: FakeBackend, shot: Any) -> None:
    ops.flextraj.mirror_motion()
    placed = compose(as_affine(FIT.matrix), mirror(720))
    backend.service.fit_outcome = type(FIT)(tuple(placed.reshape(-1)), 0.5, (), FIT.mask_png)
    ops.flextraj.fit_to_photo()
    assert backend.service.fits[0].mirror
    assert generated(backend).fit_matrix == pytest.approx(FIT.matrix, abs=1e-3)


# Pins


def add_pin(shot: Any, place: tuple[float, float]) -> None:
    pin = shot.placement.pins.add()
    pin.segment, pin.point, pin.place = 1, 5, place
    shot.placement.pinned_sampling = sampling_key(read_sample_settings(bpy.context, shot))


def test_pins_reach_the_request_in_pixels_of_the_video(backend: FakeBackend, shot: Any) -> None:
    add_pin(shot, (0.5, 0.25))
    assert generated(backend).pins == (FitPin(1, 5, 360.0, 120.0),)
    shot.size, shot.width, shot.height = "CUSTOM", 480, 480  # the photo is cropped at its sides
    assert generated(backend).pins == (FitPin(1, 5, 240.0, 120.0),)


def test_pins_of_points_that_are_gone_are_refused_before_anything_is_sampled(
    backend: FakeBackend, shot: Any
) -> None:
    add_pin(shot, (0.5, 0.25))
    shot.points = 65
    with pytest.raises(RuntimeError, match="remove the pins"):
        ops.flextraj.generate()
    ops.flextraj.remove_pins()
    assert generated(backend).pins == ()


def test_pins_stay_when_the_tool_is_left_with_enter(backend: FakeBackend, shot: Any) -> None:
    add_pin(shot, (0.25, 0.75))
    assert ops.flextraj.edit_pins() == {"FINISHED"}
    (pin,) = shot.placement.pins
    assert (pin.segment, pin.point) == (1, 5)
    assert tuple(pin.place) == pytest.approx((0.25, 0.75), abs=1e-6)
    assert shot.fit == "given"


# Start frame


def test_the_best_start_frame_is_found_and_the_action_stays(
    backend: FakeBackend, shot: Any, photo: Path, tmp_path: Path
) -> None:
    scene, cube = bpy.context.scene, bpy.data.objects["Dancer"]
    for frame, height in ((11, 0.4), (20, 2.0), (40, 0.4)):
        cube.scale = (1.0, 1.0, height)
        cube.keyframe_insert("scale", frame=frame)
    picture = np.zeros((400, 600), np.uint8)
    picture[100:300, 250:350] = 255  # twice as high as wide
    shot.mask = str(write_image(tmp_path / "tall.png", picture))
    scene.frame_set(3)
    ranges = [tuple(action.frame_range) for action in bpy.data.actions]
    assert ops.flextraj.find_start_frame() == {"FINISHED"}
    best = runtime_state().placement.start_frames[0]
    assert best.frame == pytest.approx(20, abs=1)
    assert best.overlap > 0.9
    assert scene.frame_current == 3
    assert tuple(cube.scale)[2] == pytest.approx(0.4, abs=0.01)
    ops.flextraj.use_start_frame(frame=best.frame)
    assert (shot.frame_range, shot.first_frame, shot.last_frame) == ("CUSTOM", int(best.frame), 40)
    assert ranges == [tuple(action.frame_range) for action in bpy.data.actions]


def test_the_whole_motion_is_compared_whatever_the_frame_rate_and_although_the_subject_leaves(
    backend: FakeBackend, shot: Any, tmp_path: Path
) -> None:
    cube = bpy.data.objects["Dancer"]
    for frame, height in ((1, 0.4), (120, 2.0), (200, 0.4)):
        cube.scale = (1.0, 1.0, height)
        cube.keyframe_insert("scale", frame=frame)
    for frame, hidden in ((1, False), (180, True)):
        cube.hide_render = hidden
        cube.keyframe_insert("hide_render", frame=frame)
    picture = np.zeros((400, 600), np.uint8)
    picture[100:300, 250:350] = 255  # twice as high as wide
    shot.mask = str(write_image(tmp_path / "tall.png", picture))
    shot.frame_rate = 16.0
    assert ops.flextraj.find_start_frame() == {"FINISHED"}
    assert runtime_state().placement.start_frames[0].frame == pytest.approx(120, abs=20)


def test_a_fit_of_another_frame_is_dropped(backend: FakeBackend, shot: Any) -> None:
    ops.flextraj.fit_to_photo()
    ops.flextraj.use_start_frame(frame=12)
    assert (shot.fit, shot.first_frame, shot.last_frame) == ("auto", 12, 15)
    with pytest.raises(RuntimeError, match="earlier"):
        ops.flextraj.use_start_frame(frame=15)


def test_without_a_subject_there_is_nothing_to_compare_with(backend: FakeBackend, shot: Any) -> None:
    assert not ops.flextraj.find_start_frame.poll()
    ops.flextraj.fit_to_photo()
    assert ops.flextraj.find_start_frame.poll()


# Masks


def test_a_mask_means_the_same_to_blender_and_backend(backend: FakeBackend, mask: Path) -> None:
    images = len(bpy.data.images)
    assert np.array_equal(read_mask(mask), read_mask_in_backend(mask))
    assert len(bpy.data.images) == images


def test_a_mask_of_another_picture_is_refused_with_a_sentence(
    backend: FakeBackend, shot: Any, tmp_path: Path
) -> None:
    shot.mask = str(write_image(tmp_path / "square.png", np.full((50, 50), 255, np.uint8)))
    with pytest.raises(RuntimeError, match="50x50 px and the photo 600x400"):
        ops.flextraj.find_start_frame()
    ops.flextraj.forget_mask()
    assert shot.mask == "" and (tmp_path / "square.png").is_file()


# The photo behind the rig


def test_the_photo_is_shown_and_taken_away_without_touching_the_users_own_images(
    backend: FakeBackend, shot: Any, mask: Path
) -> None:
    camera = bpy.context.scene.camera.data
    own = camera.background_images.new()
    own.image = bpy.data.images.load(str(mask))
    images = set(bpy.data.images.keys())
    assert ops.flextraj.show_photo() == {"FINISHED"}
    ours = camera.background_images[1]
    assert (ours.frame_method, ours.display_depth) == ("CROP", "BACK")
    assert ours.scale == pytest.approx(1.0)
    shot.placement.photo_opacity = 0.25
    assert (ours.alpha, own.alpha) == (0.25, pytest.approx(0.5))
    ops.flextraj.show_photo()
    assert len(camera.background_images) == 2
    assert ops.flextraj.hide_photo() == {"FINISHED"}
    assert len(camera.background_images) == 1 and camera.background_images[0].image is own.image
    assert set(bpy.data.images.keys()) == images
    assert not ops.flextraj.hide_photo.poll()


def test_a_scene_without_camera_gets_a_sentence(backend: FakeBackend, shot: Any) -> None:
    bpy.context.scene.camera = None
    with pytest.raises(RuntimeError, match="add one"):
        ops.flextraj.show_photo()
    assert runtime_state().error_code == "no_camera"


def test_the_video_gets_the_photos_proportions(backend: FakeBackend, shot: Any, tmp_path: Path) -> None:
    shot.photo = str(write_image(tmp_path / "portrait.png", np.zeros((900, 600, 3), np.uint8)))
    assert ops.flextraj.size_from_photo() == {"FINISHED"}
    render = bpy.context.scene.render
    assert (render.resolution_x, render.resolution_y, render.resolution_percentage) == (480, 720, 100)
    assert shot.size == "SCENE"


def test_a_photo_that_is_none_is_refused_with_a_sentence(
    backend: FakeBackend, shot: Any, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"this is no image")
    shot.photo = str(broken)
    images = len(bpy.data.images)
    for button in (ops.flextraj.show_photo, ops.flextraj.size_from_photo):
        with pytest.raises(RuntimeError, match="image"):
            button()
    assert len(bpy.data.images) == images


@pytest.mark.parametrize("name", ["broken.jpg", "cut.png", "text.webp", "gone.png"])
def test_a_photo_that_cannot_be_shown_leaves_a_sentence_and_a_button_instead_of_a_gap(
    backend: FakeBackend, shot: Any, photo: Path, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    if name == "cut.png":
        path.write_bytes(photo.read_bytes()[:-40])
    elif name != "gone.png":
        path.write_bytes(b"this is no image")
    shot.photo = str(path)
    layout = drawn_layout(FLEXTRAJ_PT_photo)
    assert "picture" not in dict(layout.drawn)
    assert ("does not exist" if name == "gone.png" else "is damaged or no image") in layout.text()
    assert [(name, vars(found)) for name, found in layout.buttons] == [
        ("flextraj.pick_image", {"target": "PHOTO"})
    ]


@pytest.mark.parametrize("name", ["small.png", "small.jpg", "small.webp", "small.tif"])
def test_a_whole_photo_is_shown_in_the_panel(
    backend: FakeBackend, shot: Any, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(photo_panel, "thumbnail_icon", lambda *_: 7)  # without a window it is always 0
    pil: Any = pytest.importorskip("PIL.Image")
    pil.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(tmp_path / name)
    shot.photo = str(tmp_path / name)
    assert "picture" in dict(drawn_layout(FLEXTRAJ_PT_photo).drawn)
    (tmp_path / name).write_bytes(b"it was overwritten")
    os.utime(tmp_path / name, (1, 1))
    assert "picture" not in dict(drawn_layout(FLEXTRAJ_PT_photo).drawn)
