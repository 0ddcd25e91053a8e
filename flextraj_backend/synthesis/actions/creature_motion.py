"""Motions of four-legged and two-legged creatures. NumPy only; lengths in strides.

Each action sets all that any creature may have: turns of bones that it lacks do nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from flextraj_backend.demo.proportions import Bone
from flextraj_backend.synthesis.actions.pose_plan import SIDES, Limb, PosePlan, PoseSequence, solve_pose
from flextraj_backend.synthesis.actions.recipe import ActionName, ActionRecipe
from flextraj_backend.synthesis.actions.rotations import Series, X, Y, Z, rotation
from flextraj_backend.synthesis.actions.timing import keyed, steps, swell, wave
from flextraj_backend.synthesis.characters.creature_bones import (
    BipedProportions,
    QuadrupedProportions,
    biped_skeleton,
    quadruped_skeleton,
)
from flextraj_backend.synthesis.characters.recipe import BodyForm

_HIND = tuple(Limb(f"thigh{side}", f"shin{side}", f"foot{side}", 1.0) for side, _ in SIDES)
_FRONT = tuple(
    Limb(f"front_thigh{side}", f"front_shin{side}", f"front_foot{side}", -1.0) for side, _ in SIDES
)
_FEET = tuple(
    (f"{prefix}foot{side}", sign, trot)
    for prefix, shifted in (("", 0.0), ("front_", 0.5))
    for side, sign, trot in ((".L", 1.0, shifted), (".R", -1.0, 0.5 - shifted))
)
"""Names, sides and places in the cycle of the feet: diagonal ones move together."""
_STANDING = 0.05
"""How much lower than on straight legs one stands, strides."""


def _stand(cycles: Series) -> PosePlan:
    plan = PosePlan(len(cycles))
    plan.shift[:, 2] = -_STANDING
    _wings(plan, 0.0 * cycles)
    return plan


def _wings(plan: PosePlan, raised: Series) -> None:
    """Raise wings or arms by some degrees; negative folds them to the body."""
    for side, sign in SIDES:
        plan.turns[f"wing{side}"] = rotation(Y, sign * (12.0 - raised))
        plan.turns[f"wing_tip{side}"] = rotation(Y, -0.35 * sign * raised)


def _neck(plan: PosePlan, nod: Series, turn: Series, tilt: Series) -> None:
    for bone, share in (("chest", 0.15), ("neck", 0.4), ("head", 0.45)):
        bend = rotation(Y, share * tilt) @ rotation(X, share * nod)
        plan.turns[bone] = rotation(Z, share * turn) @ bend


def _tail(plan: PosePlan, side: Series, up: Series) -> None:
    for bone in ("tail", "tail_end"):
        plan.turns[bone] = rotation(Z, 0.5 * side) @ rotation(X, 0.5 * up)


def _walk(cycles: Series, recipe: ActionRecipe, rng: np.random.Generator) -> PosePlan:
    plan = _stand(cycles)
    size = recipe.amplitude
    length, swing = 1.25 * size, 0.45
    passed = cycles - cycles[0]
    plan.shift[:, 1] = -length * passed
    plan.shift[:, 2] -= 0.05 + 0.035 * np.cos(4 * np.pi * cycles)
    plan.shift[:, 0] = 0.04 * wave(cycles, 0.05)
    plan.hips = rotation(Z, 5.0 * wave(cycles, 0.25)) @ rotation(Y, 5.0 * size * wave(cycles))
    bob = float(rng.uniform(6.0, 16.0)) * size
    _neck(plan, bob * wave(2.0 * cycles), -10.0 * wave(cycles, 0.25), 6.0 * wave(cycles))
    _tail(plan, 34.0 * wave(cycles), 12.0 * wave(2.0 * cycles))
    _wings(plan, float(rng.uniform(0.0, 40.0)) + 16.0 * size * wave(2.0 * cycles))
    for name, _, offset in _FEET:
        place, through = steps(cycles + offset, swing)
        foot = plan.foot(name)
        foot.shift[:, 1] = -length * (place - offset - cycles[0])
        foot.shift[:, 2] = 0.22 * size * np.sin(np.pi * through) ** 2
        foot.pitch = 40.0 * np.sin(np.pi * through) * (1.0 - through)
    return plan


def _hop(cycles: Series, recipe: ActionRecipe, rng: np.random.Generator) -> PosePlan:
    plan = _stand(cycles)
    size = recipe.amplitude
    leave, land = 0.34, 0.80
    flight = np.clip((cycles % 1.0 - leave) / (land - leave), 0.0, 1.0)
    crouch = keyed(cycles, (0.0, 0.35), (0.2, 1.0), (leave, 0.0), (land, 0.1), (0.9, 0.8))
    height = 4.0 * 0.55 * size * flight * (1.0 - flight)
    ahead = float(rng.uniform(0.3, 0.9)) * size  # strides a hop
    moved = -ahead * (np.floor(cycles) + flight)
    plan.shift[:, 1] = moved - moved[0] + 0.05 * crouch
    plan.shift[:, 2] += height - 0.30 * size * crouch
    plan.hips = rotation(X, 10.0 * crouch - 16.0 * np.sin(2 * np.pi * flight) * (flight > 0))
    _neck(plan, 18.0 * crouch - 14.0 * np.sin(np.pi * flight), 0.0 * cycles, 0.0 * cycles)
    _tail(plan, 10.0 * wave(cycles), 30.0 * np.sin(np.pi * flight) - 16.0 * crouch)
    _wings(plan, 70.0 * size * np.sin(np.pi * flight) ** 0.8 - 10.0 * crouch)
    for name, _, _ in _FEET:
        foot = plan.foot(name)
        foot.shift[:, 1] = moved - moved[0]
        foot.shift[:, 2] = height + 0.18 * np.sin(np.pi * flight) ** 2
        foot.pitch = 30.0 * np.sin(np.pi * flight) ** 0.5
    return plan


def _look_around(cycles: Series, recipe: ActionRecipe, rng: np.random.Generator) -> PosePlan:
    plan = _stand(cycles)
    size = recipe.amplitude
    plan.shift[:, 0] = 0.10 * size * wave(cycles)
    plan.shift[:, 2] -= 0.06 * size * swell(2.0 * cycles)
    turned = float(rng.uniform(70.0, 105.0)) * size * wave(cycles)
    nod = float(rng.uniform(15.0, 35.0)) * size * wave(2.0 * cycles, float(rng.random()))
    plan.hips = rotation(Z, 0.14 * turned) @ rotation(Y, 7.0 * size * wave(cycles))
    _neck(plan, nod, turned, 16.0 * size * wave(cycles, 0.2))
    _tail(plan, -0.5 * turned, 0.0 * cycles)
    _wings(plan, 22.0 * size * swell(2.0 * cycles))
    return plan


def _turn(cycles: Series, recipe: ActionRecipe, rng: np.random.Generator) -> PosePlan:
    plan = _stand(cycles)
    angle = 75.0 * recipe.amplitude
    plan.heading = angle * (cycles - cycles[0])
    plan.shift[:, 2] -= 0.05 + 0.025 * np.cos(4 * np.pi * cycles)
    plan.hips = rotation(Y, 5.0 * wave(cycles))
    ahead = float(rng.uniform(20.0, 45.0))
    _neck(plan, 8.0 * wave(2.0 * cycles), ahead + 6.0 * wave(cycles), 0.0 * cycles)
    _tail(plan, -20.0 + 16.0 * wave(cycles), 8.0 * wave(2.0 * cycles))
    _wings(plan, 20.0 + 20.0 * wave(cycles))
    for name, _, offset in _FEET:
        place, through = steps(cycles + offset, 0.45)
        foot = plan.foot(name)
        foot.orbit = angle * (place - offset - cycles[0])
        foot.shift[:, 2] = 0.24 * np.sin(np.pi * through) ** 2
        foot.pitch = 20.0 * np.sin(np.pi * through)
    return plan


def _wag(cycles: Series, recipe: ActionRecipe, rng: np.random.Generator) -> PosePlan:
    """Tail and hips swing, the chest goes down to play and up again, wings beat."""
    plan = _stand(cycles)
    size = recipe.amplitude
    fast = 2.0 * cycles
    bow = float(rng.uniform(10.0, 18.0)) * size * swell(cycles)
    plan.shift[:, 0] = 0.08 * size * wave(fast)
    plan.shift[:, 2] -= 0.04 + 0.03 * swell(cycles)
    plan.hips = rotation(Z, 9.0 * size * wave(fast)) @ rotation(X, bow) @ rotation(Y, 9.0 * size * wave(fast))
    _neck(
        plan, -1.6 * bow + 10.0 * wave(fast, 0.25), -26.0 * size * wave(fast), 22.0 * size * wave(fast, 0.1)
    )
    _tail(plan, 105.0 * size * wave(fast, -0.1), -18.0 + 0.0 * cycles)
    _wings(plan, 25.0 + 45.0 * size * wave(fast, 0.3))
    return plan


_Action = Callable[[Series, ActionRecipe, np.random.Generator], PosePlan]

CREATURE_ACTIONS: Mapping[ActionName, tuple[_Action, float]] = {
    ActionName.WALK: (_walk, 1.15),
    ActionName.HOP: (_hop, 1.0),
    ActionName.LOOK_AROUND: (_look_around, 0.6),
    ActionName.TURN: (_turn, 1.2),
    ActionName.WAG: (_wag, 0.8),
}
"""Each with its cycles a second."""


def _average(form: BodyForm) -> tuple[tuple[Bone, ...], tuple[Limb, ...], float]:
    """Skeleton, legs and height of the hip joints of the body that stands for all of its form."""
    if form is BodyForm.QUADRUPED:
        quadruped = QuadrupedProportions()
        return quadruped_skeleton(quadruped), (*_HIND, *_FRONT), quadruped.leg
    biped = BipedProportions()
    return biped_skeleton(biped), _HIND, biped.leg


def pose_creature(recipe: ActionRecipe, form: BodyForm, seconds: Series) -> PoseSequence:
    """The pose of the average body of a form at some times (T,); the same angles fit others of the form."""
    action, rate = CREATURE_ACTIONS[recipe.name]
    cycles = rate * recipe.tempo * seconds + recipe.phase
    plan = action(cycles, recipe, np.random.default_rng([recipe.seed, 4]))
    bones, legs, stride = _average(form)
    return solve_pose(plan, bones, legs, stride)
