"""Proportions and skeletons of the creatures: four-legged ones, and two-legged ones with wings or arms.

All of them share the names of bones, so that a motion fits each: "hips" is the root, legs are thigh, shin and
foot (and front_thigh, ... of four-legged ones), wings are wing and wing_tip. They look along -Y.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flextraj_backend.demo.proportions import Bone


def _draw_measures(rng: np.random.Generator, ranges: dict[str, tuple[float, float]]) -> dict[str, float]:
    return {name: float(rng.uniform(*limits)) for name, limits in ranges.items()}


@dataclass(frozen=True)
class QuadrupedProportions:
    """Measures of a four-legged body; lengths other than `leg` are in leg lengths.

    Attributes:
        leg: height of hip and shoulder joints, metres.
        trunk: length from the hip to the shoulder joints.
        girth: thickness of trunk and limbs; 1 = a dog's.
        neck: its length.
        neck_angle: degrees above the horizontal.
        head: length of the skull with its snout.
        snout: share of it that is snout.
        ears, tail: their lengths.
    """

    leg: float = 0.55
    trunk: float = 1.15
    girth: float = 1.0
    neck: float = 0.5
    neck_angle: float = 45.0
    head: float = 0.55
    snout: float = 0.5
    ears: float = 0.22
    tail: float = 0.8

    @classmethod
    def sample(cls, rng: np.random.Generator) -> QuadrupedProportions:
        """Draw a body between cat, dog, pig, horse and giraffe."""
        return cls(
            **_draw_measures(
                rng,
                {
                    "leg": (0.42, 0.68),
                    "trunk": (0.9, 1.6),
                    "girth": (0.8, 1.45),
                    "neck": (0.3, 1.1),
                    "neck_angle": (30.0, 68.0),
                    "head": (0.45, 0.72),
                    "snout": (0.3, 0.6),
                    "ears": (0.12, 0.42),
                    "tail": (0.4, 1.1),
                },
            )
        )


@dataclass(frozen=True)
class BipedProportions:
    """Measures of a two-legged body; lengths other than `leg` are in leg lengths.

    Attributes:
        leg: height of the hip joints, metres.
        trunk: height of the trunk above them.
        width: breadth of the trunk divided by its height.
        lean: degrees by which the trunk leans forwards.
        neck: its length.
        head: height of the head.
        wing: length of wings or arms.
        tail: its length.
        beak: length of beak or snout.
        girth: thickness of the limbs; 1 = a bird's.
    """

    leg: float = 0.45
    trunk: float = 1.0
    width: float = 0.75
    lean: float = 30.0
    neck: float = 0.35
    head: float = 0.5
    wing: float = 1.0
    tail: float = 0.6
    beak: float = 0.4
    girth: float = 1.0

    @classmethod
    def sample_bird(cls, rng: np.random.Generator) -> BipedProportions:
        """Draw a body between sparrow, hen, stork and ostrich."""
        return cls(
            **_draw_measures(
                rng,
                {
                    "leg": (0.38, 0.6),
                    "trunk": (0.75, 1.15),
                    "width": (0.6, 0.85),
                    "lean": (20.0, 48.0),
                    "neck": (0.2, 0.9),
                    "head": (0.38, 0.55),
                    "wing": (0.8, 1.25),
                    "tail": (0.4, 0.9),
                    "beak": (0.2, 0.55),
                    "girth": (0.8, 1.3),
                },
            )
        )

    @classmethod
    def sample_monster(cls, rng: np.random.Generator) -> BipedProportions:
        """Draw a plump upright body on short thick legs."""
        return cls(
            **_draw_measures(
                rng,
                {
                    "leg": (0.36, 0.5),
                    "trunk": (1.2, 1.9),
                    "width": (0.6, 0.95),
                    "lean": (-4.0, 8.0),
                    "neck": (0.05, 0.15),
                    "head": (0.6, 1.0),
                    "wing": (0.9, 1.4),
                    "tail": (0.4, 1.0),
                    "beak": (0.08, 0.22),
                    "girth": (1.8, 2.6),
                },
            )
        )


class _Skeleton:
    """Collects bones given in leg lengths."""

    def __init__(self, unit: float) -> None:
        self._unit = unit
        self.bones: list[Bone] = []

    def add(
        self, name: str, head: np.ndarray | tuple, tail: np.ndarray | tuple, parent: str | None, reach: float
    ) -> None:
        ends = [self._unit * np.array(end, np.float64) for end in (head, tail)]
        self.bones.append(Bone(name, ends[0], ends[1], parent, self._unit * reach))

    def add_leg(
        self,
        names: tuple[str, str, str],
        joint: tuple[float, float, float],
        parent: str,
        bend: float,
        thick: float,
    ) -> None:
        """Add a leg that hangs from a joint, its knee `bend` in front of the straight line."""
        x, y, z = joint
        knee, ankle = (x, y - bend, 0.54 * z), (x, y, 0.11 * z)
        self.add(names[0], joint, knee, parent, 0.16 * thick)
        self.add(names[1], knee, ankle, names[0], 0.10 * thick)
        self.add(names[2], ankle, (x, y - 0.20, 0.04), names[1], 0.09 * thick)


def quadruped_skeleton(body: QuadrupedProportions) -> tuple[Bone, ...]:
    """The bones of a four-legged body, parents before children."""
    skeleton = _Skeleton(body.leg)
    rear, front, back = 0.5 * body.trunk, -0.5 * body.trunk, 1.08
    thick = 0.24 * body.girth
    angle = np.radians(body.neck_angle)
    nape = np.array([0.0, front - 0.06, back + 0.06])
    poll = nape + body.neck * np.array([0.0, -np.cos(angle), np.sin(angle)])
    skeleton.add("hips", (0, rear, back), (0, 0.1 * rear, back), None, thick)
    skeleton.add("chest", (0, 0.1 * rear, back), nape, "hips", thick)
    skeleton.add("neck", nape, poll, "chest", 0.7 * thick)
    skeleton.add("head", poll, poll + body.head * np.array([0.0, -0.8, -0.2]), "neck", 0.7 * thick)
    root = np.array([0.0, rear + 0.10, back + 0.06])
    middle = root + 0.5 * body.tail * np.array([0.0, 0.75, 0.35])
    skeleton.add("tail", root, middle, "hips", 0.35 * thick)
    skeleton.add(
        "tail_end", middle, middle + 0.5 * body.tail * np.array([0.0, 0.75, 0.65]), "tail", 0.3 * thick
    )
    for side, sign in ((".L", 1.0), (".R", -1.0)):
        x = sign * 0.15 * body.girth
        for prefix, y, parent, bend in (("", rear, "hips", 0.07), ("front_", front, "chest", -0.06)):
            names = (f"{prefix}thigh{side}", f"{prefix}shin{side}", f"{prefix}foot{side}")
            skeleton.add_leg(names, (x, y, 1.0), parent, bend, body.girth)
    return tuple(skeleton.bones)


def biped_skeleton(body: BipedProportions) -> tuple[Bone, ...]:
    """The bones of a two-legged body, parents before children."""
    skeleton = _Skeleton(body.leg)
    lean = np.radians(body.lean)
    up = np.array([0.0, -np.sin(lean), np.cos(lean)])
    base = np.array([0.0, 0.0, 1.0 - 0.07 * body.trunk])
    middle, top = base + 0.45 * body.trunk * up, base + 0.92 * body.trunk * up
    half = 0.5 * body.width * body.trunk
    nape = top + np.array([0.0, -0.25 * body.neck, body.neck])
    skeleton.add("hips", base, middle, None, half)
    skeleton.add("chest", middle, top, "hips", half)
    skeleton.add("neck", top, nape, "chest", 0.3 * half)
    skeleton.add("head", nape, nape + np.array([0.0, -0.05, 0.8 * body.head]), "neck", 0.4 * body.head)
    rump = base + 0.1 * up + np.array([0.0, 0.75 * half, 0.0])
    halfway = rump + 0.5 * body.tail * np.array([0.0, 0.9, 0.25])
    skeleton.add("tail", rump, halfway, "hips", 0.25 * half)
    skeleton.add(
        "tail_end", halfway, halfway + 0.5 * body.tail * np.array([0.0, 0.9, 0.35]), "tail", 0.2 * half
    )
    for side, sign in ((".L", 1.0), (".R", -1.0)):
        shoulder = base + 0.72 * body.trunk * up + np.array([sign * 0.82 * half, 0.02, 0.0])
        out = np.array([sign * 0.75, 0.12, -0.65])
        elbow = shoulder + 0.5 * body.wing * out
        skeleton.add(f"wing{side}", shoulder, elbow, "chest", 0.11 * body.girth**0.5)
        skeleton.add(
            f"wing_tip{side}", elbow, elbow + 0.5 * body.wing * out, f"wing{side}", 0.10 * body.girth**0.5
        )
        names = (f"thigh{side}", f"shin{side}", f"foot{side}")
        skeleton.add_leg(names, (sign * 0.45 * half, 0.0, 1.0), "hips", 0.06, 0.8 * body.girth)
    return tuple(skeleton.bones)
