"""A motion of a skeleton before it is keyed: turns of joints, and feet that are put where they belong.

NumPy only. Lengths are in strides (the height of the hip joints), so that a motion fits bodies of any size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from flextraj_backend.demo.proportions import Bone
from flextraj_backend.synthesis.actions.rotations import Series, X, Z, apply, rotation, transposed

SIDES = ((".L", 1.0), (".R", -1.0))


@dataclass(frozen=True)
class Limb:
    """A leg: two bones and a foot, whose joint bends towards `pole` (+1 forwards, -1 backwards)."""

    upper: str
    lower: str
    foot: str
    pole: float


@dataclass(eq=False)
class FootTrack:
    """Where a foot is.

    Attributes:
        shift: (T, 3) from its rest position, strides.
        orbit: (T,) degrees to the body's left by which place and direction turn about the body's vertical.
        yaw: (T,) degrees to the body's left by which its direction turns.
        pitch: (T,) degrees, positive lowers the toes.
    """

    shift: Series
    orbit: Series
    yaw: Series
    pitch: Series


@dataclass(eq=False)
class PosePlan:
    """A motion under construction.

    Attributes:
        samples: T.
        shift: (T, 3) movement of the hips from the rest pose, strides.
        heading: (T,) degrees to its left by which the body, not its feet, turns about the origin's vertical.
        hips: (T, 3, 3) rotation of the hips before that.
        turns: (T, 3, 3) rotation of other bones relative to rest pose and parent, in the body's axes.
        feet: by the name of the foot bone; feet without a track stay where they are.

    Turns of bones that a skeleton lacks do nothing.
    """

    samples: int
    shift: Series = field(init=False)
    heading: Series = field(init=False)
    hips: Series = field(init=False)
    turns: dict[str, Series] = field(init=False)
    feet: dict[str, FootTrack] = field(init=False)

    def __post_init__(self) -> None:
        self.shift = np.zeros((self.samples, 3))
        self.heading = np.zeros(self.samples)
        self.hips = np.broadcast_to(np.eye(3), (self.samples, 3, 3))
        self.turns = {}
        self.feet = {}

    def foot(self, name: str) -> FootTrack:
        """The track of a foot, at rest when it is first asked for."""
        if name not in self.feet:
            still = [np.zeros(self.samples) for _ in range(3)]
            self.feet[name] = FootTrack(np.zeros((self.samples, 3)), *still)
        return self.feet[name]


@dataclass(frozen=True, eq=False)
class PoseSequence:
    """A finished motion of a skeleton.

    Attributes:
        turns: (T, 3, 3) for each bone that moves: rotation relative to rest pose and parent, body's axes.
        shift: (T, 3) movement of the root bone, strides.
    """

    turns: dict[str, Series]
    shift: Series

    def mirrored(self) -> PoseSequence:
        """Left and right exchanged."""
        flip = np.diag([-1.0, 1.0, 1.0])
        return PoseSequence(
            {_other_side(name): flip @ turn @ flip for name, turn in self.turns.items()}, self.shift @ flip
        )


def _other_side(name: str) -> str:
    stem, dot, side = name.rpartition(".")
    return f"{stem}.{'R' if side == 'L' else 'L'}" if dot and side in "LR" else name


def solve_pose(plan: PosePlan, bones: Sequence[Bone], limbs: Sequence[Limb], stride: float) -> PoseSequence:
    """Find the turns of the legs that bring the feet to their places (two-bone inverse kinematics).

    Args:
        plan: the motion.
        bones: the skeleton, its root called "hips".
        limbs: its legs.
        stride: height of its hip joints, metres.
    """
    by_name = {bone.name: bone for bone in bones}
    root = by_name["hips"].head
    body = turned_by(PoseSequence({"hips": plan.hips}, plan.shift), plan.heading, root / stride)
    turns = {**body.turns, **{name: turn for name, turn in plan.turns.items() if name in by_name}}
    deltas: dict[str, Series] = {}  # rotation of each bone from its rest pose
    heads: dict[str, Series] = {}  # (T, 3) metres
    for bone in bones:
        own = turns.get(bone.name, np.eye(3))
        if bone.parent is None:
            deltas[bone.name], heads[bone.name] = own, root + stride * body.shift
            continue
        parent = deltas[bone.parent]
        deltas[bone.name] = parent @ own
        heads[bone.name] = heads[bone.parent] + apply(parent, bone.head - by_name[bone.parent].head)
    for limb in limbs:
        upper, lower, foot = by_name[limb.upper], by_name[limb.lower], by_name[limb.foot]
        assert upper.parent is not None
        track = plan.foot(limb.foot)
        place = apply(rotation(Z, track.orbit), foot.head) + stride * track.shift
        facing = rotation(Z, track.orbit + track.yaw)
        forward = apply(facing, np.array([0.0, -limb.pole, 0.0]))
        thigh, shin = _two_bones(upper, lower, foot, place - heads[limb.upper], forward)
        flat = facing @ rotation(X, track.pitch)
        turns[limb.upper] = transposed(deltas[upper.parent]) @ thigh
        turns[limb.lower] = transposed(thigh) @ shin
        turns[limb.foot] = transposed(shin) @ flat
    return PoseSequence(turns, body.shift)


def _two_bones(upper: Bone, lower: Bone, foot: Bone, span: Series, forward: Series) -> tuple[Series, Series]:
    """Rotations from the rest pose (T, 3, 3) of both bones of a leg.

    Args:
        span: (T, 3) from where the leg hangs to where the ankle should be.
        forward: (T, 3) where the joint between the bones points.
    """
    first, second = foot.head - lower.head, lower.head - upper.head
    long, short = float(np.linalg.norm(second)), float(np.linalg.norm(first))
    distance = np.linalg.norm(span, axis=1, keepdims=True)
    along = span / np.maximum(distance, 1e-9)
    reach = np.clip(distance, abs(long - short) * 1.02 + 1e-6, (long + short) * 0.9995)
    to_knee = (long**2 - short**2 + reach**2) / (2.0 * reach)
    out = np.sqrt(np.maximum(long**2 - to_knee**2, 0.0))
    bend = forward - along * (forward * along).sum(1, keepdims=True)
    bend /= np.maximum(np.linalg.norm(bend, axis=1, keepdims=True), 1e-9)
    knee = along * to_knee + bend * out
    ankle = along * reach
    side = np.cross(bend, along)
    rest_side = np.cross(np.array([0.0, -1.0 if forward[0, 1] < 0 else 1.0, 0.0]), np.array([0.0, 0.0, -1.0]))
    return (
        _aligned(second / long, rest_side, knee / long, side),
        _aligned(first / short, rest_side, (ankle - knee) / short, side),
    )


def _aligned(rest: Series, rest_side: Series, now: Series, side: Series) -> Series:
    """Rotations (T, 3, 3) that bring a direction and, as far as it goes, a side to where they are now."""
    return _frame(now, side) @ transposed(_frame(rest[None], rest_side[None]))


def _frame(along: Series, side: Series) -> Series:
    side = side - along * (side * along).sum(-1, keepdims=True)
    side = side / np.linalg.norm(side, axis=-1, keepdims=True)
    return np.stack([along, side, np.cross(along, side)], -1)


def turned_by(sequence: PoseSequence, degrees: Series | float, root: Series) -> PoseSequence:
    """The whole motion turned about the origin's vertical.

    Args:
        degrees: to the body's left, one angle or (T,).
        root: (3,) rest position of the root bone, strides.
    """
    heading = rotation(Z, degrees)
    return PoseSequence(
        {**sequence.turns, "hips": heading @ sequence.turns["hips"]},
        apply(heading, sequence.shift + root) - root,
    )
