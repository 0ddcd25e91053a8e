"""The buttons that choose subjects, photo and camera."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

bpy = pytest.importorskip("bpy")

from addon_shot import make_video, ops  # noqa: E402
from fake_rendering import FakeBackend  # noqa: E402

from blender_addon.core.trajectory_file import read_trajectories  # noqa: E402
from blender_addon.properties import scene_settings  # noqa: E402


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
