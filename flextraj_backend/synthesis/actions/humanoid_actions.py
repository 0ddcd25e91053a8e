"""Motions of people that are made with the legs. NumPy only."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from flextraj_backend.synthesis.actions.humanoid_pose import FOOT, Action, arm, head, stand, torso
from flextraj_backend.synthesis.actions.pose_plan import SIDES, PosePlan
from flextraj_backend.synthesis.actions.recipe import ActionName, ActionRecipe
from flextraj_backend.synthesis.actions.rotations import Series, X, Y, Z, rotation
from flextraj_backend.synthesis.actions.timing import keyed, steps, swell, wave


def _walk(cycles: Series, recipe: ActionRecipe, rng: np.random.Generator) -> PosePlan:
    plan = stand(cycles)
    size = recipe.amplitude
    swing = 0.42
    length = 1.40 * size  # strides a cycle
    arms = float(rng.uniform(26.0, 42.0))
    plan.shift[:, 1] = -length * (cycles - cycles[0])
    plan.shift[:, 2] = -0.085 * size**2 - 0.02 * np.cos(4 * np.pi * (cycles - 0.05))
    plan.shift[:, 0] = 0.03 * wave(cycles, 0.05)
    plan.hips = rotation(Z, -8.0 * wave(cycles, 0.25)) @ rotation(Y, 3.0 * wave(cycles))
    torso(plan, bow=3.0, twist=16.0 * wave(cycles, 0.25))
    head(plan, turn=-7.0 * wave(cycles, 0.25))
    for side, offset in ((".L", 0.0), (".R", 0.5)):
        own = cycles + offset
        place, through = steps(own, swing)
        foot = plan.foot(f"foot{side}")
        foot.shift[:, 0] *= 0.3
        foot.shift[:, 1] = -length * (place - offset - cycles[0])
        foot.pitch = keyed(own, (0.0, -16.0), (0.1, 0.0), (0.38, 0.0), (0.60, 42.0), (0.80, 8.0))
        raised = 0.09 * np.sin(np.pi * through) ** 2
        foot.shift[:, 2] = raised + FOOT * np.sin(np.radians(np.maximum(foot.pitch, 0.0)))
        foot.yaw *= 0.5
        swung = -np.cos(2 * np.pi * (own - 0.02))
        arm(plan, side, abduction=14.0, flexion=4.0 + arms * size * swung, elbow=22.0 + 14.0 * swung)
    return plan


def _turn(cycles: Series, recipe: ActionRecipe, rng: np.random.Generator) -> PosePlan:
    plan = stand(cycles)
    angle = 85.0 * recipe.amplitude  # a cycle, which is a step of each foot
    plan.heading = angle * (cycles - cycles[0])
    plan.shift[:, 2] -= 0.02 + 0.02 * np.cos(4 * np.pi * cycles)
    plan.shift[:, 0] = 0.0
    arms = float(rng.uniform(20.0, 60.0))
    torso(plan, twist=10.0 + 5.0 * wave(cycles))
    head(plan, turn=14.0)
    for side, offset in ((".L", 0.0), (".R", 0.5)):
        place, through = steps(cycles + offset, 0.45)
        foot = plan.foot(f"foot{side}")
        foot.orbit = angle * (place - offset - cycles[0])
        foot.shift[:, :2] = 0.0
        foot.shift[:, 2] = 0.16 * np.sin(np.pi * through) ** 2
        swung = wave(cycles + offset)
        arm(plan, side, abduction=arms + 12.0 * swung, flexion=18.0 * swung, elbow=24.0)
    return plan


def _squat(cycles: Series, recipe: ActionRecipe, rng: np.random.Generator) -> PosePlan:
    plan = stand(cycles)
    depth = swell(cycles)
    size = recipe.amplitude
    apart = float(rng.uniform(0.06, 0.14))
    raised = float(rng.uniform(70.0, 130.0))
    plan.shift[:, 2] -= 0.42 * size * depth
    plan.shift[:, 1] = 0.16 * size * depth
    plan.hips = rotation(X, 22.0 * size * depth)
    torso(plan, bow=26.0 * size * depth)
    head(plan, nod=-32.0 * size * depth)
    for side, sign in SIDES:
        foot = plan.foot(f"foot{side}")
        foot.shift[:, 0] += apart * sign
        foot.yaw += 10.0 * sign
        arm(plan, side, abduction=16.0, flexion=(raised + 25.0) * depth, elbow=14.0 + 10.0 * depth)
    return plan


def _jump(cycles: Series, recipe: ActionRecipe, rng: np.random.Generator) -> PosePlan:
    plan = stand(cycles)
    size = recipe.amplitude
    leave, land = 0.38, 0.74
    crouch = keyed(cycles, (0.0, 0.12), (0.24, 1.0), (leave, 0.0), (land, 0.05), (0.86, 0.75))
    flight = np.clip((cycles % 1.0 - leave) / (land - leave), 0.0, 1.0)
    height = 4.0 * 0.42 * size * flight * (1.0 - flight)
    tuck = float(rng.uniform(0.02, 0.22)) * np.sin(np.pi * flight) ** 2
    plan.shift[:, 2] += height - 0.30 * size * crouch
    plan.shift[:, 1] = 0.08 * crouch
    plan.hips = rotation(X, 20.0 * crouch)
    torso(plan, bow=26.0 * crouch)
    head(plan, nod=-26.0 * crouch)
    arms = keyed(cycles, (0.0, 5.0), (0.22, -48.0), (leave + 0.06, 150.0), (land, 70.0), (0.9, -5.0))
    for side, _ in SIDES:
        foot = plan.foot(f"foot{side}")
        foot.shift[:, 2] = height + tuck
        foot.pitch = 32.0 * np.sin(np.pi * flight) ** 0.5
        foot.shift[:, 2] += 0.5 * FOOT * np.sin(np.radians(foot.pitch))
        arm(plan, side, abduction=18.0, flexion=size * arms, elbow=16.0)
    return plan


def _kick(cycles: Series, recipe: ActionRecipe, rng: np.random.Generator) -> PosePlan:
    plan = stand(cycles)
    size = recipe.amplitude
    # Back, through, high in front, down.
    swung = keyed(cycles, (0.0, 0.0), (0.24, -0.65), (0.48, 1.0), (0.60, 0.92), (0.92, 0.0))
    high = float(rng.uniform(0.75, 1.05)) * size
    front, back = np.maximum(swung, 0.0), np.maximum(-swung, 0.0)
    foot = plan.foot("foot.L")
    foot.shift[:, 1] = -0.85 * size * front + 0.75 * size * back
    foot.shift[:, 2] = high * front**1.4 + 0.55 * size * back
    foot.pitch = 70.0 * back - 45.0 * front
    foot.shift[:, 0] -= 0.06 * front
    plan.shift[:, 0] = -0.08 * np.maximum(front, back)
    plan.shift[:, 1] = 0.06 * front
    plan.shift[:, 2] -= 0.02 * front
    plan.hips = rotation(X, 12.0 * back - 14.0 * front) @ rotation(Z, -12.0 * swung)
    torso(plan, bow=10.0 * back - 8.0 * front, lean=-6.0 * front, twist=26.0 * swung)
    head(plan, nod=14.0 * front)
    arm(plan, ".L", abduction=26.0 + 30.0 * front, flexion=-46.0 * size * swung, elbow=24.0)
    arm(plan, ".R", abduction=26.0 + 14.0 * front, flexion=58.0 * size * swung, elbow=28.0)
    return plan


def _jumping_jack(cycles: Series, recipe: ActionRecipe, rng: np.random.Generator) -> PosePlan:
    plan = stand(cycles)
    size = recipe.amplitude
    # One hop out, one in.
    apart = keyed(cycles, (0.0, 0.0), (0.08, 0.0), (0.42, 1.0), (0.58, 1.0), (0.92, 0.0))
    hop = np.abs(wave(cycles, -0.0)) ** 1.5
    height = 0.15 * size * hop
    wide = float(rng.uniform(0.30, 0.42)) * size
    plan.shift[:, 2] += height - 0.09 * apart - 0.05 * (1.0 - hop)
    for side, sign in SIDES:
        foot = plan.foot(f"foot{side}")
        foot.shift[:, 0] = sign * (0.03 + wide * apart)
        foot.pitch = 30.0 * hop
        foot.shift[:, 2] = height + 0.5 * FOOT * np.sin(np.radians(foot.pitch))
        arm(plan, side, abduction=16.0 + 142.0 * min(size, 1.1) * apart, elbow=14.0 + 8.0 * apart)
    return plan


LEG_ACTIONS: Mapping[ActionName, tuple[Action, float]] = {
    ActionName.WALK: (_walk, 0.95),
    ActionName.TURN: (_turn, 1.1),
    ActionName.SQUAT: (_squat, 0.75),
    ActionName.JUMP: (_jump, 0.85),
    ActionName.KICK: (_kick, 0.8),
    ActionName.JUMPING_JACK: (_jumping_jack, 0.75),
}
"""Each with its cycles a second."""
