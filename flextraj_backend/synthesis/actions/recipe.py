"""What a motion is drawn from, and which kinds of character have it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from blender_addon.core.synthesis_choices import ActionName
from flextraj_backend.synthesis.characters.recipe import CharacterKind

ACTIONS_OF_KIND: dict[CharacterKind, tuple[ActionName, ...]] = {
    CharacterKind.HUMANOID: (
        ActionName.WALK,
        ActionName.WAVE,
        ActionName.SQUAT,
        ActionName.DANCE,
        ActionName.TURN,
        ActionName.JUMP,
        ActionName.REACH,
        ActionName.KICK,
        ActionName.BOW,
        ActionName.LEAN,
        ActionName.CLAP,
        ActionName.JUMPING_JACK,
    ),
    CharacterKind.CREATURE: (
        ActionName.WALK,
        ActionName.HOP,
        ActionName.LOOK_AROUND,
        ActionName.TURN,
        ActionName.WAG,
    ),
    CharacterKind.BLOCKOUT: (
        ActionName.SLIDE,
        ActionName.SPIN,
        ActionName.ORBIT,
        ActionName.BOUNCE,
        ActionName.TUMBLE,
        ActionName.SCALE,
    ),
}
"""Every character of a kind performs all of these; a box figure also those of the humanoids."""


@dataclass(frozen=True)
class ActionRecipe:
    """A motion.

    Attributes:
        name: which.
        seed: of the choices within it, such as the moves of a dance.
        amplitude: size of the movements, about 0.8 to 1.2.
        tempo: speed, about 0.8 to 1.25.
        phase: where in its cycle it starts, 0 to 1.
        heading: degrees to its own left that the performer first turns.
        side: 1, or -1 for the mirror image.
    """

    name: ActionName
    seed: int
    amplitude: float = 1.0
    tempo: float = 1.0
    phase: float = 0.0
    heading: float = 0.0
    side: int = 1

    @classmethod
    def from_seed(cls, name: ActionName, seed: int) -> ActionRecipe:
        """Draw everything but the name from the seed."""
        rng = np.random.default_rng([seed, 3])
        return cls(
            name,
            seed,
            amplitude=float(rng.uniform(0.85, 1.2)),
            tempo=float(rng.uniform(0.8, 1.25)),
            phase=float(rng.random()),
            heading=float(rng.uniform(-25.0, 25.0)),
            side=1 if rng.random() < 0.5 else -1,
        )


def draw_action(rng: np.random.Generator, kind: CharacterKind) -> ActionRecipe:
    """Draw one of a kind's actions."""
    names = ACTIONS_OF_KIND[kind]
    return ActionRecipe.from_seed(names[int(rng.integers(len(names)))], int(rng.integers(1 << 31)))
