"""The frame range of a shot: what an animator would lose if motion were cut off or nothing were sampled."""

from __future__ import annotations

import pytest

bpy = pytest.importorskip("bpy")

from sampling_scenes import add_camera, add_cube, animate_location, scene  # noqa: E402

from blender_addon.bridge.shot_sampling import choose_frames  # noqa: E402
from blender_addon.core.errors import ErrorCode, FlexTrajError  # noqa: E402
from blender_addon.core.sample_settings import SampleSettings  # noqa: E402


@pytest.fixture(autouse=True)
def _empty_scene():
    bpy.ops.wm.read_factory_settings(use_empty=True)


def _ends(*objects: str, camera: str | None = None) -> tuple[float, float]:
    frames = choose_frames(scene(), SampleSettings(objects=objects, camera=camera)).source_frames
    return frames[0], frames[-1]


def _add_empty(name: str):
    empty = bpy.data.objects.new(name, None)
    scene().collection.objects.link(empty)
    return empty


@pytest.mark.parametrize("objects", [(), ("Cube",)])
def test_a_camera_that_moves_past_a_static_blockout_is_sampled_over_its_move(objects):
    camera = add_camera()
    add_cube()
    animate_location(camera, 5, 40)
    assert _ends(*objects) == (5, 40)


def test_a_zoom_on_a_static_blockout_is_sampled_from_start_to_end():
    camera = add_camera()
    add_cube()
    for frame, lens in ((5, 35), (40, 85)):
        camera.data.lens = lens
        camera.data.keyframe_insert("lens", frame=frame)
    assert _ends("Cube") == (5, 40)


def test_the_move_of_the_chosen_camera_counts_and_that_of_another_does_not():
    animate_location(add_camera(), 5, 40)
    other = add_camera((0, -20, 0))
    other.name = "Other"
    animate_location(other, 60, 90)
    scene().camera = bpy.data.objects["Camera"]
    add_cube()
    assert _ends("Cube") == (5, 40)
    assert _ends("Cube", camera="Other") == (60, 90)
    scene().timeline_markers.new("Start", frame=1).camera = bpy.data.objects["Camera"]
    scene().timeline_markers.new("Cut", frame=60).camera = other
    assert _ends("Cube") == (5, 90)
    with pytest.raises(FlexTrajError) as caught:
        _ends("Cube", camera="Third")
    assert caught.value.code is ErrorCode.NO_CAMERA


@pytest.mark.parametrize("mover", ["target", "parent of target", "hook", "camera's target"])
def test_a_subject_that_something_else_moves_is_sampled_over_that_motion(mover):
    camera = add_camera()
    cube, moving = add_cube(), _add_empty("Moving")
    animate_location(moving, 5, 40)
    if mover == "target":
        cube.constraints.new("COPY_LOCATION").target = moving
    elif mover == "parent of target":
        bpy.ops.object.armature_add()
        between = bpy.context.object
        between.parent = moving
        cube.constraints.new("ARMATURE").targets.new().target = between
    elif mover == "hook":
        cube.modifiers.new("Hook", "HOOK").object = moving
    else:
        camera.constraints.new("TRACK_TO").target = moving
    assert _ends("Cube") == (5, 40)


def test_a_rig_that_follows_animated_controls_is_sampled_over_their_motion():
    add_camera()
    bpy.ops.object.armature_add()
    rig = bpy.context.object
    cube, hand, elbow = add_cube(), _add_empty("Hand"), _add_empty("Elbow")
    cube.modifiers.new("Armature", "ARMATURE").object = rig
    inverse_kinematics = rig.pose.bones["Bone"].constraints.new("IK")
    inverse_kinematics.target, inverse_kinematics.pole_target = hand, elbow
    animate_location(hand, 5, 30)
    animate_location(elbow, 20, 40)
    assert _ends("Cube") == (5, 40)
    assert _ends(rig.name) == (5, 40)
    inverse_kinematics.mute = True
    assert _ends("Cube") == (1, 250)


def test_objects_that_constrain_each_other_have_a_range():
    add_camera()
    one, two = add_cube("One"), add_cube("Two")
    one.constraints.new("COPY_ROTATION").target = two
    two.constraints.new("TRACK_TO").target = one
    animate_location(two, 5, 40)
    assert _ends("One") == (5, 40)
