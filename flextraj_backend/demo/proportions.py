"""Proportions of the procedural humanoid and the skeleton that follows from them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class HumanoidProportions:
    """Measures of a body. Lengths other than `height` are fractions of the height.

    Attributes:
        height: sole to crown without hair, metres.
        head: height of the head, chin to crown.
        head_width: breadth of the head divided by its height.
        neck: length of the neck.
        shoulders: distance of the two shoulder joints.
        chest, waist, hips: breadth of the torso.
        depth: depth of the torso divided by its breadth.
        leg: height of the hip joints above the ground.
        arm: shoulder joint to wrist.
        girth: thickness of neck and limbs; 1 = average.
        hair: thickness of the hair on the skull.
        hair_length: how far the hair hangs down, in head heights from the crown.
    """

    height: float = 1.72
    head: float = 0.140
    head_width: float = 0.72
    neck: float = 0.045
    shoulders: float = 0.225
    chest: float = 0.180
    waist: float = 0.152
    hips: float = 0.196
    depth: float = 0.64
    leg: float = 0.50
    arm: float = 0.325
    girth: float = 1.0
    hair: float = 0.016
    hair_length: float = 0.72

    @classmethod
    def sample(cls, rng: np.random.Generator, spread: float = 0.06) -> HumanoidProportions:
        """Draw a body around the default: each measure times a normal factor, cut off at two deviations.

        Args:
            rng: source of the numbers; the same state gives the same body.
            spread: standard deviation of the factors; 0 gives the default body.
        """
        factors = 1.0 + spread * np.clip(rng.standard_normal(len(fields(cls))), -2.0, 2.0)
        default = cls()
        measures = {
            item.name: float(getattr(default, item.name) * factor)
            for item, factor in zip(fields(cls), factors, strict=True)
        }
        # The legs' share decides where the torso ends: a free factor would leave no torso above them.
        measures["leg"] = default.leg + (measures["leg"] - default.leg) * 0.4
        return replace(default, **measures)


@dataclass(frozen=True, eq=False)
class Bone:
    """A bone in its rest pose.

    Attributes:
        name: Blender's usual name, `.L` and `.R` for the sides.
        head, tail: (3,) ends in metres; +Z up, the body looks along -Y, so that its left is +X.
        parent: name of the parent bone, None for the root.
        reach: radius of the flesh around the bone in metres; weights fall off relative to it.
    """

    name: str
    head: NDArray[np.float64]
    tail: NDArray[np.float64]
    parent: str | None
    reach: float


ARM_ANGLE = np.deg2rad(38.0)
"""Angle of the arms from the vertical in the rest pose: far enough from the body for clean weights."""


def build_skeleton(body: HumanoidProportions) -> tuple[Bone, ...]:
    """Return the bones of a body, parents before children."""
    unit = body.height
    hip = body.leg * unit
    skull = (1.0 - body.head) * unit  # chin
    neck_base = skull - body.neck * unit * 0.45
    torso = neck_base - hip
    girth = body.girth * unit
    bones: list[Bone] = []

    def add(
        name: str, head: tuple[float, ...], tail: tuple[float, ...], parent: str | None, reach: float
    ) -> None:
        bones.append(Bone(name, np.array(head, np.float64), np.array(tail, np.float64), parent, reach))

    waist, ribs = hip + 0.20 * torso, hip + 0.52 * torso
    head_pivot = skull + 0.14 * body.head * unit
    add("hips", (0, 0.005 * unit, hip + 0.01 * unit), (0, 0.005 * unit, waist), None, 0.5 * body.hips * unit)
    add("spine", (0, 0.005 * unit, waist), (0, 0.005 * unit, ribs), "hips", 0.5 * body.waist * unit)
    add("chest", (0, 0.005 * unit, ribs), (0, 0.010 * unit, neck_base), "spine", 0.5 * body.chest * unit)
    add("neck", (0, 0.010 * unit, neck_base), (0, 0.002 * unit, head_pivot), "chest", 0.034 * girth)
    add("head", (0, 0.002 * unit, head_pivot), (0, 0.002 * unit, unit), "neck", 0.37 * body.head * unit)
    shoulder_height = neck_base - 0.062 * unit
    across, down = np.sin(ARM_ANGLE), np.cos(ARM_ANGLE)
    for side, sign in ((".L", 1.0), (".R", -1.0)):
        joint = np.array([sign * 0.5 * body.shoulders * unit, 0.012 * unit, shoulder_height])
        direction = np.array([sign * across, 0.0, -down])
        elbow = joint + direction * 0.54 * body.arm * unit
        # Slightly bent forward, so that the elbow's direction is unambiguous for inverse kinematics.
        wrist = elbow + (direction + np.array([0, -0.10, 0])) * 0.46 * body.arm * unit
        knuckles = wrist + (direction + np.array([0, -0.12, 0])) * 0.095 * unit
        inner = (sign * 0.022 * unit, 0.008 * unit, shoulder_height + 0.018 * unit)
        add("shoulder" + side, inner, tuple(joint), "chest", 0.040 * unit)
        add("upper_arm" + side, tuple(joint), tuple(elbow), "shoulder" + side, 0.030 * girth)
        add("forearm" + side, tuple(elbow), tuple(wrist), "upper_arm" + side, 0.024 * girth)
        add("hand" + side, tuple(wrist), tuple(knuckles), "forearm" + side, 0.024 * girth)
        leg_x = sign * 0.27 * body.hips * unit
        knee = (leg_x * 0.98, 0.0, 0.54 * hip)
        ankle = (leg_x * 0.96, 0.012 * unit, 0.045 * unit)
        toes = (leg_x * 1.10, -0.085 * unit, 0.018 * unit)
        add("thigh" + side, (leg_x, 0.004 * unit, hip), knee, "hips", 0.050 * girth)
        add("shin" + side, knee, ankle, "thigh" + side, 0.033 * girth)
        add("foot" + side, ankle, toes, "shin" + side, 0.030 * girth)
    return tuple(bones)
