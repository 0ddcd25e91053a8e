"""Points of single subjects: what an animator would lose if numbers and paint did not reach the sampling."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

bpy = pytest.importorskip("bpy")

from sampling_scenes import add_camera, add_cube, animate_location, sample, scene  # noqa: E402

from blender_addon.core.errors import FlexTrajError  # noqa: E402
from blender_addon.core.sample_settings import SampleMode, SegmentBy, SubjectDensity  # noqa: E402


@pytest.fixture(autouse=True)
def shot() -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    add_camera()
    animate_location(add_cube("Body", (-2, 0, 0)), 1, 5)
    animate_location(add_cube("Prop", (2, 0, 0)), 1, 5)


def paint(ob: Any, weight_of: Any, name: str = "Density") -> None:
    group = ob.vertex_groups.new(name=name)
    for vertex in ob.data.vertices:
        group.add([vertex.index], weight_of(vertex.co), "REPLACE")


def counts(**settings: Any) -> dict[str, int]:
    trajectories = sample(model_frames=2, **settings)
    names = [segment.name for segment in trajectories.meta.segments]
    return dict(zip(names, np.bincount(trajectories.seg_id, minlength=len(names)).tolist(), strict=True))


def test_a_subject_gets_the_points_that_were_asked_for_it_and_the_others_theirs() -> None:
    assert counts(points=50, densities=(SubjectDensity("Prop", points=7),)) == {"Body": 50, "Prop": 7}


def test_other_subjects_keep_their_points_when_one_gets_more() -> None:
    even = sample(model_frames=2, points=50)
    more = sample(model_frames=2, points=50, densities=(SubjectDensity("Prop", points=90),))
    body = even.seg_id == 0
    np.testing.assert_array_equal(even.positions[:, body], more.positions[:, more.seg_id == 0])


def test_a_rig_stands_for_all_meshes_that_it_deforms() -> None:
    armature = bpy.data.objects.new("Rig", bpy.data.armatures.new("Rig"))
    scene().collection.objects.link(armature)
    for name in ("Body", "Prop"):
        bpy.data.objects[name].modifiers.new("Armature", "ARMATURE").object = armature
    assert counts(points=50, objects=("Rig",), densities=(SubjectDensity("Rig", points=9),)) == {
        "Body": 9,
        "Prop": 9,
    }


def test_of_several_numbers_on_one_segment_the_largest_counts() -> None:
    densities = (SubjectDensity("Body", points=30), SubjectDensity("Prop", points=20))
    found = counts(points=50, segment_by=SegmentBy.COLLECTION, densities=densities)
    assert list(found.values()) == [30]


@pytest.mark.parametrize("with_modifier", [False, True])
def test_points_lie_where_the_weight_is_painted(with_modifier: bool) -> None:
    body = bpy.data.objects["Body"]
    paint(body, lambda co: 1.0 if co.z > 0 else 0.0)
    if with_modifier:
        body.modifiers.new("Subdivision", "SUBSURF").render_levels = 2
    trajectories = sample(
        model_frames=2,
        objects=("Body",),
        points=400,
        densities=(SubjectDensity("Body", vertex_group="Density"),),
    )
    even = sample(model_frames=2, objects=("Body",), points=400)
    middle = trajectories.meta.height / 2  # of the picture, where the cube's middle is

    def share_above(found: Any) -> float:
        return float(np.mean(found.positions[0, :, 1] < middle))

    assert trajectories.point_count == 400
    assert share_above(even) == pytest.approx(0.5, abs=0.05)
    # All of the top face (1/6 of the surface), nothing of the bottom, and 3/4 of what the sides have.
    assert share_above(trajectories) > 0.8


def test_vertices_follow_the_paint_too() -> None:
    paint(bpy.data.objects["Body"], lambda co: 1.0 if co.x > 0 else 0.0)
    found = counts(
        mode=SampleMode.VERTICES,
        points=None,
        objects=("Body",),
        densities=(SubjectDensity("Body", vertex_group="Density"),),
    )
    assert found == {"Body": 4}


def test_a_missing_group_and_empty_paint_are_said() -> None:
    with pytest.raises(FlexTrajError, match="'Body' has no vertex group 'Density'"):
        sample(densities=(SubjectDensity("Body", vertex_group="Density"),))
    paint(bpy.data.objects["Body"], lambda co: 0.0)
    with pytest.raises(FlexTrajError, match="'Body' would get no points"):
        sample(densities=(SubjectDensity("Body", vertex_group="Density"),))
    with pytest.raises(FlexTrajError, match="'Body' cannot get 0 points"):
        sample(densities=(SubjectDensity("Body", points=0),))
    with pytest.raises(FlexTrajError, match="segment can hold 65536"):
        sample(densities=(SubjectDensity("Body", points=65_537),))
