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

from blender_addon.bridge.seg_ids import SEG_ID_PROPERTY, assign_seg_ids, resolve_seg_ids  # noqa: E402
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


def _duplicate(ob):
    """As Shift-D does."""
    bpy.ops.object.select_all(action="DESELECT")
    ob.select_set(True)
    bpy.context.view_layer.objects.active = ob
    bpy.ops.object.duplicate()
    copy = bpy.context.object
    assert copy[SEG_ID_PROPERTY] == ob[SEG_ID_PROPERTY]
    return copy


def _move_to_last_collection(*objects) -> None:
    last = bpy.data.collections.new("Last")
    scene().collection.children.link(last)
    for ob in objects:
        ob.users_collection[0].objects.unlink(ob)
        last.objects.link(ob)


def _reload(path: Path) -> None:
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.wm.open_mainfile(filepath=str(path))


def _ids() -> dict[str, int]:
    by_uid = resolve_seg_ids(scene())
    return {ob.name: by_uid[ob.session_uid] for ob in scene().objects if ob.session_uid in by_uid}


def test_an_assigned_id_stays_with_the_original_when_it_moves_behind_its_duplicate(tmp_path: Path):
    two_cubes()
    assign_seg_ids(list(scene().objects))
    zebra = bpy.data.objects["Zebra"]
    assert _duplicate(zebra).name == "Zebra.001"
    _move_to_last_collection(zebra)
    expected = {"Zebra": 0, "Ant": 1, "Zebra.001": 2}
    assert _ids() == expected
    _reload(tmp_path / "scene.blend")
    assert _ids() == expected


def test_an_assigned_id_stays_with_a_renamed_original(tmp_path: Path):
    two_cubes()
    assign_seg_ids(list(scene().objects))
    zebra = bpy.data.objects["Zebra"]
    _duplicate(zebra)
    zebra.name = "Zoo"
    _move_to_last_collection(zebra)
    expected = {"Zoo": 0, "Ant": 1, "Zebra.001": 2}
    assert _ids() == expected
    _reload(tmp_path / "scene.blend")
    assert _ids() == expected


def test_an_assigned_id_stays_with_the_original_when_its_duplicate_takes_its_name(tmp_path: Path):
    two_cubes()
    assign_seg_ids(list(scene().objects))
    zebra = bpy.data.objects["Zebra"]
    copy = _duplicate(zebra)
    zebra.name = "Zoo"
    copy.name = "Zebra"
    _move_to_last_collection(zebra)
    expected = {"Zoo": 0, "Ant": 1, "Zebra": 2}
    assert _ids() == expected
    assign_seg_ids([zebra])
    assert copy[SEG_ID_PROPERTY] == 2
    _reload(tmp_path / "scene.blend")
    assert _ids() == expected


def test_an_assigned_id_stays_with_the_original_after_undo():
    two_cubes()
    assign_seg_ids(list(scene().objects))
    with bpy.context.temp_override(window=bpy.context.window_manager.windows[0]):
        _duplicate(bpy.data.objects["Zebra"])
        _move_to_last_collection(bpy.data.objects["Zebra"])
        bpy.ops.ed.undo_push(message="before")
        add_cube("New")
        bpy.ops.ed.undo_push(message="after")
        bpy.ops.ed.undo()
    assert _ids() == {"Zebra": 0, "Ant": 1, "Zebra.001": 2}


def test_an_id_stored_by_hand_stays_with_the_older_object():
    two_cubes()
    zebra = bpy.data.objects["Zebra"]
    zebra[SEG_ID_PROPERTY] = 7
    _duplicate(zebra)
    _move_to_last_collection(zebra)
    assert _ids()["Zebra"] == 7


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


