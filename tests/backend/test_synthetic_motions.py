"""Motions before they are keyed: large, grounded, the same for every body."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flextraj_backend.demo.proportions import Bone, HumanoidProportions, build_skeleton
from flextraj_backend.synthesis.actions import ACTIONS_OF_KIND, ActionName, ActionRecipe, draw_action
from flextraj_backend.synthesis.actions.creature_motion import pose_creature
from flextraj_backend.synthesis.actions.humanoid_motion import pose_humanoid
from flextraj_backend.synthesis.actions.object_actions import move_object
from flextraj_backend.synthesis.actions.pose_plan import PoseSequence
from flextraj_backend.synthesis.actions.rotations import quaternions, rotation
from flextraj_backend.synthesis.characters import BodyForm, CharacterKind
from flextraj_backend.synthesis.characters.creature_bones import (
    BipedProportions,
    QuadrupedProportions,
    biped_skeleton,
    quadruped_skeleton,
)

HUMANOID = ACTIONS_OF_KIND[CharacterKind.HUMANOID]
CREATURE = ACTIONS_OF_KIND[CharacterKind.CREATURE]
BLOCKOUT = ACTIONS_OF_KIND[CharacterKind.BLOCKOUT]
SHORT = np.arange(9) / 8.0
"""Times of the shortest clips."""
PERSON = HumanoidProportions()


def _joints(bones: tuple[Bone, ...], pose: PoseSequence, stride: float) -> dict[str, np.ndarray]:
    """Ends (T, 2, 3) of the bones in a motion."""
    by_name = {bone.name: bone for bone in bones}
    turned: dict[str, np.ndarray] = {}
    ends: dict[str, np.ndarray] = {}
    for bone in bones:
        own = pose.turns.get(bone.name, np.eye(3))
        if bone.parent is None:
            turned[bone.name], head = own, bone.head + stride * pose.shift
        else:
            offset = bone.head - by_name[bone.parent].head
            turned[bone.name] = turned[bone.parent] @ own
            head = ends[bone.parent][:, 0] + turned[bone.parent] @ offset
        ends[bone.name] = np.stack([head, head + turned[bone.name] @ (bone.tail - bone.head)], 1)
    return ends


def _person(recipe: ActionRecipe, seconds: np.ndarray) -> dict[str, np.ndarray]:
    return _joints(build_skeleton(PERSON), pose_humanoid(recipe, seconds), PERSON.leg * PERSON.height)


def _creature(recipe: ActionRecipe, form: BodyForm, seconds: np.ndarray) -> dict[str, np.ndarray]:
    body = QuadrupedProportions() if form is BodyForm.QUADRUPED else BipedProportions()
    bones = quadruped_skeleton(body) if isinstance(body, QuadrupedProportions) else biped_skeleton(body)
    return _joints(bones, pose_creature(recipe, form, seconds), body.leg)


def _largest_move(ends: dict[str, np.ndarray]) -> float:
    return max(float(np.linalg.norm(np.ptp(end, axis=0), axis=-1).max()) for end in ends.values())


@given(name=st.sampled_from(HUMANOID), seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_a_person_moves_visibly_in_the_shortest_clip_and_stays_above_the_ground(
    name: ActionName, seed: int
) -> None:
    ends = _person(ActionRecipe.from_seed(name, seed), SHORT)
    assert _largest_move(ends) > 0.25 * PERSON.height
    lowest = min(float(end[..., 2].min()) for end in ends.values())
    assert lowest > -0.04 * PERSON.height


@given(
    name=st.sampled_from(CREATURE),
    form=st.sampled_from((BodyForm.QUADRUPED, BodyForm.BIRD)),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=40, deadline=None)
def test_a_creature_moves_visibly_in_the_shortest_clip_and_stays_above_the_ground(
    name: ActionName, form: BodyForm, seed: int
) -> None:
    ends = _creature(ActionRecipe.from_seed(name, seed), form, SHORT)
    assert _largest_move(ends) > 0.12
    assert min(float(end[..., 2].min()) for end in ends.values()) > -0.06


@given(name=st.sampled_from(BLOCKOUT), seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_a_block_moves_visibly_in_the_shortest_clip(name: ActionName, seed: int) -> None:
    motion = move_object(ActionRecipe.from_seed(name, seed), SHORT)
    corner = np.array([0.3, 0.3, 0.5]) * motion.scales
    places = motion.shift + (motion.turns @ corner[..., None])[..., 0]
    assert np.linalg.norm(np.ptp(places, axis=0)) > 0.15
    np.testing.assert_allclose(np.linalg.det(motion.turns), 1.0, atol=1e-9)


@pytest.mark.parametrize("side", [1, -1])
def test_who_walks_crosses_half_of_its_height_a_second_and_does_not_slide(side: int) -> None:
    recipe = ActionRecipe(ActionName.WALK, 5, side=side)
    seconds = np.arange(0, 2, 0.01)
    ends = _person(recipe, seconds)
    hips = ends["hips"][:, 0]
    assert -(hips[-1, 1] - hips[0, 1]) / 2.0 > 0.5 * PERSON.height
    planted = 0
    for foot in ("foot.L", "foot.R"):
        toes = ends[foot][:, 1]
        low = toes[:, 2] < np.percentile(toes[:, 2], 40)
        speed = np.linalg.norm(np.diff(toes[:, :2], axis=0), axis=1) / 0.01
        standing = low[1:] & low[:-1]
        planted += int(standing.sum())
        assert np.median(speed[standing]) < 0.1 * abs(hips[-1, 1] - hips[0, 1]) / 2.0
    assert planted > 60


@given(name=st.sampled_from(HUMANOID), seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_knees_never_bend_backwards(name: ActionName, seed: int) -> None:
    pose = pose_humanoid(ActionRecipe.from_seed(name, seed), np.linspace(0, 3, 40))
    for side in (".L", ".R"):
        shin = pose.turns[f"shin{side}"]
        # A bent knee takes the shin, which hangs down, to the back (+Y).
        assert (shin @ np.array([0.0, 0.0, -1.0]))[:, 1].min() > -0.15


def test_hands_stay_out_of_the_trunk_of_a_stocky_person() -> None:
    body = HumanoidProportions(chest=0.23, waist=0.21, hips=0.23, girth=1.16, shoulders=0.245)
    bones = build_skeleton(body)
    for name in HUMANOID:
        for seed in range(6):
            pose = pose_humanoid(ActionRecipe.from_seed(name, seed), np.linspace(0, 2, 30))
            ends = _joints(bones, pose, body.leg * body.height)
            axis = np.stack([ends["hips"][:, 0], ends["chest"][:, 1]], 1)  # (T, 2, 3)
            along = axis[:, 1] - axis[:, 0]
            for side in (".L", ".R"):
                wrist = ends[f"hand{side}"][:, 0] - axis[:, 0]
                place = np.clip((wrist * along).sum(1) / (along * along).sum(1), 0.0, 1.0)
                distance = np.linalg.norm(wrist - place[:, None] * along, axis=1)
                assert distance.min() > 0.5 * 0.64 * 0.21 * body.height, (name, seed)


def test_the_mirror_image_swaps_the_arms() -> None:
    pose = pose_humanoid(ActionRecipe.from_seed(ActionName.WAVE, 2), SHORT)
    mirrored = pose.mirrored()
    bones = build_skeleton(PERSON)
    stride = PERSON.leg * PERSON.height
    left = _joints(bones, pose, stride)["hand.L"]
    right = _joints(bones, mirrored, stride)["hand.R"]
    np.testing.assert_allclose(left * (-1.0, 1.0, 1.0), right, atol=1e-9)


def test_a_seed_draws_the_same_motion_again() -> None:
    first = draw_action(np.random.default_rng(4), CharacterKind.HUMANOID)
    assert first == draw_action(np.random.default_rng(4), CharacterKind.HUMANOID)
    assert first == ActionRecipe.from_seed(first.name, first.seed)
    drawn = {draw_action(np.random.default_rng(seed), CharacterKind.CREATURE).name for seed in range(60)}
    assert drawn == set(CREATURE)


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_keyed_quaternions_turn_without_jumps(seed: int) -> None:
    rng = np.random.default_rng(seed)
    axis = rng.standard_normal(3)
    matrices = rotation(axis.tolist(), np.linspace(-400.0, 400.0, 60))
    found = quaternions(matrices)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0)
    assert ((found[1:] * found[:-1]).sum(1) > 0.9).all()
    w, v = found[:, :1], found[:, 1:]
    vector = np.array([0.3, -0.5, 0.8])
    turned = vector + 2.0 * np.cross(v, np.cross(v, vector) + w * vector)
    np.testing.assert_allclose(turned, matrices @ vector, atol=1e-9)
