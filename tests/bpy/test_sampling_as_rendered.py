"""Points and silhouettes lie on what renders, not on what the viewport shows for speed."""

from __future__ import annotations

import numpy as np
import pytest

bpy = pytest.importorskip("bpy")

from sampling_scenes import (  # noqa: E402
    add_camera,
    add_cube,
    sample,
    sample_until,
    scene,
    state_of_scene,
    view_layer,
    world_positions,
)

from blender_addon.bridge.shot_sampling import sample_shot  # noqa: E402
from blender_addon.core.errors import FlexTrajError  # noqa: E402
from blender_addon.core.sample_settings import SampleMode, SampleSettings  # noqa: E402


@pytest.fixture(autouse=True)
def _empty_scene():
    bpy.ops.wm.read_factory_settings(use_empty=True)


def _modifier_settings() -> list[tuple]:
    return [
        (
            ob.name,
            modifier.name,
            modifier.show_viewport,
            modifier.show_render,
            getattr(modifier, "levels", None),
        )
        for ob in scene().objects
        for modifier in ob.modifiers
    ]


def test_points_and_silhouettes_are_on_the_modifiers_that_render():
    add_camera()
    round_cube, sharp_cube, long_cube = add_cube("Round", (-3, 0, 0)), add_cube("Sharp"), add_cube("Long")
    subdivision = round_cube.modifiers.new("Subdivision", "SUBSURF")
    subdivision.levels, subdivision.render_levels = 0, 2
    preview = sharp_cube.modifiers.new("Preview", "SUBSURF")
    preview.levels, preview.render_levels, preview.show_render = 2, 2, False
    array = long_cube.modifiers.new("Row", "ARRAY")
    array.count, array.show_viewport = 3, False
    before = _modifier_settings()
    shot = sample(mode=SampleMode.VERTICES, points=None, first_frame=1, last_frame=2, model_frames=2)
    assert np.bincount(shot.seg_id).tolist() == [98, 8, 24]
    sharp = sample(objects=("Sharp",), first_frame=1, last_frame=2)
    assert np.abs(world_positions(sharp)[0]).max() == pytest.approx(1, abs=1e-3)
    assert _modifier_settings() == before
    state_of_scene()
    evaluated = round_cube.evaluated_get(bpy.context.evaluated_depsgraph_get())
    assert len(evaluated.data.vertices) == 8


def test_points_are_on_the_simplified_subdivision_that_renders():
    add_camera()
    subdivision = add_cube().modifiers.new("Subdivision", "SUBSURF")
    subdivision.levels, subdivision.render_levels = 1, 3
    render = scene().render
    render.use_simplify, render.simplify_subdivision, render.simplify_subdivision_render = True, 0, 2
    shot = sample(mode=SampleMode.VERTICES, points=None, first_frame=1, last_frame=2, model_frames=2)
    assert shot.point_count == 98
    assert (render.simplify_subdivision, render.simplify_subdivision_render) == (0, 2)
    assert _modifier_settings() == [("Cube", "Subdivision", True, True, 1)]


def test_points_are_on_metaballs_as_fine_as_they_render():
    add_camera()
    bpy.ops.object.metaball_add()
    ball = bpy.context.object.data
    wanted = {"mode": SampleMode.VERTICES, "points": None, "first_frame": 1, "last_frame": 2}
    ball.resolution, ball.render_resolution = 0.2, 0.2
    fine = sample(**wanted)
    ball.resolution = 1.0
    assert sample(**wanted).point_count == fine.point_count
    assert ball.resolution == 1.0


@pytest.mark.parametrize("end", ["cancel", "error"])
def test_modifiers_keep_their_viewport_settings_after_cancel_and_error(end):
    add_camera()
    cube = add_cube()
    subdivision = cube.modifiers.new("Subdivision", "SUBSURF")
    subdivision.levels, subdivision.render_levels = 0, 1
    cube.modifiers.new("Row", "ARRAY").show_viewport = False
    before = _modifier_settings()
    names = () if end == "cancel" else ("Camera",)
    steps = sample_shot(
        scene(), view_layer(), SampleSettings(points=9, objects=names, first_frame=1, last_frame=9)
    )
    if end == "cancel":
        sample_until(steps, 1)
        assert _modifier_settings() != before
        steps.close()
    else:
        with pytest.raises(FlexTrajError):
            next(steps)
    assert _modifier_settings() == before