@pytest.mark.parametrize("segment_by", [SegmentBy.COLLECTION, SegmentBy.MATERIAL])
def test_choosing_fewer_objects_leaves_ids_and_points_of_their_collections_and_materials_alone(segment_by):
    add_camera()
    for index, name in enumerate(("One", "Two", "Three")):
        cube = add_cube(name, (3 * index - 3, 0, 0))
        cube.data.materials.append(bpy.data.materials.new(f"Paint {name}"))
        collection = bpy.data.collections.new(f"Set {name}")
        scene().collection.children.link(collection)
        scene().collection.objects.unlink(cube)
        collection.objects.link(cube)
    every = sample(segment_by=segment_by, first_frame=1, last_frame=2)
    last = sample(objects=("Three",), segment_by=segment_by, first_frame=1, last_frame=2)
    assert last.meta.segments[0].id == every.meta.segments[2].id
    assert last.meta.segments[0].name.endswith("Three")
    assert np.array_equal(last.positions, every.positions[:, every.seg_id == 2])
    bpy.data.objects["One"].hide_render = True
    fewer = sample(segment_by=segment_by, first_frame=1, last_frame=2)
    assert fewer.meta.segments[-1].id == every.meta.segments[2].id


def test_materials_of_instanced_objects_keep_their_ids_when_fewer_objects_are_chosen():
    add_camera()
    source = bpy.data.collections.new("Source")
    for name in ("Plain", "Painted"):
        cube = add_cube(name, (len(name), 0, 0))
        scene().collection.objects.unlink(cube)
        source.objects.link(cube)
    cube.data.materials.append(bpy.data.materials.new("Paint"))
    instancer = bpy.data.objects.new("Instancer", None)
    instancer.instance_type, instancer.instance_collection = "COLLECTION", source
    add_cube("First").data.materials.append(bpy.data.materials.new("First paint"))
    scene().collection.objects.link(instancer)
    wanted = {"segment_by": SegmentBy.MATERIAL, "first_frame": 1, "last_frame": 2}
    every, one = sample(**wanted).meta.segments, sample(objects=("Instancer",), **wanted).meta.segments
    assert [(segment.id, segment.name) for segment in every] == [
        (0, "First paint"),
        (1, "No Material"),
        (2, "Paint"),
    ]
    assert [(segment.id, segment.name) for segment in one] == [(1, "No Material"), (2, "Paint")]


def _nodes_that_set(material):
    tree = bpy.data.node_groups.new("Nodes", "GeometryNodeTree")
    tree.interface.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    cube = tree.nodes.new("GeometryNodeMeshCube")
    paint = tree.nodes.new("GeometryNodeSetMaterial")
    paint.inputs["Material"].default_value = material
    output = tree.nodes.new("NodeGroupOutput")
    tree.links.new(cube.outputs["Mesh"], paint.inputs["Geometry"])
    tree.links.new(paint.outputs["Geometry"], output.inputs["Geometry"])
    return tree


@pytest.mark.parametrize("segment_by", list(SegmentBy))
def test_what_geometry_nodes_make_and_paint_keeps_its_ids_when_fewer_objects_are_chosen(segment_by):
    add_camera()
    for name, x in (("One", -2), ("Two", 2)):
        cube = add_cube(name, (x, 0, 0))
        cube.modifiers.new("Nodes", "NODES").node_group = _nodes_that_set(
            bpy.data.materials.new(f"Paint {name}")
        )
    volume = bpy.data.objects.new("Smoke", bpy.data.volumes.new("Smoke"))
    scene().collection.objects.link(volume)
    volume.modifiers.new("Nodes", "NODES").node_group = _nodes_that_set(bpy.data.materials.new("Paint Smoke"))
    wanted = {"segment_by": segment_by, "first_frame": 1, "last_frame": 2}
    every = {segment.name: segment.id for segment in sample(**wanted).meta.segments}
    two = sample(objects=("Two",), **wanted).meta.segments
    assert len(every) == (1 if segment_by is SegmentBy.COLLECTION else 3)
    assert [every[segment.name] for segment in two] == [two[0].id]


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
