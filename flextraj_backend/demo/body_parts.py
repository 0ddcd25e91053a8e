"""The parts of the procedural humanoid: torso, limbs, head, hair and clothes as lofts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from flextraj_backend.demo.loft import Loft, Material
from flextraj_backend.demo.proportions import Bone, HumanoidProportions

_SIDES = ((".L", 1.0), (".R", -1.0))
_X = (1.0, 0.0, 0.0)


def body_parts(body: HumanoidProportions, bones: Mapping[str, Bone]) -> list[Loft]:
    """Return the parts in the order in which they are joined.

    Args:
        body: measures.
        bones: the body's skeleton by name.
    """
    return [*_torso(body, bones), *_arms(body, bones), *_legs(body, bones), *_head(body, bones)]


def _torso(body: HumanoidProportions, bones: Mapping[str, Bone]) -> list[Loft]:
    unit = body.height
    crotch = bones["hips"].head[2] - 0.055 * unit
    waist = bones["spine"].head[2]
    neck_base = bones["neck"].head[2]
    chest, middle, hips = (0.5 * breadth * unit for breadth in (body.chest, body.waist, body.hips))
    shoulder = 0.5 * body.shoulders * unit
    neck = 0.033 * unit * body.girth
    depth = body.depth
    pelvis = Loft(
        (0, 0, crotch),
        (0, 0, waist + 0.03 * unit),
        _X,
        (
            (0.0, 0.62 * hips, 0.75 * depth * hips, 0.0),
            (0.35, 0.98 * hips, 1.02 * depth * hips, -0.006 * unit),
            (0.7, 0.94 * hips, 0.98 * depth * hips, -0.003 * unit),
            (1.0, 1.00 * middle, depth * middle, 0.0),
        ),
        Material.TROUSERS,
        power=2.3,
        rounding=0.03,
    )
    hem = bones["hips"].head[2] + 0.008 * unit
    # The shirt: hem, waist, ribs, chest, armpits, shoulders, neck.
    shirt = Loft(
        (0, 0.004 * unit, hem),
        (0, 0.010 * unit, neck_base + 0.006 * unit),
        _X,
        (
            (0.00, 1.08 * hips, 1.22 * depth * hips, 0.0),
            (0.14, 1.00 * hips, 1.16 * depth * hips, 0.0),
            (0.34, 1.06 * middle, 1.10 * depth * middle, 0.003 * unit),
            (0.58, 1.00 * chest, 1.12 * depth * chest, 0.006 * unit),
            (0.74, 1.02 * chest, 1.10 * depth * chest, 0.008 * unit),
            (0.86, 0.86 * shoulder, 0.86 * depth * chest, 0.002 * unit),
            (0.94, 0.64 * shoulder, 0.60 * depth * chest, -0.006 * unit),
            (1.00, 1.10 * neck, 1.12 * neck, -0.006 * unit),
        ),
        Material.TOP,
        blend=0.008,
        power=2.35,
        rounding=0.010,
    )
    head_pivot = bones["head"].head
    throat = Loft(
        bones["neck"].head - np.array([0, -0.002, 0.035]) * unit,
        head_pivot + np.array([0, 0.0, 0.02]) * unit,
        _X,
        ((0.0, 1.05 * neck, 1.05 * neck, 0.0), (0.5, 0.95 * neck, 0.98 * neck, 0.0), (1.0, neck, neck, 0.0)),
        Material.SKIN,
        blend=0.006,
    )
    return [pelvis, shirt, throat]


def _arms(body: HumanoidProportions, bones: Mapping[str, Bone]) -> list[Loft]:
    unit = body.height
    thick = body.girth * unit
    parts: list[Loft] = []
    for side, sign in _SIDES:
        upper, lower, hand = (bones[name + side] for name in ("upper_arm", "forearm", "hand"))
        front = (0.0, 1.0, 0.0)
        parts.append(
            Loft(
                upper.head - 0.20 * (upper.tail - upper.head),
                upper.tail,
                front,
                (
                    (0.0, 0.029 * thick, 0.026 * thick, 0.0),
                    (0.2, 0.032 * thick, 0.030 * thick, 0.0),
                    (0.5, 0.0285 * thick, 0.0275 * thick, 0.0),
                    (1.0, 0.0240 * thick, 0.0240 * thick, 0.0),
                ),
                Material.TOP,
                blend=0.055,
                rounding=0.046,
            )
        )
        parts.append(
            Loft(
                lower.head - 0.10 * (lower.tail - lower.head),
                lower.tail - 0.02 * (lower.tail - lower.head),
                front,
                (
                    (0.0, 0.0235 * thick, 0.0235 * thick, 0.0),
                    (0.35, 0.0245 * thick, 0.0240 * thick, 0.0),
                    (1.0, 0.0195 * thick, 0.0190 * thick, 0.0),
                ),
                Material.TOP,
                blend=0.020,
                rounding=0.008,
            )
        )
        along = hand.tail - hand.head
        parts.append(
            Loft(
                hand.head - 0.15 * along,
                hand.tail + 0.12 * along,
                front,
                (
                    (0.0, 0.0135 * thick, 0.0125 * thick, 0.0),
                    (0.2, 0.0150 * thick, 0.0120 * thick, 0.0),
                    (0.5, 0.0240 * thick, 0.0110 * thick, 0.0),
                    (0.8, 0.0215 * thick, 0.0090 * thick, 0.0),
                    (1.0, 0.0120 * thick, 0.0060 * thick, 0.0),
                ),
                Material.SKIN,
                blend=0.004,
                power=2.4,
                rounding=0.008,
            )
        )
        thumb_start = hand.head + 0.18 * along
        thumb = thumb_start + 0.42 * along + np.array([-sign * 0.004, -0.036, 0.0]) * unit
        parts.append(
            Loft(
                thumb_start,
                thumb,
                _X,
                ((0.0, 0.0095 * thick, 0.0095 * thick, 0.0), (1.0, 0.0075 * thick, 0.0075 * thick, 0.0)),
                Material.SKIN,
                blend=0.012,
                rounding=0.010,
            )
        )
    return parts


def _legs(body: HumanoidProportions, bones: Mapping[str, Bone]) -> list[Loft]:
    unit = body.height
    thick = body.girth * unit
    parts: list[Loft] = []
    for side, _ in _SIDES:
        thigh, shin, foot = (bones[name + side] for name in ("thigh", "shin", "foot"))
        parts.append(
            Loft(
                thigh.head + 0.06 * (thigh.head - thigh.tail),
                thigh.tail,
                _X,
                (
                    (0.0, 0.046 * thick, 0.054 * thick, 0.0),
                    (0.25, 0.049 * thick, 0.054 * thick, 0.0),
                    (0.65, 0.041 * thick, 0.044 * thick, 0.0),
                    (1.0, 0.034 * thick, 0.036 * thick, 0.0),
                ),
                Material.TROUSERS,
                blend=0.020,
                rounding=0.02,
            )
        )
        parts.append(
            Loft(
                shin.head - 0.04 * (shin.tail - shin.head),
                shin.tail,
                _X,
                (
                    (0.0, 0.034 * thick, 0.036 * thick, 0.0),
                    (0.3, 0.034 * thick, 0.037 * thick, 0.006 * unit),
                    (1.0, 0.028 * thick, 0.030 * thick, 0.0),
                ),
                Material.TROUSERS,
                blend=0.012,
                rounding=0.01,
            )
        )
        heel = np.array([foot.head[0], foot.head[1] + 0.022 * unit, 0.022 * unit])
        toes = np.array([foot.tail[0], foot.tail[1] - 0.02 * unit, 0.016 * unit])
        parts.append(
            Loft(
                heel,
                toes,
                _X,
                (
                    (0.0, 0.024 * unit, 0.022 * unit, 0.0),
                    (0.3, 0.024 * unit, 0.028 * unit, 0.004 * unit),
                    (0.7, 0.029 * unit, 0.019 * unit, 0.0),
                    (1.0, 0.018 * unit, 0.011 * unit, -0.002 * unit),
                ),
                Material.SHOES,
                blend=0.010,
                power=2.4,
                rounding=0.014,
            )
        )
    return parts


def _head(body: HumanoidProportions, bones: Mapping[str, Bone]) -> list[Loft]:
    """Skull, jaw, nose, ears and hair; lengths in head heights, measured from the chin."""
    tall = body.head * body.height
    wide = 0.5 * body.head_width * tall
    middle = bones["head"].head[1]
    chin = (1.0 - body.head) * body.height

    def at(x: float, forward: float, up: float) -> tuple[float, float, float]:
        return (x * tall, middle - forward * tall, chin + up * tall)

    # Rows: t, width, depth, shift; the depth axis of an upright loft points to the back (+Y).
    skull = Loft(
        at(0, 0.0, 0.0),
        at(0, 0.0, 1.0),
        _X,
        (
            (0.00, 0.26 * wide, 0.100 * tall, -0.270 * tall),
            (0.07, 0.50 * wide, 0.190 * tall, -0.210 * tall),
            (0.20, 0.74 * wide, 0.290 * tall, -0.115 * tall),
            (0.38, 0.86 * wide, 0.385 * tall, -0.020 * tall),
            (0.58, 0.95 * wide, 0.435 * tall, 0.025 * tall),
            (0.76, 0.92 * wide, 0.425 * tall, 0.035 * tall),
            (0.91, 0.68 * wide, 0.320 * tall, 0.035 * tall),
            (1.00, 0.28 * wide, 0.130 * tall, 0.035 * tall),
        ),
        Material.SKIN,
        blend=0.018,
        power=2.15,
        rounding=0.012,
    )
    nose = Loft(
        at(0, 0.385, 0.545),
        at(0, 0.475, 0.365),
        _X,
        (
            (0.0, 0.030 * tall, 0.030 * tall, 0.0),
            (0.7, 0.048 * tall, 0.042 * tall, 0.0),
            (1.0, 0.058 * tall, 0.045 * tall, 0.0),
        ),
        Material.SKIN,
        blend=0.012,
        rounding=0.008,
    )
    brow = Loft(
        at(-0.20, 0.330, 0.60),
        at(0.20, 0.330, 0.60),
        (0.0, 1.0, 0.0),
        (
            (0.0, 0.05 * tall, 0.035 * tall, 0.0),
            (0.5, 0.085 * tall, 0.04 * tall, 0.0),
            (1.0, 0.05 * tall, 0.035 * tall, 0.0),
        ),
        Material.SKIN,
        blend=0.015,
        rounding=0.008,
    )
    ears = [
        Loft(
            at(sign * 0.5 * body.head_width * 0.88, -0.04, 0.36),
            at(sign * 0.5 * body.head_width * 0.96, -0.08, 0.60),
            (0.0, 1.0, 0.0),
            (
                (0.0, 0.045 * tall, 0.030 * tall, 0.0),
                (0.6, 0.075 * tall, 0.034 * tall, 0.0),
                (1.0, 0.055 * tall, 0.028 * tall, 0.0),
            ),
            Material.SKIN,
            blend=0.006,
            rounding=0.008,
        )
        for _, sign in _SIDES
    ]
    eyes = [
        Loft(
            at(sign * 0.140 - 0.045, 0.345, 0.515),
            at(sign * 0.140 + 0.045, 0.345, 0.515),
            (0.0, 0.0, 1.0),
            (
                (0.0, 0.022 * tall, 0.050 * tall, 0.0),
                (0.5, 0.048 * tall, 0.062 * tall, 0.0),
                (1.0, 0.022 * tall, 0.050 * tall, 0.0),
            ),
            Material.EYES,
            blend=0.002,
            rounding=0.006,
        )
        for _, sign in _SIDES
    ]
    parts = [skull, brow, nose, *ears, *eyes, _hair(body, bones)]
    return [replace(part, bone="head") for part in parts]


def _hair(body: HumanoidProportions, bones: Mapping[str, Bone]) -> Loft:
    """A bob: a cap around the skull whose front is cut free for the face."""
    tall = body.head * body.height
    wide = 0.5 * body.head_width * tall
    thick = body.hair * body.height
    middle = bones["head"].head[1]
    chin = (1.0 - body.head) * body.height
    lower = chin + (1.0 - body.hair_length) * tall
    upper = chin + tall + 0.85 * thick
    # The opening: fringe above, cheeks at the sides.
    face = Loft(
        (0.0, middle - 0.46 * tall, chin - 0.12 * tall),
        (0.0, middle - 0.40 * tall, chin + 0.73 * tall),
        _X,
        (
            (0.0, 0.78 * wide, 0.40 * tall, 0.0),
            (0.6, 0.80 * wide, 0.36 * tall, 0.0),
            (0.9, 0.72 * wide, 0.24 * tall, 0.0),
            (1.0, 0.50 * wide, 0.16 * tall, 0.0),
        ),
        Material.HAIR,
        power=2.6,
        rounding=0.02,
    )
    return Loft(
        (0.0, middle, lower),
        (0.0, middle, upper),
        _X,
        (
            (0.00, 0.84 * wide + 0.9 * thick, 0.30 * tall + thick, 0.110 * tall),
            (0.25, 0.98 * wide + 1.5 * thick, 0.40 * tall + thick, 0.050 * tall),
            (0.55, 0.97 * wide + 1.4 * thick, 0.43 * tall + thick, 0.030 * tall),
            (0.82, 0.76 * wide + 1.2 * thick, 0.36 * tall + thick, 0.030 * tall),
            (1.00, 0.34 * wide + 0.5 * thick, 0.16 * tall + 0.5 * thick, 0.030 * tall),
        ),
        Material.HAIR,
        blend=0.004,
        power=2.1,
        rounding=0.022,
        carved_by=(face,),
    )
