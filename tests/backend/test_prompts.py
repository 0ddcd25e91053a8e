"""Prompts: a sentence that a text encoder knows from its own training."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from flextraj_backend.synthesis.actions.recipe import ACTIONS_OF_KIND, ActionName, ActionRecipe
from flextraj_backend.synthesis.cameras import CameraMove
from flextraj_backend.synthesis.characters import CharacterKind, draw_character, model_character
from flextraj_backend.synthesis.prompts import VERBS, describe_scene
from flextraj_backend.synthesis.scene import SceneOptions, draw_scene
from flextraj_backend.synthesis.user_library import LibraryAction

ONE = SceneOptions(subject_weights=(1.0,), cameras=(CameraMove.STATIC,))


def test_every_action_has_a_verb_in_the_third_person() -> None:
    assert set(VERBS) == set(ActionName)
    for verb in VERBS.values():
        assert re.fullmatch(r"(?:[a-z]+(?<!s)s|does)\b[a-z ]*", verb), verb


@pytest.mark.parametrize("kind", list(CharacterKind))
def test_prompt_is_one_sentence_for_all_actions_of_a_kind(kind: CharacterKind) -> None:
    recipe = draw_scene(np.random.default_rng(1), ONE)
    description = model_character(draw_character(np.random.default_rng(2), kind)).description
    for name in ACTIONS_OF_KIND[kind]:
        prompt = describe_scene(replace(recipe, actions=(ActionRecipe(name, 0),)), [description])
        assert prompt.startswith("A ") and f" {VERBS[name]}, " in prompt, prompt
        assert prompt.endswith(", the camera stands still.")
        assert prompt.count(".") == 1 and "_" not in prompt and "  " not in prompt
        assert not re.search(r"\b[aA] [aeiou]", prompt), prompt


def test_prompt_lists_several_subjects_and_names_a_motion_of_the_users() -> None:
    recipe = draw_scene(np.random.default_rng(1), replace(ONE, subject_weights=(0.0, 0.0, 1.0)))
    actions = (
        ActionRecipe(ActionName.WAVE, 0),
        ActionRecipe(ActionName.LOOK_AROUND, 0),
        LibraryAction("x.fbx", 0, "samba"),
    )
    prompt = describe_scene(replace(recipe, actions=actions), ["a orange dog", "a bird", "the character Ann"])
    assert prompt.startswith(
        'An orange dog waves, a bird looks around and the character Ann performs "samba", '
    )
