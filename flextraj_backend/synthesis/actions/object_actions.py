"""Motions of whole objects: what a previz artist keys on a cube. NumPy only; lengths in strides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from flextraj_backend.synthesis.actions.recipe import ActionName, ActionRecipe
from flextraj_backend.synthesis.actions.rotations import Series, X, Y, Z, rotation
from flextraj_backend.synthesis.actions.timing import keyed, swell, wave


@dataclass(frozen=True, eq=False)
class ObjectSequence:
    """A motion of an object.

    Attributes:
        shift: (T, 3) of its middle, strides.
        turns: (T, 3, 3) about its middle, or about the middle of its base where `on_ground`.
        scales: (T, 3) along its own axes.
        on_ground: what it turns and scales about stands on the ground.
    """

    shift: Series
    turns: Series
    scales: Series
    on_ground: bool


def _still(samples: int) -> tuple[Series, Series, Series]:
    return np.zeros((samples, 3)), np.broadcast_to(np.eye(3), (samples, 3, 3)), np.ones((samples, 3))


def _slide(cycles: Series, recipe: ActionRecipe, rng: np.random.Generator) -> ObjectSequence:
    shift, turns, scales = _still(len(cycles))
    angle = float(rng.uniform(-0.5, 0.5))
    far = 0.62 * recipe.amplitude * wave(cycles)
    shift[:, 0], shift[:, 1] = np.cos(angle) * far, np.sin(angle) * far
    lean = rotation(Y, -9.0 * recipe.amplitude * np.cos(2 * np.pi * cycles))
    return ObjectSequence(shift, lean @ turns, scales, True)


def _spin(cycles: Series, recipe: ActionRecipe, rng: np.random.Generator) -> ObjectSequence:
    shift, _, scales = _still(len(cycles))
    tilt = rotation(X, float(rng.uniform(-18.0, 18.0)))
    shift[:, 2] = 0.12 * recipe.amplitude * swell(cycles)
    return ObjectSequence(shift, tilt @ rotation(Z, 360.0 * cycles), scales, True)


def _bounce(cycles: Series, recipe: ActionRecipe, rng: np.random.Generator) -> ObjectSequence:
    shift, _, scales = _still(len(cycles))
    flight = np.clip((cycles % 1.0 - 0.12) / 0.76, 0.0, 1.0)
    shift[:, 2] = 4.0 * 0.42 * recipe.amplitude * flight * (1.0 - flight)
    shift[:, 0] = float(rng.uniform(0.2, 0.5)) * recipe.amplitude * wave(0.5 * cycles)
    tall = keyed(cycles, (0.0, 0.68), (0.16, 1.16), (0.5, 1.0), (0.84, 1.14))
    scales[:, 2] = tall
    scales[:, :2] = 1.0 / np.sqrt(tall)[:, None]
    turns = rotation(Z, float(rng.uniform(-70.0, 70.0)) * wave(0.5 * cycles))
    return ObjectSequence(shift, turns, scales, True)


def _orbit(cycles: Series, recipe: ActionRecipe, rng: np.random.Generator) -> ObjectSequence:
    shift, _, scales = _still(len(cycles))
    radius = float(rng.uniform(0.40, 0.60)) * recipe.amplitude
    shift[:, 0], shift[:, 1] = radius * wave(cycles), radius * np.cos(2 * np.pi * cycles)
    # Turned along its way, leaning inwards.
    lean = rotation(Y, 12.0 * recipe.amplitude)
    return ObjectSequence(shift, rotation(Z, -360.0 * cycles) @ lean, scales, True)


def _tumble(cycles: Series, recipe: ActionRecipe, rng: np.random.Generator) -> ObjectSequence:
    """Thrown up, it turns over about an axis of the seed's choice."""
    shift, _, scales = _still(len(cycles))
    axis = rng.standard_normal(3) * np.array([1.0, 1.0, 0.35])
    shift[:, 2] = 0.15 + 0.3 * recipe.amplitude * swell(cycles)
    shift[:, 0] = 0.30 * recipe.amplitude * wave(cycles)
    return ObjectSequence(shift, rotation(axis.tolist(), 360.0 * cycles), scales, False)


def _scale(cycles: Series, recipe: ActionRecipe, rng: np.random.Generator) -> ObjectSequence:
    shift, _, scales = _still(len(cycles))
    strength = 0.34 * recipe.amplitude * wave(cycles)
    even = float(rng.random()) < 0.5
    # As a whole, or taller and thinner at the same volume.
    scales[:, 2] = np.exp(strength)
    scales[:, :2] = np.exp(strength if even else -0.5 * strength)[:, None]
    return ObjectSequence(shift, rotation(Z, 35.0 * wave(0.5 * cycles)), scales, True)


_Action = Callable[[Series, ActionRecipe, np.random.Generator], ObjectSequence]

OBJECT_ACTIONS: Mapping[ActionName, tuple[_Action, float]] = {
    ActionName.SLIDE: (_slide, 0.5),
    ActionName.SPIN: (_spin, 0.42),
    ActionName.BOUNCE: (_bounce, 0.9),
    ActionName.ORBIT: (_orbit, 0.45),
    ActionName.TUMBLE: (_tumble, 0.45),
    ActionName.SCALE: (_scale, 0.6),
}
"""Each with its cycles a second."""


def move_object(recipe: ActionRecipe, seconds: Series) -> ObjectSequence:
    """The motion at some times (T,)."""
    action, rate = OBJECT_ACTIONS[recipe.name]
    cycles = rate * recipe.tempo * seconds + recipe.phase
    return action(cycles, recipe, np.random.default_rng([recipe.seed, 4]))
