"""Procedural characters without Blender: seeded, closed, textured."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flextraj_backend.synthesis.characters import (
    BodyForm,
    CharacterKind,
    CharacterModel,
    CharacterRecipe,
    draw_character,
    model_character,
)
from flextraj_backend.synthesis.characters.block_shapes import BlockShape, block_grid
from flextraj_backend.synthesis.characters.surface_texture import (
    MaterialTexture,
    SolidPattern,
    solid_noise,
)

FORMS = (
    (CharacterKind.HUMANOID, BodyForm.PERSON),
    (CharacterKind.CREATURE, BodyForm.QUADRUPED),
    (CharacterKind.CREATURE, BodyForm.BIRD),
    (CharacterKind.CREATURE, BodyForm.MONSTER),
    (CharacterKind.BLOCKOUT, BodyForm.FIGURE),
    (CharacterKind.BLOCKOUT, BodyForm.SHAPE),
    (CharacterKind.BLOCKOUT, BodyForm.STACK),
)


def _model(kind: CharacterKind, form: BodyForm, seed: int = 0) -> CharacterModel:
    return model_character(draw_character(np.random.default_rng(seed), kind, form))


def _volume(vertices: np.ndarray, quads: np.ndarray) -> float:
    corners = vertices[quads]
    return sum(
        np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, b], corners[:, c])).sum() / 6
        for b, c in ((1, 2), (2, 3))
    )


@pytest.mark.parametrize(("kind", "form"), FORMS)
def test_a_character_is_closed_stands_on_the_ground_and_hangs_on_its_bones(
    kind: CharacterKind, form: BodyForm
) -> None:
    for seed in range(2):
        model = _model(kind, form, seed)
        edges = np.sort(np.concatenate([model.quads[:, [i, (i + 1) % 4]] for i in range(4)]), axis=1)
        assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()
        assert _volume(model.vertices, model.quads) > 0
        assert abs(model.vertices[:, 2].min()) < 0.02
        assert 0.4 < model.height < 3.0
        assert len(model.materials) == len(model.smooth) == len(model.quads)
        assert model.materials.max() < len(model.texture.materials)
        if model.bones:
            np.testing.assert_allclose(model.weights.sum(1), 1.0, atol=1e-9)
            assert {bone.name for bone in model.bones} >= {"hips", "chest", "head", "thigh.L", "foot.R"}


@pytest.mark.parametrize(("kind", "form"), FORMS)
def test_a_recipe_makes_the_same_character_again_and_another_seed_another(
    kind: CharacterKind, form: BodyForm
) -> None:
    first, again, other = _model(kind, form, 1), _model(kind, form, 1), _model(kind, form, 2)
    np.testing.assert_array_equal(first.vertices, again.vertices)
    assert first.texture == again.texture and first.description == again.description
    assert first.texture != other.texture
    assert first.vertices.shape != other.vertices.shape or not np.allclose(first.vertices, other.vertices)


def test_kind_and_seed_alone_say_who_a_character_is() -> None:
    recipe = draw_character(np.random.default_rng(3), CharacterKind.CREATURE, BodyForm.BIRD)
    assert recipe == CharacterRecipe(recipe.kind, recipe.seed)
    assert CharacterRecipe(recipe.kind, recipe.seed).form is BodyForm.BIRD
    with pytest.raises(ValueError, match="no form bird"):
        draw_character(np.random.default_rng(3), CharacterKind.HUMANOID, BodyForm.BIRD)


def test_people_differ_in_height_and_width_as_people_do() -> None:
    people = [model_character(CharacterRecipe(CharacterKind.HUMANOID, seed)) for seed in range(8)]
    heights = np.array([person.height for person in people])
    widths = np.array([np.ptp(person.vertices[:, 0]) / person.height for person in people])
    assert np.ptp(heights) > 0.3
    assert np.ptp(widths) > 0.03
    assert len({person.description for person in people}) == len(people)


def test_colours_do_not_depend_on_which_points_are_asked_for() -> None:
    model = _model(CharacterKind.HUMANOID, BodyForm.PERSON)
    places = model.vertices[model.quads].mean(1)
    colors = model.texture.colors(places, model.materials)
    assert colors.shape == (len(places), 3) and colors.dtype == np.float32
    assert colors.min() >= 0.0 and colors.max() <= 1.0
    chosen = np.random.default_rng(0).permutation(len(places))[:200]
    np.testing.assert_array_equal(
        colors[chosen], model.texture.colors(places[chosen], model.materials[chosen])
    )


@pytest.mark.parametrize("pattern", [item for item in SolidPattern if item is not SolidPattern.PLAIN])
def test_a_pattern_shows_both_of_its_colours_at_about_its_period(pattern: SolidPattern) -> None:
    texture = MaterialTexture(pattern, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 0.2, (0.6, 0.0, 0.8), 0.1, 0.0, 7)
    share = texture.colors(np.random.default_rng(0).uniform(-1, 1, (4000, 3)))[:, 0]
    assert 0.15 < share.mean() < 0.85
    assert (share < 0.1).mean() > 0.1 and (share > 0.9).mean() > 0.1
    start = np.array([0.3, -0.2, 0.5])
    near = texture.colors(np.stack([start, start + 1e-4]))[:, 0]
    assert abs(near[1] - near[0]) < 0.05


def test_noise_is_smooth_and_centred() -> None:
    rng = np.random.default_rng(0)
    places = rng.uniform(-50, 50, (20000, 3))
    values = solid_noise(places, 3)
    assert abs(values.mean() - 0.5) < 0.01 and values.std() > 0.1
    assert np.abs(solid_noise(places + 1e-3, 3) - values).max() < 0.02
    assert np.abs(solid_noise(places, 4) - values).max() > 0.3


@given(shape=st.sampled_from(list(BlockShape)), cells=st.integers(2, 24))
@settings(max_examples=20, deadline=None)
def test_blocks_are_closed_shapes_of_size_two(shape: BlockShape, cells: int) -> None:
    vertices, quads = block_grid(shape, cells)
    edges = np.sort(np.concatenate([quads[:, [i, (i + 1) % 4]] for i in range(4)]), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()
    np.testing.assert_allclose(np.abs(vertices).max(0), 1.0, atol=0.12)
    volume = {
        BlockShape.CUBE: 8.0,
        BlockShape.SPHERE: 4 / 3 * np.pi,
        BlockShape.CYLINDER: 2 * np.pi,
        BlockShape.CONE: 2 / 3 * np.pi,
    }[shape]
    tolerance = 0.03 if cells >= 8 else 0.6
    assert abs(_volume(vertices, quads) / volume - 1.0) < tolerance
