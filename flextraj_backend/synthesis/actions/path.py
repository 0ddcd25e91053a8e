"""Where a motion carries its performer. NumPy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flextraj_backend.synthesis.actions.creature_motion import pose_creature
from flextraj_backend.synthesis.actions.humanoid_motion import HUMANOID_ACTIONS, pose_humanoid
from flextraj_backend.synthesis.actions.object_actions import OBJECT_ACTIONS, move_object
from flextraj_backend.synthesis.actions.recipe import ActionRecipe
from flextraj_backend.synthesis.actions.rotations import Z, apply, rotation
from flextraj_backend.synthesis.characters.recipe import BodyForm


def body_path(recipe: ActionRecipe, form: BodyForm, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Movement of a body's middle from where it stands at rest, heading and side included.

    Args:
        recipe: an action that the form has.
        form: of the body.
        seconds: (T,).

    Returns:
        (T, 3) in strides (see `pose_plan`); of objects in their heights.
    """
    if recipe.name in OBJECT_ACTIONS:
        shift = move_object(recipe, seconds).shift
    elif recipe.name in HUMANOID_ACTIONS and form in (BodyForm.PERSON, BodyForm.FIGURE):
        shift = pose_humanoid(recipe, seconds).shift
    else:
        shift = pose_creature(recipe, form, seconds).shift
    return apply(rotation(Z, recipe.heading), shift * np.array([float(recipe.side), 1.0, 1.0]))
