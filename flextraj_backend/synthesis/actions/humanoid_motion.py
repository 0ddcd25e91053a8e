"""The motions of people and box figures, posed. NumPy only."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from flextraj_backend.demo.proportions import HumanoidProportions, build_skeleton
from flextraj_backend.synthesis.actions.humanoid_actions import LEG_ACTIONS
from flextraj_backend.synthesis.actions.humanoid_gestures import GESTURES
from flextraj_backend.synthesis.actions.humanoid_pose import LEGS, Action
from flextraj_backend.synthesis.actions.pose_plan import PoseSequence, solve_pose
from flextraj_backend.synthesis.actions.recipe import ActionName, ActionRecipe
from flextraj_backend.synthesis.actions.rotations import Series

HUMANOID_ACTIONS: Mapping[ActionName, tuple[Action, float]] = {**LEG_ACTIONS, **GESTURES}
"""Each with its cycles a second."""


def pose_humanoid(recipe: ActionRecipe, seconds: Series) -> PoseSequence:
    """The pose of the average body at some times (T,); the same angles fit every other body."""
    action, rate = HUMANOID_ACTIONS[recipe.name]
    cycles = rate * recipe.tempo * seconds + recipe.phase
    plan = action(cycles, recipe, np.random.default_rng([recipe.seed, 4]))
    body = HumanoidProportions()
    return solve_pose(plan, build_skeleton(body), LEGS, body.leg * body.height)
