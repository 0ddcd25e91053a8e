"""The poses that the motions of people are made of. NumPy only.

Angles of arms are how people speak of them: abduction away from the side, flexion to the front, the
elbow's bend. One value or one for each sample.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from flextraj_backend.demo.proportions import ARM_ANGLE
from flextraj_backend.synthesis.actions.pose_plan import SIDES, Limb, PosePlan
from flextraj_backend.synthesis.actions.recipe import ActionRecipe
from flextraj_backend.synthesis.actions.rotations import Series, X, Y, Z, rotation

LEGS = tuple(Limb(f"thigh{side}", f"shin{side}", f"foot{side}", 1.0) for side, _ in SIDES)
_REST_ABDUCTION = float(np.degrees(ARM_ANGLE))
SOFT_KNEES = 0.02
"""How much lower than on straight legs one stands, strides."""
FOOT = 0.19
"""Ankle to toes, strides: how far the ankle rises when the heel does."""

Values = Series | float


def arm(
    plan: PosePlan,
    side: str,
    abduction: Values = 16.0,
    flexion: Values = 0.0,
    elbow: Values = 12.0,
    inwards: Values = 0.0,
    forearm_up: Values = 0.0,
) -> None:
    """Pose an arm; `inwards` turns it across the body, `forearm_up` bends the elbow away from the body."""
    sign = 1.0 if side == ".L" else -1.0
    across, down = np.sin(ARM_ANGLE), np.cos(ARM_ANGLE)
    upper = rotation(Y, sign * (_REST_ABDUCTION - np.asarray(abduction)))
    upper = rotation(X, -np.asarray(flexion)) @ upper
    upper = rotation(Z, -sign * np.asarray(inwards)) @ upper
    hinge = rotation((down, 0.0, sign * across), -np.asarray(elbow))
    plan.turns[f"upper_arm{side}"] = _per_sample(plan, upper)
    plan.turns[f"forearm{side}"] = _per_sample(plan, rotation(Y, -sign * np.asarray(forearm_up)) @ hinge)


def torso(plan: PosePlan, bow: Values = 0.0, lean: Values = 0.0, twist: Values = 0.0) -> None:
    """Bend spine and chest forwards, to the body's left, and turn them to its left."""
    for bone in ("spine", "chest"):
        turn = rotation(Z, 0.5 * np.asarray(twist)) @ rotation(Y, 0.5 * np.asarray(lean))
        plan.turns[bone] = _per_sample(plan, turn @ rotation(X, 0.5 * np.asarray(bow)))


def head(plan: PosePlan, nod: Values = 0.0, tilt: Values = 0.0, turn: Values = 0.0) -> None:
    """Nod, tilt to the body's left and turn to its left, the neck by a third."""
    for bone, share in (("neck", 0.35), ("head", 0.65)):
        turned = rotation(Z, share * np.asarray(turn)) @ rotation(Y, share * np.asarray(tilt))
        plan.turns[bone] = _per_sample(plan, turned @ rotation(X, share * np.asarray(nod)))


def _per_sample(plan: PosePlan, matrices: Series) -> Series:
    return np.broadcast_to(matrices, (plan.samples, 3, 3))


def stand(cycles: Series) -> PosePlan:
    """A relaxed stance."""
    plan = PosePlan(len(cycles))
    plan.shift[:, 2] = -SOFT_KNEES
    for side, sign in SIDES:
        arm(plan, side)
        foot = plan.foot(f"foot{side}")
        foot.yaw[:] = 6.0 * sign
        foot.shift[:, 0] = 0.03 * sign
    return plan


def raise_heel(plan: PosePlan, side: str, degrees: Series) -> None:
    """Lift a heel off the ground; the toes stay on it."""
    foot = plan.foot(f"foot{side}")
    foot.pitch = degrees
    foot.shift[:, 2] += FOOT * np.sin(np.radians(degrees))


Action = Callable[[Series, ActionRecipe, np.random.Generator], PosePlan]
"""Turns cycles (T,), the recipe and a source of its choices into a motion."""
