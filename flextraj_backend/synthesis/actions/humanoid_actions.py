"""Motions of people and box figures. NumPy only.

Each action turns the cycles that have passed into a `PosePlan`. Angles of arms are how people speak of them:
abduction away from the side, flexion to the front, the elbow's bend.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from flextraj_backend.demo.proportions import ARM_ANGLE, HumanoidProportions, build_skeleton
from flextraj_backend.synthesis.actions.pose_plan import SIDES, Limb, PosePlan, PoseSequence, solve_pose
from flextraj_backend.synthesis.actions.recipe import ActionName, ActionRecipe
from flextraj_backend.synthesis.actions.rotations import Series, X, Y, Z, rotation
from flextraj_backend.synthesis.actions.timing import keyed, steps, swell, wave

LEGS = tuple(Limb(f"thigh{side}", f"shin{side}", f"foot{side}", 1.0) for side, _ in SIDES)
_REST_ABDUCTION = float(np.degrees(ARM_ANGLE))
_SOFT_KNEES = 0.02
"""How much lower than on straight legs one stands, strides."""
_FOOT = 0.19
"""Ankle to toes, strides: how far the ankle rises when the heel does."""

Values = Series | float


def _arm(
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


def _torso(plan: PosePlan, bow: Values = 0.0, lean: Values = 0.0, twist: Values = 0.0) -> None:
    """Bend spine and chest forwards, to the body's left, and turn them to its left."""
    for bone in ("spine", "chest"):
        turn = rotation(Z, 0.5 * np.asarray(twist)) @ rotation(Y, 0.5 * np.asarray(lean))
        plan.turns[bone] = _per_sample(plan, turn @ rotation(X, 0.5 * np.asarray(bow)))


def _head(plan: PosePlan, nod: Values = 0.0, tilt: Values = 0.0, turn: Values = 0.0) -> None:
    for bone, share in (("neck", 0.35), ("head", 0.65)):
        turned = rotation(Z, share * np.asarray(turn)) @ rotation(Y, share * np.asarray(tilt))
        plan.turns[bone] = _per_sample(plan, turned @ rotation(X, share * np.asarray(nod)))


def _per_sample(plan: PosePlan, matrices: Series) -> Series:
    return np.broadcast_to(matrices, (plan.samples, 3, 3))


def _stand(cycles: Series) -> PosePlan:
    """A relaxed stance."""
    plan = PosePlan(len(cycles))
    plan.shift[:, 2] = -_SOFT_KNEES
    for side, sign in SIDES:
        _arm(plan, side)
        foot = plan.foot(f"foot{side}")
        foot.yaw[:] = 6.0 * sign
        foot.shift[:, 0] = 0.03 * sign
    return plan


def _walk(cycles: Series, recipe: ActionRecipe, rng: np.random.Generator) -> PosePlan:
    plan = _stand(cycles)
    size = recipe.amplitude
    swing = 0.42
    length = 1.40 * size  # strides a cycle
    arms = float(rng.uniform(26.0, 42.0))
    plan.shift[:, 1] = -length * cycles
    plan.shift[:, 2] = -0.085 * size**2 - 0.02 * np.cos(4 * np.pi * (cycles - 0.05))
    plan.shift[:, 0] = 0.03 * wave(cycles, 0.05)
    plan.hips = rotation(Z, -8.0 * wave(cycles, 0.25)) @ rotation(Y, 3.0 * wave(cycles))
    _torso(plan, bow=3.0, twist=16.0 * wave(cycles, 0.25))
    _head(plan, turn=-7.0 * wave(cycles, 0.25))
    for side, offset in ((".L", 0.0), (".R", 0.5)):
        own = cycles + offset
        place, through = steps(own, swing)
        foot = plan.foot(f"foot{side}")
        foot.shift[:, 0] *= 0.3
        foot.shift[:, 1] = -length * (place - offset)
        foot.pitch = keyed(own, (0.0, -16.0), (0.1, 0.0), (0.38, 0.0), (0.60, 42.0), (0.80, 8.0))
        raised = 0.09 * np.sin(np.pi * through) ** 2
        foot.shift[:, 2] = raised + _FOOT * np.sin(np.radians(np.maximum(foot.pitch, 0.0)))
        foot.yaw *= 0.5
        swung = -np.cos(2 * np.pi * (own - 0.02))
        _arm(plan, side, abduction=14.0, flexion=4.0 + arms * size * swung, elbow=22.0 + 14.0 * swung)
    return plan


def _wave(cycles: Series, recipe: ActionRecipe, rng: np.random.Generator) -> PosePlan:
    plan = _stand(cycles)
    size = recipe.amplitude
    beat = wave(2.0 * cycles)
    raised = float(rng.uniform(95.0, 120.0))
    _arm(
        plan,
        ".L",
        abduction=raised + 14.0 * size * wave(2.0 * cycles, -0.1),
        elbow=8.0,
        forearm_up=45.0 + 42.0 * size * beat,
    )
    _arm(plan, ".R", abduction=18.0, flexion=10.0 * wave(cycles), elbow=25.0)
    plan.shift[:, 0] = -0.07 * size * wave(cycles)
    plan.shift[:, 2] -= 0.02 * swell(2.0 * cycles)
    _torso(plan, lean=-8.0 * size * wave(cycles), twist=8.0 * wave(cycles, 0.2))
    _head(plan, tilt=10.0 * size * wave(cycles), turn=8.0 * wave(cycles, 0.2))
    return plan


