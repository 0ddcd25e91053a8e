"""Synthetic characters and their keyed motions inside Blender."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

bpy: Any = pytest.importorskip("bpy")

from blender_addon.bridge.compat import animation_curves  # noqa: E402
from blender_addon.core.errors import FlexTrajError  # noqa: E402
from flextraj_backend.synthesis.actions import (  # noqa: E402
    ACTIONS_OF_KIND,
    ActionName,
    ActionRecipe,
    apply_action,
    performs,
)
from flextraj_backend.synthesis.characters import (  # noqa: E402
    COLOR_ATTRIBUTE,
    BodyForm,
    Character,
    CharacterKind,
    add_character,
    draw_character,
    remove_character,
)

pytestmark = pytest.mark.blender


@pytest.fixture
def scene() -> Any:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    return bpy.data.scenes[0]


def _add(scene: Any, kind: CharacterKind, form: BodyForm | None = None, seed: int = 0) -> Character:
    return add_character(scene, draw_character(np.random.default_rng(seed), kind, form))


def _vertices(scene: Any, character: Character, frame: int) -> np.ndarray:
    """(V, 3) world positions of the evaluated mesh."""
    scene.frame_set(frame)
    body: Any = character.meshes[0].evaluated_get(bpy.context.evaluated_depsgraph_get())
    positions = np.empty(3 * len(body.data.vertices), np.float32)
    body.data.vertices.foreach_get("co", positions)
    world = np.array(body.matrix_world)
    return positions.reshape(-1, 3) @ world[:3, :3].T + world[:3, 3]


def _curves(character: Character) -> dict[tuple[str, int], np.ndarray]:
    """Key values (K,) by path and index."""
    animation: Any = character.pivot.animation_data
    return {
        (curve.data_path, curve.array_index): np.array([key.co[1] for key in curve.keyframe_points])
        for curve in animation_curves(animation.action, getattr(animation, "action_slot", None))
    }


@pytest.mark.parametrize("kind", list(CharacterKind))
def test_every_action_of_a_kind_moves_each_of_its_characters(scene: Any, kind: CharacterKind) -> None:
    for seed in range(3):
        character = _add(scene, kind, seed=seed)
        for name in ACTIONS_OF_KIND[kind]:
            apply_action(character, ActionRecipe.from_seed(name, seed), 9, 8.0)
            places = np.stack([_vertices(scene, character, frame) for frame in range(1, 10)])
            moved = np.linalg.norm(np.ptp(places, axis=0), axis=1)
            assert moved.max() > 0.15 * character.height, name
            assert np.median(places[..., 2]) > 0.1 * character.height
        remove_character(character)


def test_the_same_action_on_another_person_is_the_same_motion_in_its_size(scene: Any) -> None:
    people = [_add(scene, CharacterKind.HUMANOID, seed=seed) for seed in (1, 2)]
    recipe = ActionRecipe.from_seed(ActionName.WALK, 8)
    for person in people:
        apply_action(person, recipe, 17, 16.0)
    assert abs(people[0].model.stride / people[1].model.stride - 1.0) > 0.02
    pivots: list[Any] = [person.pivot for person in people]
    for frame in (1, 6, 17):
        scene.frame_set(frame)
        turned, shifts = [], []
        for pivot, person in zip(pivots, people, strict=True):
            bones = pivot.pose.bones
            rests = {bone.name: np.array(bone.bone.matrix_local)[:3, :3] for bone in bones}
            turned.append(
                {
                    bone.name: rests[bone.name] @ np.array(bone.matrix_basis)[:3, :3] @ rests[bone.name].T
                    for bone in bones
                }
            )
            shifts.append(rests["hips"] @ np.array(bones["hips"].location) / person.model.stride)
        for name in turned[0]:
            np.testing.assert_allclose(turned[0][name], turned[1][name], atol=2e-3)
        np.testing.assert_allclose(shifts[0], shifts[1], atol=1e-3)


def test_a_box_figure_performs_what_people_do(scene: Any) -> None:
    figure = _add(scene, CharacterKind.BLOCKOUT, BodyForm.FIGURE)
    assert performs(figure.recipe, ActionName.WAVE) and performs(figure.recipe, ActionName.TUMBLE)
    apply_action(figure, ActionRecipe.from_seed(ActionName.JUMP, 1), 17, 8.0)
    heights = [_vertices(scene, figure, frame)[:, 2].min() for frame in range(1, 18)]
    assert max(heights) > 0.1 * figure.height
    assert min(heights) > -0.06 * figure.height


def test_a_new_action_takes_the_place_of_the_old_one(scene: Any) -> None:
    figure = _add(scene, CharacterKind.BLOCKOUT, BodyForm.FIGURE)
    apply_action(figure, ActionRecipe.from_seed(ActionName.BOUNCE, 1), 9, 8.0)
    scene.frame_set(5)
    apply_action(figure, ActionRecipe.from_seed(ActionName.WAVE, 1), 9, 8.0)
    assert len(bpy.data.actions) == 1
    scene.frame_set(5)
    np.testing.assert_allclose(np.array(figure.pivot.matrix_world), np.eye(4), atol=1e-6)


def test_the_user_finds_keys_at_both_ends_and_the_root_free_to_place(scene: Any) -> None:
    person = _add(scene, CharacterKind.HUMANOID)
    apply_action(person, ActionRecipe.from_seed(ActionName.DANCE, 1), 49, 16.0, first_frame=10)
    animation: Any = person.pivot.animation_data
    assert tuple(animation.action.frame_range) == (10.0, 58.0)
    assert person.root.animation_data is None
    assert {"hips", "upper_arm.L", "foot.R"} <= {path.split('"')[1] for path, _ in _curves(person)}
    before = _vertices(scene, person, 20)
    person.root.location = (1.0, 2.0, 0.0)
    np.testing.assert_allclose(_vertices(scene, person, 20), before + np.array([1.0, 2.0, 0.0]), atol=1e-5)


def test_an_action_of_another_kind_is_refused_in_one_sentence(scene: Any) -> None:
    block = _add(scene, CharacterKind.BLOCKOUT, BodyForm.SHAPE)
    with pytest.raises(FlexTrajError, match="A shape cannot wave"):
        apply_action(block, ActionRecipe.from_seed(ActionName.WAVE, 1), 9, 8.0)
    assert not bpy.data.actions


def test_the_mesh_carries_the_texture_that_other_renderers_evaluate(scene: Any) -> None:
    bird = _add(scene, CharacterKind.CREATURE, BodyForm.BIRD)
    mesh: Any = bird.meshes[0].data
    attribute = mesh.color_attributes[COLOR_ATTRIBUTE]
    stored = np.empty(4 * len(mesh.loops), np.float32)
    attribute.data.foreach_get("color", stored)
    corners = np.empty(len(mesh.loops), np.int32)
    mesh.loops.foreach_get("vertex_index", corners)
    places = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", places)
    slots = np.empty(len(mesh.polygons), np.int32)
    mesh.polygons.foreach_get("material_index", slots)
    expected = bird.model.texture.colors(places.reshape(-1, 3)[corners], np.repeat(slots, 4))
    assert np.abs(stored.reshape(-1, 4)[:, :3] - expected).mean() < 1e-3
    linked = mesh.materials[0].node_tree.nodes["Principled BSDF"].inputs["Base Color"].links
    assert linked[0].from_node.layer_name == COLOR_ATTRIBUTE


def test_removed_characters_leave_nothing_in_the_file(scene: Any) -> None:
    for kind in CharacterKind:
        character = _add(scene, kind)
        apply_action(character, ActionRecipe.from_seed(ACTIONS_OF_KIND[kind][0], 1), 9, 8.0)
        remove_character(character)
    for kept in (
        bpy.data.objects,
        bpy.data.meshes,
        bpy.data.armatures,
        bpy.data.actions,
        bpy.data.materials,
    ):
        assert len(kept) == 0
