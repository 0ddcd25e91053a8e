"""Synthetic clips: pictures, tracks and masks show the same thing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import bpy
import numpy as np
import pytest

from flextraj_backend.synthesis.cameras import CameraMove
from flextraj_backend.synthesis.clip import SyntheticClip
from flextraj_backend.synthesis.clip_builder import build_clip
from flextraj_backend.synthesis.color_encoding import decode_srgb
from flextraj_backend.synthesis.lights import LightMood
from flextraj_backend.synthesis.scene import Renderer, SceneOptions, SceneRecipe, draw_cast, draw_scene

OPTIONS = SceneOptions(
    width=96,
    height=64,
    frames=5,
    fps=8.0,
    points=200,
    background_points=150,
    characters=3,
    subject_weights=(0.0, 1.0),
    kind_weights=(0.6, 0.0, 0.4),
)


def drawn(seed: int, **changes: object) -> SceneRecipe:
    return draw_scene(np.random.default_rng(seed), replace(OPTIONS, **changes))


@pytest.fixture(scope="module")
def recipe() -> SceneRecipe:
    return drawn(5, cameras=(CameraMove.ORBIT,))


@pytest.fixture(scope="module")
def clip(recipe: SceneRecipe) -> Iterator[SyntheticClip]:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    cast = draw_cast(np.random.default_rng(1), recipe, OPTIONS)
    yield build_clip(recipe, "clip000001", [cast])


def visible_pixels(clip: SyntheticClip, frame: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns and mask values expected of the points that a frame shows."""
    tracks = clip.trajectories
    seen = tracks.visible[frame]
    column, row = np.floor(tracks.positions[frame, seen, :2]).astype(int).T
    segment = tracks.seg_id[seen].astype(int)
    is_background = np.array([part.background for part in tracks.meta.segments])
    return row, column, np.where(is_background[segment], 0, segment + 1)


def test_points_land_in_their_own_masks(clip: SyntheticClip) -> None:
    for frame in range(OPTIONS.frames):
        row, column, expected = visible_pixels(clip, frame)
        assert len(row) > 150
        padded = np.pad(clip.segments[frame], 1, mode="edge")
        # A mask tells of pixel centres: within one pixel of a point its segment must be found.
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))[row, column]
        near = (windows == expected[:, None, None]).any(axis=(1, 2))
        exact = clip.segments[frame][row, column] == expected
        assert near.mean() > 0.99
        assert exact.mean() > 0.8


def test_point_colours_are_seen_at_the_points_on_every_frame(clip: SyntheticClip) -> None:
    tracks = clip.trajectories
    color = tracks.color
    assert color is not None
    for frame in range(OPTIONS.frames):
        seen = np.flatnonzero(tracks.visible[frame] & (tracks.seg_id < 2))
        column, row = np.floor(tracks.positions[frame, seen, :2]).astype(int).T
        shown = decode_srgb(clip.frames[frame][row, column])
        albedo = decode_srgb(color[seen])
        # Light scales a colour; what matters is that the right one is there, not another part's.
        own = np.abs(_chromaticity(shown) - _chromaticity(albedo)).sum(axis=1)
        other = np.abs(_chromaticity(shown) - _chromaticity(np.roll(albedo, 37, axis=0))).sum(axis=1)
        assert np.median(own) < 0.6 * np.median(other)


def _chromaticity(linear: np.ndarray) -> np.ndarray:
    return linear / np.maximum(linear.sum(axis=1, keepdims=True), 0.02)


