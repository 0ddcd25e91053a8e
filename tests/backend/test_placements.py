"""Placements: who walks stays in the picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flextraj_backend.synthesis.actions.path import body_path
from flextraj_backend.synthesis.actions.recipe import ACTIONS_OF_KIND, ActionName, ActionRecipe
from flextraj_backend.synthesis.cameras import CameraMove, CameraRecipe, camera_poses, draw_camera
from flextraj_backend.synthesis.characters import CharacterKind, draw_character
from flextraj_backend.synthesis.placements import Placement, keep_in_picture
from flextraj_backend.synthesis.user_library import LibraryAction

ASPECT = 1.5


def camera_of(seed: int, view_height: float = 2.4) -> CameraRecipe:
    return draw_camera(np.random.default_rng(seed), tuple(CameraMove), (0.0, 0.0, 0.8), view_height)


def hips_in_picture(
    camera: CameraRecipe, place: Placement, action: ActionRecipe, stride: float, seconds: float
) -> bool:
    """Whether the middle of a person is in the picture all the time."""
    times = np.linspace(0.0, seconds, 31)
    character = draw_character(np.random.default_rng(0), CharacterKind.HUMANOID)
    path = body_path(action, character.form, times) * stride * place.height
    angle = np.radians(place.yaw)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    points = path @ turn.T + np.array([place.x, place.y, 0.5 * place.height])
    poses = camera_poses(camera, len(times))
    local = np.einsum("tij,ti->tj", poses[:, :3, :3], points - poses[:, :3, 3])
    top = np.tan(np.radians(camera.field_of_view) / 2.0)
    inside = np.abs(local[:, :2]) <= np.array([ASPECT * top, top]) * -local[:, 2:]
    return bool(inside.all())


@given(st.integers(0, 1 << 20), st.floats(-1.2, 1.2), st.floats(-180.0, 180.0), st.floats(0.5, 8.0))
@settings(max_examples=30, deadline=None)
def test_a_walker_is_in_the_picture_to_the_end(seed: int, x: float, yaw: float, seconds: float) -> None:
    character = draw_character(np.random.default_rng(seed), CharacterKind.HUMANOID)
    action = ActionRecipe.from_seed(ActionName.WALK, seed)
    drawn = Placement(x, 0.0, yaw, 1.7)
    (place,), camera = keep_in_picture([character], [action], [drawn], camera_of(seed), seconds, ASPECT)
    assert hips_in_picture(camera, place, action, 0.49, seconds)


def test_a_scene_whose_subjects_stay_by_themselves_is_not_touched() -> None:
    character = draw_character(np.random.default_rng(1), CharacterKind.HUMANOID)
    drawn = Placement(0.1, 0.0, 20.0, 1.7)
    for name in (ActionName.WAVE, ActionName.CLAP, ActionName.BOW):
        action = ActionRecipe.from_seed(name, 3)
        camera = camera_of(2)
        assert keep_in_picture([character], [action], [drawn], camera, 3.0, ASPECT) == ((drawn,), camera)


def test_the_users_own_motion_is_placed_as_drawn() -> None:
    character = draw_character(np.random.default_rng(1), CharacterKind.HUMANOID)
    drawn, camera = Placement(0.0, 0.0, 0.0, 1.7), camera_of(2)
    action = LibraryAction("samba.fbx", 0, "samba")
    assert keep_in_picture([character], [action], [drawn], camera, 3.0, ASPECT) == ((drawn,), camera)


def test_the_camera_stands_back_only_where_turning_does_not_help() -> None:
    character = draw_character(np.random.default_rng(1), CharacterKind.HUMANOID)
    action = replace(ActionRecipe.from_seed(ActionName.WALK, 3), tempo=1.0, amplitude=1.0)
    drawn, camera = Placement(0.0, 0.0, 0.0, 1.7), replace(camera_of(2), move=CameraMove.STATIC)
    distances = [
        keep_in_picture([character], [action], [drawn], camera, seconds, ASPECT)[1].distance
        for seconds in (0.5, 60.0)
    ]
    assert distances[0] == pytest.approx(camera.distance)
    assert distances[1] > 1.3 * camera.distance


@pytest.mark.parametrize("kind", list(CharacterKind))
def test_every_action_of_every_kind_has_a_path(kind: CharacterKind) -> None:
    character = draw_character(np.random.default_rng(5), kind)
    times = np.linspace(0.0, 2.0, 9)
    for name in ACTIONS_OF_KIND[kind]:
        path = body_path(ActionRecipe.from_seed(name, 1), character.form, times)
        assert path.shape == (9, 3) and np.isfinite(path).all()
        if name is ActionName.WALK:
            assert np.linalg.norm(path[-1, :2] - path[0, :2]) > 1.0