def _squat(cycles: Series, recipe: ActionRecipe, rng: np.random.Generator) -> PosePlan:
    plan = _stand(cycles)
    depth = swell(cycles)
    size = recipe.amplitude
    apart = float(rng.uniform(0.06, 0.14))
    raised = float(rng.uniform(70.0, 130.0))
    plan.shift[:, 2] -= 0.42 * size * depth
    plan.shift[:, 1] = 0.16 * size * depth
    plan.hips = rotation(X, 22.0 * size * depth)
    _torso(plan, bow=26.0 * size * depth)
    _head(plan, nod=-32.0 * size * depth)
    for side, sign in SIDES:
        foot = plan.foot(f"foot{side}")
        foot.shift[:, 0] += apart * sign
        foot.yaw += 10.0 * sign
        _arm(plan, side, abduction=16.0, flexion=(raised + 25.0) * depth, elbow=14.0 + 10.0 * depth)
    return plan


def _jump(cycles: Series, recipe: ActionRecipe, rng: np.random.Generator) -> PosePlan:
    plan = _stand(cycles)
    size = recipe.amplitude
    leave, land = 0.38, 0.74
    crouch = keyed(cycles, (0.0, 0.12), (0.24, 1.0), (leave, 0.0), (land, 0.05), (0.86, 0.75))
    flight = np.clip((cycles % 1.0 - leave) / (land - leave), 0.0, 1.0)
    height = 4.0 * 0.42 * size * flight * (1.0 - flight)
    tuck = float(rng.uniform(0.02, 0.22)) * np.sin(np.pi * flight) ** 2
    plan.shift[:, 2] += height - 0.30 * size * crouch
    plan.shift[:, 1] = 0.08 * crouch
    plan.hips = rotation(X, 20.0 * crouch)
    _torso(plan, bow=26.0 * crouch)
    _head(plan, nod=-26.0 * crouch)
    arms = keyed(cycles, (0.0, 5.0), (0.22, -48.0), (leave + 0.06, 150.0), (land, 70.0), (0.9, -5.0))
    for side, _ in SIDES:
        foot = plan.foot(f"foot{side}")
        foot.shift[:, 2] = height + tuck
        foot.pitch = 32.0 * np.sin(np.pi * flight) ** 0.5
        foot.shift[:, 2] += 0.5 * _FOOT * np.sin(np.radians(foot.pitch))
        _arm(plan, side, abduction=18.0, flexion=size * arms, elbow=16.0)
    return plan


def _reach(cycles: Series, recipe: ActionRecipe, rng: np.random.Generator) -> PosePlan:
    plan = _stand(cycles)
    size = recipe.amplitude
    far = swell(cycles)
    up = float(rng.uniform(75.0, 155.0))
    out = float(rng.uniform(0.0, 35.0))
    plan.shift[:, 0] = 0.10 * size * far
    plan.shift[:, 1] = -0.14 * size * far
    plan.shift[:, 2] -= 0.05 * far
    plan.hips = rotation(Z, -14.0 * size * far)
    _torso(plan, bow=18.0 * size * far * (up < 115.0), lean=12.0 * size * far, twist=-24.0 * size * far)
    _head(plan, nod=-0.12 * (up - 90.0) * far, turn=20.0 * far)
    _arm(plan, ".L", abduction=16.0 + out * far, flexion=up * size * far, elbow=45.0 - 38.0 * far)
    _arm(plan, ".R", abduction=16.0 + 22.0 * far, flexion=-26.0 * size * far, elbow=16.0 + 16.0 * far)
    foot = plan.foot("foot.R")
    foot.pitch = 26.0 * far
    foot.shift[:, 2] = _FOOT * np.sin(np.radians(foot.pitch))
    return plan


_Action = Callable[[Series, ActionRecipe, np.random.Generator], PosePlan]

HUMANOID_ACTIONS: Mapping[ActionName, tuple[_Action, float]] = {
    ActionName.WALK: (_walk, 0.95),
    ActionName.WAVE: (_wave, 0.75),
    ActionName.SQUAT: (_squat, 0.62),
    ActionName.JUMP: (_jump, 0.85),
    ActionName.REACH: (_reach, 0.55),
}
"""Each with its cycles a second."""


def pose_humanoid(recipe: ActionRecipe, seconds: Series) -> PoseSequence:
    """The pose of the average body at some times (T,)."""
    action, rate = HUMANOID_ACTIONS[recipe.name]
    cycles = rate * recipe.tempo * seconds + recipe.phase
    plan = action(cycles, recipe, np.random.default_rng([recipe.seed, 4]))
    body = HumanoidProportions()
    return solve_pose(plan, build_skeleton(body), LEGS, body.leg * body.height)
