"""SegIDs and TrajIDs of Blender scenes: an object that changes its colour in the ID video breaks a shot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

bpy = pytest.importorskip("bpy")

from sampling_scenes import (  # noqa: E402
    add_camera,
    add_cube,
    sample,
    scene,
    two_cubes,
    world_positions,
)

from blender_addon.bridge.seg_ids import SEG_ID_PROPERTY, assign_seg_ids  # noqa: E402
from blender_addon.core.sample_settings import (  # noqa: E402
    SegmentBy,
)


@pytest.fixture(autouse=True)
def _empty_scene():
    bpy.ops.wm.read_factory_settings(use_empty=True)


def _same_points(one, two) -> bool:
    return (
        np.array_equal(one.positions, two.positions)
        and np.array_equal(one.seg_id, two.seg_id)
        and np.array_equal(one.traj_id, two.traj_id)
        and [s.id for s in one.meta.segments] == [s.id for s in two.meta.segments]
    )


@pytest.mark.parametrize("segment_by", list(SegmentBy))
def test_points_are_the_same_after_saving_and_loading(tmp_path: Path, segment_by):
    two_cubes()
    before = sample(segment_by=segment_by)
    path = tmp_path / "scene.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.wm.open_mainfile(filepath=str(path))
    assert _same_points(before, sample(segment_by=segment_by))


@pytest.mark.parametrize("segment_by", list(SegmentBy))
def test_points_are_the_same_after_renaming(segment_by):
    two_cubes()
    for index, ob in enumerate(ob for ob in scene().objects if ob.type == "MESH"):
        ob.data.materials.append(bpy.data.materials.new(f"Paint {index}"))
    before = sample(segment_by=segment_by)
    bpy.data.objects["Ant"].name = "Zulu"
    bpy.data.objects["Zebra"].name = "Aardvark"
    bpy.data.materials["Paint 0"].name = "Zinc"
    after = sample(segment_by=segment_by)
    assert _same_points(before, after)
    if segment_by is SegmentBy.OBJECT:
        assert [segment.name for segment in after.meta.segments] == ["Aardvark", "Zulu"]


def test_points_are_the_same_after_undo():
    two_cubes()
    before = sample()
    with bpy.context.temp_override(window=bpy.context.window_manager.windows[0]):
        bpy.ops.ed.undo_push(message="before")
        bpy.data.objects["Ant"].location.z += 3
        add_cube("New")
        bpy.ops.ed.undo_push(message="after")
        bpy.ops.ed.undo()
    assert "New" not in bpy.data.objects
    assert _same_points(before, sample())


def test_another_object_leaves_the_points_of_the_others_alone():
    two_cubes()
    alone = sample(objects=("Zebra",))
    add_cube("New", (0, 3, 0))
    together = sample()
    kept = together.seg_id == 0
    assert np.array_equal(alone.positions, together.positions[:, kept])


def test_another_seed_gives_other_points():
    two_cubes()
    assert not np.array_equal(sample(seed=1).positions, sample(seed=2).positions)


def test_assigned_ids_stay_when_objects_are_deleted_and_a_duplicate_gets_its_own():
    two_cubes()
    third = add_cube("Third", (0, 3, 0))
    assert assign_seg_ids(list(scene().objects)) == {"Zebra": 0, "Ant": 1, "Third": 2}
    bpy.data.objects.remove(bpy.data.objects["Zebra"])
    copy = third.copy()
    copy.name = "Copy"
    scene().collection.objects.link(copy)
    assert copy[SEG_ID_PROPERTY] == 2
    ids = {segment.name: segment.id for segment in sample().meta.segments}
    assert ids == {"Ant": 1, "Third": 2, "Copy": 0}
    assert assign_seg_ids([copy]) == {"Copy": 0}
    assert copy[SEG_ID_PROPERTY] == 0
    assert third[SEG_ID_PROPERTY] == 2


def test_collections_and_materials_can_be_the_segments():
    add_camera()
    red, blue = bpy.data.materials.new("Red"), bpy.data.materials.new("Blue")
    one, two = add_cube("One", (-2, 0, 0)), add_cube("Two", (2, 0, 0))
    for ob in (one, two):
        ob.data.materials.append(red)
        ob.data.materials.append(blue)
        for face in list(ob.data.polygons)[:2]:
            face.material_index = 1
    props = bpy.data.collections.new("Props")
    scene().collection.children.link(props)
    scene().collection.objects.unlink(two)
    props.objects.link(two)
    by_collection = sample(segment_by=SegmentBy.COLLECTION, first_frame=1, last_frame=2)
    assert [segment.name for segment in by_collection.meta.segments] == ["Scene Collection", "Props"]
    by_material = sample(segment_by=SegmentBy.MATERIAL, points=600, first_frame=1, last_frame=2)
    assert [segment.name for segment in by_material.meta.segments] == ["Red", "Blue"]
    world = world_positions(by_material)[0]
    for index in range(2):
        side = world[by_material.seg_id == index, 0] > 0
        assert side.mean() == pytest.approx(0.5, abs=0.02)


def test_meshes_of_one_rig_are_one_subject_and_the_ground_is_background():
    add_camera()
    bpy.ops.object.armature_add()
    rig = bpy.context.object
    body, hat, ground = add_cube("Body"), add_cube("Hat", (0, 0, 2), 1.0), add_cube("Ground", (0, 0, -2))
    body.modifiers.new("Armature", "ARMATURE").object = rig
    hat.parent, hat.parent_type, hat.parent_bone = rig, "BONE", "Bone"
    shot = sample(background=("Ground",), first_frame=1, last_frame=2)
    found = {segment.name: (segment.group, segment.background) for segment in shot.meta.segments}
    assert found == {"Body": (0, False), "Hat": (0, False), "Ground": (1, True)}
    named = sample(objects=(rig.name,), first_frame=1, last_frame=2)
    assert [segment.name for segment in named.meta.segments] == ["Body", "Hat"]
    del ground
