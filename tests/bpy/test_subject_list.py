"""The list of subjects: what an animator would lose if it held, coloured or followed the wrong objects."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

bpy = pytest.importorskip("bpy")

from addon_shot import make_video, ops  # noqa: E402
from fake_rendering import FakeBackend  # noqa: E402

from blender_addon.bridge.compat import animation_curves  # noqa: E402
from blender_addon.bridge.keyframes import keyframe_times, marker_times  # noqa: E402
from blender_addon.bridge.segment_list import list_segments  # noqa: E402
from blender_addon.bridge.shot_request import read_sample_settings  # noqa: E402
from blender_addon.bridge.shot_sampling import run_to_end, sample_shot  # noqa: E402
from blender_addon.core.id_coding import trajectory_colors  # noqa: E402
from blender_addon.core.trajectory_file import read_trajectories  # noqa: E402


def add(name: str, place: tuple[float, float, float], collection: Any = None) -> Any:
    bpy.ops.mesh.primitive_cube_add(size=0.5, location=place)
    ob: Any = bpy.context.object
    ob.name = name
    if collection is not None:
        for owner in list(ob.users_collection):
            owner.objects.unlink(ob)
        collection.objects.link(ob)
    return ob


def add_rig(*names: str) -> Any:
    scene: Any = bpy.context.scene
    rig = bpy.data.objects.new("Rig", bpy.data.armatures.new("Rig"))
    scene.collection.objects.link(rig)
    for index, name in enumerate(names):
        add(name, (index - 1.0, 0, 1)).modifiers.new("Armature", "ARMATURE").object = rig
    return rig


def add_set() -> Any:
    collection = bpy.data.collections.new("Set")
    bpy.context.scene.collection.children.link(collection)
    add("Ground", (0, 1, -1), collection)
    add("Crate", (1, 1, 0), collection)
    return collection


def listed(settings: Any) -> list[str]:
    return [row.object.name for row in settings.subjects]


def test_a_rig_is_added_as_the_meshes_that_it_deforms(backend: FakeBackend, shot: Any) -> None:
    rig = add_rig("Body", "Hair")
    bpy.context.view_layer.objects.active = bpy.data.objects["Hair"]
    assert ops.flextraj.add_rig() == {"FINISHED"}
    assert (shot.source, listed(shot)) == ("LIST", ["Body", "Hair"])
    assert ops.flextraj.add_rig() == {"CANCELLED"}
    ops.flextraj.remove_subject()
    shot.picked_object = rig
    assert listed(shot) == ["Body", "Hair"]
    assert shot.picked_object is None


def test_a_collection_is_added_whole_and_once(backend: FakeBackend, shot: Any) -> None:
    collection = add_set()
    assert ops.flextraj.add_collection(name="Set") == {"FINISHED"}
    shot.picked_collection = collection
    assert listed(shot) == ["Ground", "Crate"]
    assert shot.picked_collection is None


def test_the_character_becomes_a_list_with_one_click(backend: FakeBackend, shot: Any) -> None:
    shot.character = add_rig("Body", "Hair")
    ops.flextraj.list_subjects()
    assert (shot.source, listed(shot)) == ("LIST", ["Body", "Hair"])


def test_a_row_that_is_not_included_is_not_followed(backend: FakeBackend, shot: Any) -> None:
    add_set()
    ops.flextraj.add_collection(name="Set")
    shot.subjects[1].include = False
    make_video()
    segments = read_trajectories(backend.service.uploads[0]).meta.segments
    assert [segment.name for segment in segments] == ["Ground"]
    shot.subjects[0].include = False
    assert not ops.flextraj.generate.poll()


def test_own_points_and_painted_density_reach_the_sampling(backend: FakeBackend, shot: Any) -> None:
    add_set()
    ops.flextraj.add_collection(name="Set")
    shot.subjects[0].points = 30
    shot.subject_index = 1
    assert ops.flextraj.paint_density() == {"FINISHED"}
    row = shot.subjects[1]
    group = row.object.vertex_groups[row.vertex_group]
    group.add([vertex.index for vertex in row.object.data.vertices if vertex.co.z < 0], 0.0, "REPLACE")
    make_video()
    trajectories = read_trajectories(backend.service.uploads[0])
    names = [segment.name for segment in trajectories.meta.segments]
    counts = dict(zip(names, np.bincount(trajectories.seg_id).tolist(), strict=True))
    assert counts == {"Ground": 30, "Crate": 64}
    crate = trajectories.positions[0, trajectories.seg_id == names.index("Crate"), 1]
    assert np.mean(crate < trajectories.meta.height / 2) > 0.7  # the crate's middle is at the camera's height


def test_painting_again_keeps_the_paint(backend: FakeBackend, shot: Any) -> None:
    ops.flextraj.list_subjects()
    ops.flextraj.paint_density()
    group = bpy.data.objects["Dancer"].vertex_groups[shot.subjects[0].vertex_group]
    group.add([0], 0.25, "REPLACE")
    ops.flextraj.paint_density()
    assert len(bpy.data.objects["Dancer"].vertex_groups) == 1
    assert group.weight(0) == 0.25


@pytest.mark.parametrize("segment_by", ["object", "collection", "material"])
@pytest.mark.parametrize("prop", [None, "Ground", "Crate"])
def test_chips_have_the_colours_of_the_id_video(
    backend: FakeBackend, shot: Any, segment_by: str, prop: str | None
) -> None:
    add_set()
    for name in ("Dancer", "Crate"):
        bpy.data.objects[name].data.materials.append(bpy.data.materials.new(f"{name} paint"))
    bpy.data.objects["Dancer"].select_set(True)
    shot.segment_by = segment_by
    ops.flextraj.add_subjects()
    ops.flextraj.add_collection(name="Set")
    hidden = add("Hidden", (0, 0, 3))
    shot.picked_object = hidden
    for row in shot.subjects:
        row.background = row.object.name == prop
        row.include = row.object.name != "Hidden"
    context: Any = bpy.context
    settings = read_sample_settings(context, shot)
    expected = list_segments(context.scene, context.view_layer, settings)
    sampled = run_to_end(sample_shot(context.scene, context.view_layer, settings))
    segments = sampled.meta.segments
    assert [segment.name for segment in expected] == [segment.name for segment in segments]
    assert [segment.background for segment in expected] == [segment.background for segment in segments]
    colors = trajectory_colors(sampled).astype(float)
    for index, segment in enumerate(expected):
        mean = colors[sampled.seg_id == index].mean(axis=0)
        tolerance = 40 if segment.background else 1  # background segments share one run of TrajIDs
        np.testing.assert_allclose(segment.color, mean, atol=tolerance)
        assert segment.color[0] == round(mean[0])


def test_a_file_of_an_earlier_version_keeps_its_list(backend: FakeBackend, shot: Any) -> None:
    # What such a file has stored: no 'include', and a share of the frames.
    item = shot.subjects.add()
    item.object = bpy.data.objects["Dancer"]
    shot.source, shot.keep_frames = "LIST", 0.5
    assert "include" not in dict(item.items())
    make_video()
    request = backend.service.requests[0]
    assert (request.keep_frames, request.kept_frames) == (0.5, None)


def test_keyframes_are_those_of_what_moves_the_subject() -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    rig = add_rig("Body")
    rig.keyframe_insert("location", frame=3)
    rig.keyframe_insert("location", frame=8.5)
    body = bpy.data.objects["Body"]
    body.shape_key_add(name="Basis")
    key = body.shape_key_add(name="Smile")
    key.keyframe_insert("value", frame=20)
    other = add("Other", (0, 0, 0))
    other.keyframe_insert("location", frame=99)
    assert keyframe_times([body]) == (3.0, 8.5, 20.0)
    animation = rig.animation_data
    for curve in animation_curves(animation.action, getattr(animation, "action_slot", None)):
        curve.mute = True
    assert keyframe_times([body]) == (20.0,)


def test_keyframes_in_the_nla_are_where_it_plays_them() -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    body = add("Body", (0, 0, 0))
    for frame in (1, 5, 11):
        body.keyframe_insert("location", frame=frame)
    action = body.animation_data.action
    track = body.animation_data.nla_tracks.new()
    strip = track.strips.new("Walk", 101, action)
    body.animation_data.action = None
    assert keyframe_times([body]) == (101.0, 105.0, 111.0)
    strip.scale = 2.0
    assert keyframe_times([body]) == (101.0, 109.0, 121.0)
    strip.use_reverse = True
    assert keyframe_times([body]) == (101.0, 113.0, 121.0)
    strip.use_reverse, strip.scale, strip.repeat = False, 1.0, 2.0
    assert keyframe_times([body]) == (101.0, 105.0, 111.0, 115.0, 121.0)
    track.mute = True
    assert keyframe_times([body]) == ()


def test_markers_are_read_from_the_timeline(backend: FakeBackend) -> None:
    for frame in (9, 4, 9):
        bpy.context.scene.timeline_markers.new("Pose", frame=frame)
    assert marker_times(bpy.context.scene) == (4.0, 9.0)  # type: ignore[arg-type]
