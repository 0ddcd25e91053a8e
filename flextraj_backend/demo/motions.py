"""Keyframed motions of the humanoid: 49 frames at 16 frames per second that a still photo can follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import radians
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bpy.types import Object

FRAMES = 49
FPS = 16


@dataclass(frozen=True)
class Turn:
    """Rotation of a bone relative to its rest pose and its parent, degrees about the body's axes.

    Attributes:
        pitch: forward, a nod.
        roll: to the body's own left, the right of a picture taken from the front.
        yaw: to the body's own left.
    """

    pitch: float = 0.0
    roll: float = 0.0
    yaw: float = 0.0


@dataclass(frozen=True)
class Pose:
    """A keyframe.

    Attributes:
        frame: scene frame.
        turns: rotation of the bones that leave the stance.
        shift: movement of the hips in metres (own left, backwards, up).
    """

    frame: int
    turns: Mapping[str, Turn] = field(default_factory=dict)
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Motion:
    """A keyframed motion; `stance` is the pose under all keyframes (arms hang instead of the rest pose)."""

    name: str
    poses: tuple[Pose, ...]
    stance: Mapping[str, Turn]


PORTRAIT_STANCE: Mapping[str, Turn] = {
    "hips": Turn(yaw=8.0),
    "spine": Turn(roll=3.0, yaw=6.0),
    "chest": Turn(roll=3.0, yaw=6.0),
    "neck": Turn(roll=-2.0, yaw=-6.0),
    "head": Turn(roll=-4.0, yaw=-12.0),
    "upper_arm.L": Turn(roll=30.0),
    "upper_arm.R": Turn(roll=-24.0),
    "forearm.L": Turn(pitch=-12.0),
    "forearm.R": Turn(pitch=-12.0),
}
"""Body half turned to its own left, face to the camera, right elbow out: as people pose for a portrait."""


def _shoulders(left: float, right: float) -> dict[str, Turn]:
    """Shoulders raised by some degrees."""
    return {"shoulder.L": Turn(roll=-left), "shoulder.R": Turn(roll=right)}


def _torso(lean: float, bow: float = 0.0, twist: float = 0.0) -> dict[str, Turn]:
    """A bend spread over spine and chest, to the body's left by `lean` degrees."""
    half = Turn(pitch=0.5 * bow, roll=0.5 * lean, yaw=0.5 * twist)
    return {"spine": half, "chest": half}


def _head(nod: float = 0.0, tilt: float = 0.0, turn: float = 0.0) -> dict[str, Turn]:
    """A movement of the head, of which the neck takes a third."""
    return {
        "neck": Turn(nod / 3, tilt / 3, turn / 3),
        "head": Turn(2 * nod / 3, 2 * tilt / 3, 2 * turn / 3),
    }


GROOVE = Motion(
    "Groove",
    (
        Pose(1),
        Pose(
            9,
            {**_torso(1.5, twist=4.0), **_head(nod=2.0, tilt=-2.0, turn=11.0), **_shoulders(-2.0, 6.0)},
            (0.010, 0.0, -0.020),
        ),
        Pose(15, {**_torso(0.0, bow=2.0), **_head(nod=8.0), **_shoulders(4.0, 4.0)}, (0.0, 0.0, -0.014)),
        Pose(
            22,
            {**_torso(-4.0, twist=-4.0), **_head(nod=2.0, tilt=5.0, turn=-12.0), **_shoulders(6.0, -2.0)},
            (-0.028, 0.0, -0.048),
        ),
        Pose(29, {**_torso(-1.5), **_head(nod=-2.0, tilt=-5.0, turn=-16.0)}, (-0.012, 0.0, -0.024)),
        Pose(
            37,
            {**_torso(2.0, twist=4.0), **_head(nod=3.0, tilt=9.0, turn=13.0), **_shoulders(-2.0, 6.0)},
            (0.008, 0.0, -0.024),
        ),
        Pose(44, {**_torso(0.0, bow=1.5), **_head(nod=5.0), **_shoulders(4.0, 4.0)}, (0.002, 0.0, -0.012)),
        Pose(49),
    ),
    PORTRAIT_STANCE,
)
"""Sways from side to side, dips with each step, turns, tilts and nods the head, lifts the shoulders.

Every sway dips, so that the chest hardly rises: a photo cut off at the chest has nothing to show below it.
"""


def apply_motion(armature: Object, motion: Motion) -> None:
    """Key a motion on an armature of `humanoid.add_humanoid`, with smooth curves that a user can edit.

    Every bone that moves gets a key in every pose, so that poses do not depend on each other.
    """
    from mathutils import Euler, Vector

    assert armature.pose is not None
    bones = armature.pose.bones
    moving = dict.fromkeys(name for pose in motion.poses for name in (*motion.stance, *pose.turns))
    for pose in motion.poses:
        for name in moving:
            turn = pose.turns.get(name, Turn())
            stance = motion.stance.get(name, Turn())
            rest = bones[name].bone.matrix_local.to_quaternion()
            body = (
                Euler((radians(turn.pitch), radians(turn.roll), radians(turn.yaw)), "YXZ").to_quaternion()
                @ Euler(
                    (radians(stance.pitch), radians(stance.roll), radians(stance.yaw)), "YXZ"
                ).to_quaternion()
            )
            bones[name].rotation_mode = "QUATERNION"
            # A pose bone turns in its own rest axes; the motion is given in the body's.
            bones[name].rotation_quaternion = rest.inverted() @ body @ rest
            bones[name].keyframe_insert("rotation_quaternion", frame=pose.frame)
        hips = bones["hips"]
        rest = hips.bone.matrix_local.to_quaternion()
        hips.location = rest.inverted() @ Vector(pose.shift)
        hips.keyframe_insert("location", frame=pose.frame)
