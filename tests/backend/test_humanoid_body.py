"""The procedural body without Blender: closed, skinned, seeded."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flextraj_backend.demo.body_shape import BodyMesh, build_body
from flextraj_backend.demo.loft import Material
from flextraj_backend.demo.proportions import HumanoidProportions, build_skeleton
from flextraj_backend.demo.surface_nets import extract_surface

COARSE = 0.02


@pytest.fixture(scope="module")
def body() -> BodyMesh:
    return build_body(HumanoidProportions(), COARSE)


def _edge_uses(quads: np.ndarray) -> np.ndarray:
    edges = np.sort(np.concatenate([quads[:, [i, (i + 1) % 4]] for i in range(4)]), axis=1)
    return np.unique(edges, axis=0, return_counts=True)[1]


def _volume(vertices: np.ndarray, quads: np.ndarray) -> float:
    corners = vertices[quads]
    return sum(
        np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, b], corners[:, c])).sum() / 6
        for b, c in ((1, 2), (2, 3))
    )


def test_a_meshed_sphere_is_closed_and_has_its_volume() -> None:
    ticks = np.linspace(-1.3, 1.3, 40)
    x, y, z = np.meshgrid(ticks, ticks, ticks, indexing="ij")
    vertices, quads = extract_surface(
        np.sqrt(x**2 + y**2 + z**2) - 1.0, np.full(3, -1.3), ticks[1] - ticks[0]
    )
    assert (_edge_uses(quads) == 2).all()
    assert np.linalg.norm(vertices, axis=1) == pytest.approx(1.0, abs=0.01)
    assert _volume(vertices, quads) == pytest.approx(4 / 3 * np.pi, rel=0.01)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_any_field_gives_a_closed_surface_even_where_solids_touch_at_an_edge(seed: int) -> None:
    field = np.ones((9, 9, 9))
    field[1:-1, 1:-1, 1:-1] = np.random.default_rng(seed).uniform(-1, 1, (7, 7, 7))
    _, quads = extract_surface(field, np.zeros(3), 1.0)
    assert (_edge_uses(quads) == 2).all()


def test_a_field_that_leaves_the_grid_is_refused_instead_of_meshed_with_a_hole() -> None:
    with pytest.raises(ValueError, match="border"):
        extract_surface(np.full((4, 4, 4), -1.0), np.zeros(3), 1.0)


@pytest.mark.parametrize("seed", range(4))
def test_sampled_bodies_are_closed_and_turned_outside_out(seed: int) -> None:
    proportions = HumanoidProportions.sample(np.random.default_rng(seed), spread=0.1)
    mesh = build_body(proportions, COARSE)
    assert (_edge_uses(mesh.quads) == 2).all()
    assert 0.03 < _volume(mesh.vertices, mesh.quads) < 0.16
    tall = np.ptp(mesh.vertices[:, 2])
    assert tall == pytest.approx(proportions.height, rel=0.06)


def test_every_vertex_hangs_on_one_to_four_bones_with_weights_that_sum_to_one(body: BodyMesh) -> None:
    assert body.weights.sum(axis=1) == pytest.approx(1.0)
    used = (body.weights > 0).sum(axis=1)
    assert used.min() >= 1
    assert used.max() <= 4


def test_the_face_hangs_on_the_head_and_not_on_the_broad_chest(body: BodyMesh) -> None:
    names = [bone.name for bone in body.bones]
    faces_of_eyes = body.quads[body.materials == Material.EYES]
    hair = body.quads[body.materials == Material.HAIR]
    for part in (faces_of_eyes, hair):
        assert len(part)
        assert body.weights[np.unique(part), names.index("head")].min() > 0.9


def test_left_and_right_arm_move_their_own_hands(body: BodyMesh) -> None:
    names = [bone.name for bone in body.bones]
    for side, sign in (("L", 1), ("R", -1)):
        hand = sign * body.vertices[:, 0] > 0.95 * (sign * body.vertices[:, 0]).max()
        assert body.weights[hand][:, names.index(f"hand.{side}")].min() > 0.5


def test_every_material_is_worn(body: BodyMesh) -> None:
    assert set(body.materials.tolist()) == {int(kind) for kind in Material}


def test_the_skeleton_is_symmetric_and_children_follow_their_parents() -> None:
    bones = {bone.name: bone for bone in build_skeleton(HumanoidProportions())}
    seen: set[str] = set()
    for name, bone in bones.items():
        assert bone.parent is None or bone.parent in seen
        seen.add(name)
        if name.endswith(".L"):
            mirrored = bones[name[:-1] + "R"]
            assert mirrored.head == pytest.approx(bone.head * [-1, 1, 1])
            assert mirrored.tail == pytest.approx(bone.tail * [-1, 1, 1])
    assert [name for name, bone in bones.items() if bone.parent is None] == ["hips"]


def test_the_same_seed_gives_the_same_body_and_another_seed_another() -> None:
    first, again, other = (HumanoidProportions.sample(np.random.default_rng(seed)) for seed in (7, 7, 8))
    assert first == again
    assert first != other
    assert HumanoidProportions.sample(np.random.default_rng(1), spread=0.0) == HumanoidProportions()
    assert all(getattr(first, item.name) > 0 for item in fields(first))
