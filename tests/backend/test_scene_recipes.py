"""Drawn scenes: cameras, backgrounds and light without Blender."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blender_addon.core.camera import CameraFrame
from blender_addon.core.camera_track import Projection
from blender_addon.core.errors import RequestError
from blender_addon.core.rasterizer import OccluderMesh
from flextraj_backend.synthesis.actions.recipe import ActionName
from flextraj_backend.synthesis.backgrounds import (
    Backdrop,
    Surroundings,
    background_surfaces,
    draw_background,
)
from flextraj_backend.synthesis.cameras import CameraMove, camera_poses, draw_camera
from flextraj_backend.synthesis.characters import CharacterKind
from flextraj_backend.synthesis.color_encoding import decode_srgb, encode_srgb
from flextraj_backend.synthesis.patterns import Pattern, paint_pattern
from flextraj_backend.synthesis.record_json import from_json, to_json
from flextraj_backend.synthesis.scene import Framing, Renderer, SceneOptions, draw_cast, draw_scene
from flextraj_backend.synthesis.user_library import Library, LibraryAction
from flextraj_backend.synthesis.zbuffer import nearest_fragments

SEEDS = st.integers(0, 1 << 30)


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_scene_is_a_function_of_its_seed_and_can_be_written_as_json(seed: int) -> None:
    first, second = (draw_scene(np.random.default_rng(seed), SceneOptions()) for _ in range(2))
    assert first == second
    assert json.loads(json.dumps(asdict(first)))["seed"] == first.seed
    assert len(first.characters) == len(first.actions) == len(first.placements)


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_other_cast_has_other_characters_of_the_same_kinds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    recipe = draw_scene(rng, SceneOptions())
    cast = draw_cast(rng, recipe, SceneOptions())
    assert [character.kind for character in cast] == [character.kind for character in recipe.characters]
    assert not set(cast) & set(recipe.characters)


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_only_the_asked_for_actions_and_cameras_are_drawn(seed: int) -> None:
    options = SceneOptions(actions=(ActionName.WAVE,), cameras=(CameraMove.DOLLY,))
    recipe = draw_scene(np.random.default_rng(seed), options)
    assert {action.name for action in recipe.actions} == {ActionName.WAVE}
    assert {character.kind for character in recipe.characters} == {CharacterKind.HUMANOID}
    assert recipe.camera.move is CameraMove.DOLLY


def test_actions_that_nobody_has_are_refused_in_one_sentence() -> None:
    options = SceneOptions(actions=(ActionName.WAVE,), kind_weights=(0.0, 0.5, 0.5))
    with pytest.raises(RequestError, match="wave"):
        draw_scene(np.random.default_rng(0), options)


@given(SEEDS, st.sampled_from(list(CameraMove)), st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_camera_keeps_its_target_in_the_picture(seed: int, move: CameraMove, frames: int) -> None:
    recipe = draw_camera(np.random.default_rng(seed), (move,), (0.1, 0.0, 0.8), 2.4)
    poses = camera_poses(recipe, frames)
    rotations = poses[:, :3, :3]
    assert np.allclose(rotations @ rotations.transpose(0, 2, 1), np.eye(3), atol=1e-9)
    local = np.einsum("tij,ti->tj", rotations, np.array(recipe.target) - poses[:, :3, 3])
    off_axis = np.degrees(np.arctan2(np.linalg.norm(local[:, :2], axis=1), -local[:, 2]))
    assert off_axis.max() < 0.4 * recipe.field_of_view
    assert poses[:, 2, 3].min() > 0.05, "the camera would be under the ground"
    if move is CameraMove.STATIC:
        assert np.allclose(poses, poses[0])
    elif frames > 8:
        assert not np.allclose(poses[-1], poses[0], atol=1e-3)


@given(st.sampled_from(list(Pattern)), SEEDS)
@settings(max_examples=20, deadline=None)
def test_patterns_are_not_flat_and_close_at_their_edges(pattern: Pattern, seed: int) -> None:
    colors = np.array([[0.5, 0.4, 0.3], [0.2, 0.2, 0.3], [0.1, 0.5, 0.1]], np.float32)
    picture = paint_pattern(pattern, seed, colors, 128)
    assert picture.shape == (128, 128, 3) and picture.min() >= 0 and picture.max() <= 1
    assert picture.std() > 0.02
    inner = np.abs(np.diff(picture, axis=1)).mean(axis=(0, 2)).max()
    assert np.abs(picture[:, 0] - picture[:, -1]).mean() <= 1.5 * inner + 0.02


@given(SEEDS)
@settings(max_examples=15, deadline=None)
def test_background_leaves_no_hole_in_the_picture(seed: int) -> None:
    rng = np.random.default_rng(seed)
    surfaces = background_surfaces(draw_background(rng), 32)
    recipe = draw_camera(rng, tuple(CameraMove), (0.0, 0.0, 0.8), 3.0)
    focal = 32 / (2 * np.tan(np.radians(recipe.field_of_view) / 2))
    for pose in camera_poses(recipe, 4):
        camera = CameraFrame(
            Projection.PERSPECTIVE, np.full(2, focal), np.array([24.0, 16.0]), pose, 48, 32, 0.05, 200.0
        )
        seen = nearest_fragments(camera, [OccluderMesh(item.vertices, item.triangles) for item in surfaces])
        assert len(seen.sample) == 48 * 32
        assert np.allclose(seen.barycentric.sum(axis=0), 1.0)


@pytest.mark.parametrize("pattern", [Pattern.NOISE, Pattern.SPOTS])
def test_open_ground_does_not_repeat_within_sight_of_a_person(pattern: Pattern) -> None:
    backgrounds = [draw_background(np.random.default_rng(seed)) for seed in range(80)]
    open_air = [item.ground for item in backgrounds if item.surroundings is Surroundings.OPEN_AIR]
    repeats = [ground.repeat for ground in open_air if ground.pattern is pattern]
    assert repeats and min(repeats) > 8.0
    colors = np.array([[0.5, 0.4, 0.3], [0.2, 0.2, 0.3], [0.1, 0.5, 0.1]], np.float32)
    picture = paint_pattern(pattern, 3, colors, 256, density=4)
    quarter = picture[:, :64]
    assert all(np.abs(picture[:, 64 * part : 64 * part + 64] - quarter).mean() > 0.01 for part in (1, 2, 3))


def test_picture_values_survive_decoding_and_encoding() -> None:
    values = np.arange(256, dtype=np.uint8)
    assert np.abs(encode_srgb(decode_srgb(values)).astype(int) - values).max() <= 1


def test_other_sizes_draw_the_same_scene_but_for_the_width() -> None:
    small, large = (
        draw_scene(np.random.default_rng(4), replace(SceneOptions(), width=w, height=h))
        for w, h in ((72, 48), (720, 480))
    )
    assert small.camera == large.camera and small.placements == large.placements


def test_options_of_a_dataset_are_read_back_whole_from_its_json() -> None:
    options = SceneOptions(
        width=72,
        height=48,
        frames=9,
        fps=8.0,
        points=100,
        background_points=50,
        renderer=Renderer.CYCLES,
        characters=5,
        character_seed=7,
        actions=(ActionName.WAVE, ActionName.HOP),
        cameras=(CameraMove.DOLLY,),
        subject_weights=(0.5, 0.5),
        kind_weights=(1.0, 0.0, 0.0),
        framing=Framing.CLOSE,
        backdrop=Backdrop.PLAIN,
    )
    default = SceneOptions()
    for item in fields(options):
        assert getattr(options, item.name) != getattr(default, item.name), f"{item.name} is not tested"
    assert from_json(SceneOptions, json.loads(json.dumps(to_json(options)))) == options


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_close_framing_makes_the_subjects_larger_and_changes_nothing_else(seed: int) -> None:
    normal, close = (
        draw_scene(np.random.default_rng(seed), SceneOptions(framing=framing, actions=(ActionName.WAVE,)))
        for framing in Framing
    )
    assert close.camera.view_height < 0.88 * normal.camera.view_height
    assert close.characters == normal.characters and close.actions == normal.actions


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_plain_backdrop_has_large_soft_patterns_only(seed: int) -> None:
    patterned, plain = (
        draw_scene(np.random.default_rng(seed), SceneOptions(backdrop=backdrop)) for backdrop in Backdrop
    )
    assert plain.background.ground.pattern is Pattern.PLAIN
    ground = patterned.background.ground
    assert plain.background.ground.repeat == pytest.approx(2.5 * ground.repeat / ground.density)
    assert patterned.background.ground.pattern is not Pattern.PLAIN
    assert replace(plain, background=patterned.background) == patterned


@pytest.mark.parametrize("actions", [(), (ActionName.WALK,)])
def test_the_users_own_motions_are_played_also_beside_chosen_actions(actions: tuple[ActionName, ...]) -> None:
    library = Library(actions=(LibraryAction("samba.fbx", 0, "samba"),))
    options = SceneOptions(actions=actions, subject_weights=(1.0, 0.0, 0.0), kind_weights=(1.0, 0.0, 0.0))
    drawn = [draw_scene(np.random.default_rng(seed), options, library).actions[0] for seed in range(60)]
    own = sum(isinstance(action, LibraryAction) for action in drawn)
    assert 15 < own < 45
    if actions:
        assert {action.name for action in drawn} == {"samba", "walk"}
