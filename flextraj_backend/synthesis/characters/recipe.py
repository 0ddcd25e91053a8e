"""What a character is drawn from: its kind and a seed; everything else follows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum

import numpy as np


class CharacterKind(StrEnum):
    HUMANOID = "humanoid"
    CREATURE = "creature"
    BLOCKOUT = "blockout"


class BodyForm(StrEnum):
    """How a character is put together."""

    PERSON = "person"
    QUADRUPED = "quadruped"
    BIRD = "bird"
    MONSTER = "monster"
    FIGURE = "figure"
    SHAPE = "shape"
    STACK = "stack"


class MeshDetail(Enum):
    """Size of a mesh's cells in metres for a character of about 1.7 m."""

    LOW = 0.03
    FINE = 0.014


_FORMS: dict[CharacterKind, tuple[BodyForm, ...]] = {
    CharacterKind.HUMANOID: (BodyForm.PERSON,),
    CharacterKind.CREATURE: (BodyForm.QUADRUPED, BodyForm.BIRD, BodyForm.MONSTER),
    CharacterKind.BLOCKOUT: (BodyForm.FIGURE, BodyForm.SHAPE, BodyForm.STACK),
}


@dataclass(frozen=True)
class CharacterRecipe:
    """A character.

    Attributes:
        kind: which actions it can perform.
        seed: of its form, proportions, colours and textures.
    """

    kind: CharacterKind
    seed: int

    @property
    def form(self) -> BodyForm:
        """How it is put together."""
        forms = _FORMS[self.kind]
        return forms[int(np.random.default_rng([self.seed, 1]).integers(len(forms)))]

    def generator(self) -> np.random.Generator:
        """The source of everything else about it."""
        return np.random.default_rng([self.seed, 2])


def draw_character(
    rng: np.random.Generator, kind: CharacterKind, form: BodyForm | None = None
) -> CharacterRecipe:
    """Draw a character of a kind, or of one of the kind's forms.

    Raises:
        ValueError: the kind has no such form.
    """
    if form is not None and form not in _FORMS[kind]:
        raise ValueError(f"A {kind.value} has no form {form.value}.")
    while True:
        recipe = CharacterRecipe(kind, int(rng.integers(1 << 31)))
        if form is None or recipe.form is form:
            return recipe
