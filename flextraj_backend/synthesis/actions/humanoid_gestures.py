"""Motions of people that are made with arms and torso. NumPy only."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from flextraj_backend.synthesis.actions.humanoid_pose import Action, arm, head, raise_heel, stand, torso
from flextraj_backend.synthesis.actions.pose_plan import SIDES, PosePlan
from flextraj_backend.synthesis.actions.recipe import ActionName, ActionRecipe
from flextraj_backend.synthesis.actions.rotations import Series, X, Y, Z, rotation
from flextraj_backend.synthesis.actions.timing import swell, wave


def _wave_hand(cycles: Series, recipe: ActionRecipe, rng: np.random.Generator) -> PosePlan:
    plan = stand(cycles)
    size = recipe.amplitude
    beat = wave(2.0 * cycles)
    raised = float(rng.uniform(95.0, 120.0))
    arm(
        plan,
        ".L",
        abduction=raised + 14.0 * size * wave(2.0 * cycles, -0.1),
        elbow=8.0,
        forearm_up=45.0 + 42.0 * size * beat,
    )
    arm(plan, ".R", abduction=18.0, flexion=10.0 * wave(cycles), elbow=25.0)
    plan.shift[:, 0] = -0.07 * size * wave(cycles)
    plan.shift[:, 2] -= 0.02 * swell(2.0 * cycles)
    torso(plan, lean=-8.0 * size * wave(cycles), twist=8.0 * wave(cycles, 0.2))
    head(plan, tilt=10.0 * size * wave(cycles), turn=8.0 * wave(cycles, 0.2))
    return plan


def _reach(cycles: Series, recipe: ActionRecipe, rng: np.random.Generator) -> PosePlan:
    plan = stand(cycles)
    size = recipe.amplitude
    far = swell(cycles)
    up = float(rng.uniform(75.0, 155.0))
    out = float(rng.uniform(0.0, 35.0))
    plan.shift[:, 0] = 0.10 * size * far
    plan.shift[:, 1] = -0.14 * size * far
    plan.shift[:, 2] -= 0.05 * far
    plan.hips = rotation(Z, -14.0 * size * far)
    torso(plan, bow=18.0 * size * far * (up < 115.0), lean=12.0 * size * far, twist=-24.0 * size * far)
    head(plan, nod=-0.12 * (up - 90.0) * far, turn=20.0 * far)
    arm(plan, ".L", abduction=16.0 + out * far, flexion=up * size * far, elbow=45.0 - 38.0 * far)
    arm(plan, ".R", abduction=16.0 + 22.0 * far, flexion=-26.0 * size * far, elbow=16.0 + 16.0 * far)
    raise_heel(plan, ".R", 26.0 * far)
    return plan


def _bow(cycles: Series, recipe: ActionRecipe, rng: np.random.Generator) -> PosePlan:
    plan = stand(cycles)
    deep = swell(cycles) * recipe.amplitude
    swept = float(rng.uniform(0.0, 1.0))  # one arm across the belly, or both hanging
    plan.hips = rotation(X, 34.0 * deep)
    plan.shift[:, 1] = 0.12 * deep
    plan.shift[:, 2] -= 0.05 * deep
    torso(plan, bow=48.0 * deep)
    head(plan, nod=14.0 * deep)
    arm(plan, ".L", abduction=18.0, flexion=(28.0 + 20.0 * swept) * deep, elbow=14.0 + 64.0 * swept * deep)
    arm(plan, ".R", abduction=18.0 + 52.0 * swept * deep, flexion=36.0 * (1.0 - swept) * deep, elbow=14.0)
    return plan


def _lean(cycles: Series, recipe: ActionRecipe, rng: np.random.Generator) -> PosePlan:
    """Lunges from side to side on legs apart."""
    plan = stand(cycles)
    size = recipe.amplitude
    tilt = wave(cycles)
    raised = float(rng.uniform(60.0, 125.0))
    plan.shift[:, 0] = 0.26 * size * tilt
    plan.shift[:, 2] -= 0.10 + 0.10 * size * np.abs(tilt) ** 1.5
    plan.hips = rotation(Y, 8.0 * size * tilt)
    torso(plan, lean=30.0 * size * tilt, bow=6.0)
    head(plan, tilt=14.0 * size * tilt, turn=18.0 * tilt)
    for side, sign in SIDES:
        foot = plan.foot(f"foot{side}")
        foot.shift[:, 0] = 0.26 * sign
        foot.yaw[:] = 16.0 * sign
        up = 0.5 - 0.5 * sign * tilt
        arm(plan, side, abduction=24.0 + raised * size * up, elbow=18.0, flexion=10.0 * (1 - up))
    return plan


def _clap(cycles: Series, recipe: ActionRecipe, rng: np.random.Generator) -> PosePlan:
    plan = stand(cycles)
    size = recipe.amplitude
    # Hands meet at whole double beats; held low, before the chest, or overhead.
    together = np.abs(np.cos(2 * np.pi * cycles)) ** 1.5
    high = float(rng.uniform(62.0, 120.0))
    plan.shift[:, 0] = 0.05 * wave(cycles)
    plan.shift[:, 2] -= 0.05 * size * together
    torso(plan, bow=6.0 * together, twist=12.0 * size * wave(cycles))
    head(plan, nod=10.0 * together, tilt=6.0 * wave(cycles))
    for side, _ in SIDES:
        inwards = -42.0 * size * (1.0 - together) + 7.0 * together
        arm(plan, side, abduction=10.0, flexion=high - 8.0 * (1 - together), elbow=26.0, inwards=inwards)
    return plan


def _dance(cycles: Series, recipe: ActionRecipe, rng: np.random.Generator) -> PosePlan:
    """Side steps with hips, arms and head of the seed's choice, on one beat."""
    plan = stand(cycles)
    size = recipe.amplitude
    sway = wave(cycles)
    beat = swell(2.0 * cycles, 0.25)  # low when the weight has arrived on a foot
    plan.shift[:, 0] = float(rng.uniform(0.10, 0.17)) * size * sway
    plan.shift[:, 2] -= 0.03 + 0.11 * size * (1.0 - beat)
    twist = float(rng.uniform(12.0, 30.0)) * size * wave(cycles, float(rng.uniform(-0.15, 0.15)))
    plan.hips = rotation(Z, twist) @ rotation(Y, -float(rng.uniform(4.0, 12.0)) * size * sway)
    lean = float(rng.uniform(6.0, 18.0)) * size * sway
    torso(plan, bow=6.0 + 8.0 * (1.0 - beat), lean=lean, twist=-1.6 * twist)
    head(plan, nod=14.0 * (beat - 0.5), tilt=-0.7 * lean, turn=1.1 * twist)
    style = int(rng.integers(3))
    spread = float(rng.uniform(25.0, 55.0))
    for side, sign in SIDES:
        foot = plan.foot(f"foot{side}")
        lifted = np.maximum(-sign * sway, 0.0) ** 2
        foot.shift[:, 0] = 0.10 * sign
        foot.shift[:, 2] = 0.20 * size * lifted
        foot.shift[:, 1] = 0.06 * lifted
        foot.pitch = 30.0 * lifted
        own = sign * sway
        if style == 0:  # arms up in turn
            arm(plan, side, abduction=70.0 + 62.0 * size * own, elbow=20.0, forearm_up=30.0 + 18.0 * own)
        elif style == 1:  # elbows bent, fists forwards in turn
            arm(plan, side, abduction=28.0, flexion=24.0 + spread * size * own, elbow=82.0 - 22.0 * own)
        else:  # both arms swing overhead from side to side
            arm(plan, side, abduction=128.0 + 34.0 * size * own, elbow=10.0, forearm_up=8.0 + 16.0 * own)
    return plan


GESTURES: Mapping[ActionName, tuple[Action, float]] = {
    ActionName.WAVE: (_wave_hand, 0.75),
    ActionName.REACH: (_reach, 0.8),
    ActionName.BOW: (_bow, 0.72),
    ActionName.LEAN: (_lean, 0.6),
    ActionName.CLAP: (_clap, 0.8),
    ActionName.DANCE: (_dance, 0.9),
}
"""Each with its cycles a second."""