def test_other_cast_performs_the_same_motion_before_the_same_camera(clip: SyntheticClip) -> None:
    (other,) = clip.others
    own = clip.trajectories
    assert own.meta.aligned and not other.meta.aligned
    assert own.meta.camera is not None and other.meta.camera is not None
    assert np.allclose(own.meta.camera.camera_to_world, other.meta.camera.camera_to_world)
    background = own.seg_id == 2
    assert np.allclose(own.positions[:, background], other.positions[:, other.seg_id == 2])
    assert not np.allclose(own.positions[:, ~background], other.positions[:, other.seg_id != 2], atol=1.0)
    for segment in (0, 1):
        mean_own, mean_other = (
            item.positions[:, item.seg_id == segment, :2].mean(axis=1) for item in (own, other)
        )
        # The middles keep within a body's width of each other over the whole motion.
        assert np.linalg.norm(mean_own - mean_other, axis=1).max() < 0.25 * OPTIONS.height


def test_camera_move_carries_the_background_points(clip: SyntheticClip) -> None:
    tracks = clip.trajectories
    still = tracks.positions[:, tracks.seg_id == 2, :2]
    assert still.shape[1] > 100
    assert np.median(np.linalg.norm(still[-1] - still[0], axis=1)) > 2.0


def test_same_recipe_gives_the_same_clip_after_other_clips(clip: SyntheticClip, recipe: SceneRecipe) -> None:
    build_clip(drawn(6), "between")
    again = build_clip(recipe, "again")
    assert np.array_equal(again.frames, clip.frames)
    assert np.array_equal(again.trajectories.positions, clip.trajectories.positions)
    assert np.array_equal(again.trajectories.visible, clip.trajectories.visible)
    assert np.array_equal(again.segments, clip.segments)


def test_blender_does_not_fill_up_over_many_clips() -> None:
    kinds = ("objects", "meshes", "armatures", "actions", "materials", "images", "cameras", "worlds")
    counts = []
    for seed in (0, 1, 2, 3, 0, 1, 2, 3):
        build_clip(drawn(seed, frames=2, characters=1), "clip")
        counts.append({kind: len(getattr(bpy.data, kind)) for kind in kinds})
    assert counts[3] == counts[-1]
    assert counts[-1]["actions"] == 0


def test_stage_is_set_up_again_after_another_file_was_opened() -> None:
    first = build_clip(drawn(2, frames=2), "first")
    bpy.ops.wm.read_factory_settings(use_empty=True)
    assert np.array_equal(build_clip(drawn(2, frames=2), "second").frames, first.frames)


def test_cycles_and_raster_pictures_show_the_same_scene() -> None:
    recipe = drawn(11, frames=2)
    raster = build_clip(recipe, "raster")
    traced = build_clip(replace(recipe, renderer=Renderer.CYCLES), "traced")
    assert np.array_equal(raster.segments, traced.segments)
    difference = np.abs(raster.frames.astype(int) - traced.frames.astype(int)).mean(axis=-1)
    assert difference.mean() < 8
    # Silhouettes agree: around the outlines any shift by half a pixel would make the pictures less alike.
    outline = np.abs(np.diff(raster.segments.astype(int), axis=2, append=0)) > 0
    own = raster.frames.astype(float)
    error = np.abs(own - traced.frames)[outline].mean()
    for axis in (1, 2):
        for step in (-1, 1):
            shifted = 0.5 * (own + np.roll(own, step, axis=axis))
            assert error < np.abs(shifted - traced.frames)[outline].mean()
    assert not [ob for ob in bpy.data.objects if ob.name.startswith("Background")]


def test_masks_and_record_name_every_subject(clip: SyntheticClip, recipe: SceneRecipe) -> None:
    assert set(np.unique(clip.segments)) == {0, 1, 2}
    silhouette = clip.trajectories.silhouette
    assert silhouette is not None
    assert np.array_equal(silhouette[1], clip.segments[0] == 2)
    assert np.array_equal(silhouette[2], clip.segments[0] == 0)
    assert [item.character_seed for item in clip.record.performers] == [c.seed for c in recipe.characters]
    assert clip.record.camera == "orbit"
    assert LightMood(clip.record.light) is recipe.light.mood
    assert clip.record.performers[0].description.split()[-1] in clip.prompt
