"""Sampled points in the viewport: they would stay when they should go, or take the session down with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

bpy = pytest.importorskip("bpy")

from sampling_scenes import scene, state_of_scene, two_cubes  # noqa: E402

import blender_addon  # noqa: E402
from blender_addon.bridge.placement import known_placement, requested_fit, store_fit  # noqa: E402
from blender_addon.bridge.shot_request import conditioning_settings, read_sample_settings  # noqa: E402
from blender_addon.core.conditioning import ColorCue  # noqa: E402
from blender_addon.core.errors import ErrorCode, FlexTrajError  # noqa: E402
from blender_addon.core.placement import as_affine, compose, mirror  # noqa: E402
from blender_addon.overlay import viewport  # noqa: E402
from blender_addon.overlay.lifecycle import release_buffers  # noqa: E402
from blender_addon.overlay.viewport import (  # noqa: E402
    is_sampled_anew,
    overlay_settings,
    shot_of,
    viewport_overlay,
)
from blender_addon.properties import runtime_state, scene_settings  # noqa: E402

FRAMES, POINTS = 5, 40
ops: Any = bpy.ops


@pytest.fixture(autouse=True)
def addon() -> Iterator[None]:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    blender_addon.register()
    yield
    blender_addon.unregister()
    assert viewport_overlay().shot is None


@pytest.fixture
def settings() -> Any:
    """Two cubes that move in front of a camera, chosen; no photo."""
    two_cubes()
    scene().frame_set(4, subframe=0.5)
    chosen = scene_settings(scene())
    chosen.source = "LIST"
    for name in ("Ant", "Zebra"):
        chosen.subjects.add().object = scene().objects[name]
    chosen.points, chosen.frames = POINTS, FRAMES
    return chosen


def sample_points() -> Any:
    assert ops.flextraj.sample_points() == {"FINISHED"}
    shot = shot_of(scene())
    assert shot is not None
    return shot


def test_points_are_sampled_and_shown_without_photo_and_backend(settings: Any) -> None:
    before = state_of_scene()
    shot = sample_points()
    assert (shot.frame_count, shot.point_count) == (FRAMES, 2 * POINTS)
    assert overlay_settings().show_points
    assert state_of_scene() == before
    assert not runtime_state().is_sampling and len(runtime_state().jobs) == 0


def test_sampling_again_replaces_the_points(settings: Any) -> None:
    sample_points()
    settings.points = 17
    assert sample_points().point_count == 34


def test_what_cannot_be_sampled_says_why(settings: Any) -> None:
    scene().camera = None
    with pytest.raises(RuntimeError, match="camera"):
        ops.flextraj.sample_points()
    assert shot_of(scene()) is None


def test_a_failure_while_sampling_keeps_the_points_of_before(settings: Any) -> None:
    shot = sample_points()
    settings.frame_range = "CUSTOM"
    settings.first_frame, settings.last_frame = 1, 9
    scene().objects["Ant"].scale = (0, 0, 0)
    with pytest.raises(RuntimeError, match="Ant"):
        ops.flextraj.sample_points()
    assert shot_of(scene()) is shot
    assert "Ant" in runtime_state().error_text


def test_points_of_one_scene_do_not_show_in_another(settings: Any) -> None:
    sample_points()
    assert shot_of(bpy.data.scenes.new("Other")) is None


def test_another_file_takes_the_points_away(settings: Any, tmp_path: Path) -> None:
    sample_points()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "shot.blend"))
    assert viewport_overlay().shot is None


def test_undo_keeps_the_points_of_a_scene_that_stays(settings: Any) -> None:
    shot = sample_points()
    with bpy.context.temp_override(window=bpy.context.window_manager.windows[0]):
        bpy.ops.ed.undo_push(message="before")
        scene().frame_end = 77
        bpy.ops.ed.undo_push(message="change")
        assert bpy.ops.ed.undo() == {"FINISHED"}
    assert scene().frame_end != 77
    assert shot_of(scene()) is shot


def test_points_go_with_their_scene(settings: Any) -> None:
    sample_points()
    other = bpy.data.scenes.new("Other")
    bpy.data.scenes.remove(scene())
    assert bpy.context.scene == other
    release_buffers()
    assert viewport_overlay().shot is None


def test_a_drawing_error_turns_the_display_off_with_one_message(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample_points()
    overlay_settings().preview = "ID"
    calls: list[int] = []

    def fail(context: Any) -> None:
        calls.append(1)
        raise ValueError("no such shader")

    overlay = viewport_overlay()
    monkeypatch.setattr(overlay, "_draw", fail)
    for _ in range(3):
        overlay.draw()
    assert calls == [1]
    viewport.turn_off_after_failure()
    assert "no such shader" in runtime_state().error_text
    assert (overlay_settings().show_points, overlay_settings().preview) == (False, "OFF")
    overlay.draw()
    assert calls == [1, 1]


def test_what_the_drawing_refuses_is_told_in_its_own_words(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample_points()

    def refuse(context: Any) -> None:
        raise FlexTrajError("There are too many segments: sample fewer.", ErrorCode.TRAJECTORIES)

    monkeypatch.setattr(viewport_overlay(), "_draw", refuse)
    viewport_overlay().draw()
    viewport.turn_off_after_failure()
    assert runtime_state().error_text == "There are too many segments: sample fewer."


def test_forgetting_the_points_frees_them(settings: Any) -> None:
    assert not ops.flextraj.forget_points.poll()
    sample_points()
    assert ops.flextraj.forget_points() == {"FINISHED"}
    assert viewport_overlay().shot is None


def test_showing_points_leaves_nothing_in_the_file(settings: Any, tmp_path: Path) -> None:
    kinds = ("images", "meshes", "objects", "materials", "node_groups", "textures")
    before = {kind: len(getattr(bpy.data, kind)) for kind in kinds}
    sample_points()
    overlay_settings().preview = "COLOR"
    assert {kind: len(getattr(bpy.data, kind)) for kind in kinds} == before
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "shot.blend"))
    assert not overlay_settings().show_points


def test_the_preview_uses_the_panels_control(settings: Any) -> None:
    settings.keep_points, settings.keep_frames, settings.seed, settings.color_cue = 0.5, 0.25, 9, True
    context: Any = bpy.context
    wanted = conditioning_settings(context, settings, (1.0, 2.0))
    assert (wanted.keep_points, wanted.keep_frames, wanted.seed) == (0.5, 0.25, 9)
    assert wanted.color_cue is ColorCue.TRAJECTORY_COLORS


@pytest.mark.parametrize("is_mirrored", [False, True])
@pytest.mark.parametrize("fit", ["none", "given"])
def test_the_preview_stands_where_generate_places_the_motion(
    settings: Any, fit: str, is_mirrored: bool
) -> None:
    raster = (720, 480)
    store_fit(settings, np.array([[0.5, 0.0, 90.0], [0.0, 0.5, 70.0]]), raster)
    settings.fit, settings.placement.mirror = fit, is_mirrored
    known = known_placement(bpy.context, settings, raster)
    requested = requested_fit(bpy.context, settings, read_sample_settings(bpy.context, settings), raster)
    expected = as_affine(requested.fit_matrix)
    if requested.mirror:
        expected = compose(expected, mirror(raster[0]))
    assert known is not None
    np.testing.assert_allclose(as_affine(known.matrix), expected)


def test_a_place_that_the_backend_will_find_is_not_guessed(settings: Any) -> None:
    settings.fit = "auto"
    assert known_placement(bpy.context, settings, (720, 480)) is None
    settings.aligned = True
    known = known_placement(bpy.context, settings, (720, 480))
    assert known is not None and known.matrix == (1, 0, 0, 0, 1, 0)


def test_points_of_other_settings_are_told_apart_from_what_generate_will_use(settings: Any) -> None:
    sample_points()
    assert not is_sampled_anew(bpy.context)
    settings.points += 1
    assert is_sampled_anew(bpy.context)
    sample_points()
    assert not is_sampled_anew(bpy.context)
    settings.keep_points = 0.5  # the preview follows it
    assert not is_sampled_anew(bpy.context)
