"""Body motions carried from one skeleton to another by the names of their bones (Mixamo, BVH, our own).

A bone's motion is its rotation relative to its rest, in the space in which the character stands at the origin
looking along -Y. Rests may differ (T-pose, A-pose): the other rest's bone directions are taken over first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import bpy

Rotations = NDArray[np.float64]

ROOT = "hips"
_SAME_POSE = np.cos(np.radians(20.0))
NEEDED = (ROOT, *(f"{part}.{side}" for part in ("upper_arm", "forearm", "thigh", "shin") for side in "LR"))
"""Bones without which a skeleton is not a body."""

_NEXT = {
    "spine": "chest",
    "chest": "neck",
    "neck": "head",
    **{
        f"{a}.{side}": f"{b}.{side}"
        for side in "LR"
        for a, b in (
            ("shoulder", "upper_arm"),
            ("upper_arm", "forearm"),
            ("forearm", "hand"),
            ("thigh", "shin"),
            ("shin", "foot"),
            ("foot", "toe"),
        )
    },
}
"""Where a part points: the joint at its end. Tails of bones do not tell, importers of glTF make them up."""
_TRUNK = {
    "hips": "hips",
    "spine": "spine",
    "chest": "chest",
    "spine2": "chest",
    "spine1": "chest",
    "neck": "neck",
    "head": "head",
}
_LIMBS = {
    "shoulder": "shoulder",
    "arm": "upper_arm",
    "upperarm": "upper_arm",
    "forearm": "forearm",
    "hand": "hand",
    "upleg": "thigh",
    "thigh": "thigh",
    "leg": "shin",
    "shin": "shin",
    "foot": "foot",
    "toebase": "toe",
    "toe": "toe",
}


def body_part(bone: str) -> str | None:
    """Our name for a bone of Mixamo, BVH or Blender, such as "mixamorig:LeftArm"; None for other bones."""
    name = bone.rpartition(":")[2]
    if match := re.fullmatch(r"(Left|Right)_?(\w+)", name):
        side, limb = match[1][0], match[2]
    elif match := re.fullmatch(r"(\w+)[._]([LR])", name):
        side, limb = match[2], match[1]
    else:
        return _TRUNK.get(name.lower())
    part = _LIMBS.get(limb.lower().replace("_", ""))
    return None if part is None else f"{part}.{side}"


def body_parts(bones: Iterable[str]) -> dict[str, str]:
    """Bones that move a body: part to bone. Of several chest bones it is the topmost."""
    found: dict[str, str] = {}
    ranks = {"chest": 0, "spine2": 1, "spine1": 2}
    for bone in bones:
        part = body_part(bone)
        if part is None:
            continue
        rank = ranks.get(bone.rpartition(":")[2].lower(), 0)
        if part not in found or rank < ranks.get(found[part].rpartition(":")[2].lower(), 0):
            found[part] = bone
    return found


@dataclass(frozen=True, eq=False)
class BodyMotion:
    """A motion of a body, T frames.

    Attributes:
        fps: frames a second.
        turns: (T, 3, 3) rotation of each part relative to its rest.
        directions: (3,) unit vector of each part in the rest pose, of those that end in another part.
        shift: (T, 3) movement of the hips from their rest, in heights of the hips above the ground.
    """

    fps: float
    turns: dict[str, Rotations]
    directions: dict[str, NDArray[np.float64]]
    shift: NDArray[np.float64]

    @property
    def seconds(self) -> float:
        return len(self.shift) / self.fps

    def excerpt(self, start: float, frames: int, fps: float) -> BodyMotion:
        """Frames at another rate from a second on.

        Where the motion ends it begins anew if its ends meet, else it goes backwards.
        """
        wanted = np.rint((start + np.arange(frames) / fps) * self.fps).astype(int)
        last = max(1, len(self.shift) - 1)
        rounds, index = np.divmod(wanted, last)
        if self._ends_meet:
            shift = self.shift[index] + rounds[:, None] * (self.shift[-1] - self.shift[0])
        else:
            index = np.where(rounds % 2 == 1, last - index, index)
            shift = self.shift[np.minimum(index, len(self.shift) - 1)]
        index = np.minimum(index, len(self.shift) - 1)
        shift = shift - shift[0] * np.array([1.0, 1.0, 0.0])
        return BodyMotion(
            fps, {part: turns[index] for part, turns in self.turns.items()}, self.directions, shift
        )

    @property
    def _ends_meet(self) -> bool:
        """Whether first and last pose are alike, wherever the body has gone meanwhile."""
        between = [turns[0].T @ turns[-1] for turns in self.turns.values()]
        cosines = [(np.trace(turn) - 1.0) / 2.0 for turn in between]
        return min(cosines) > _SAME_POSE and abs(self.shift[-1, 2] - self.shift[0, 2]) < 0.05


@dataclass(frozen=True, eq=False)
class _Rest:
    """The rest pose of a rig whose object stands at `matrix`: all bones, and the directions of parts."""

    rotations: dict[str, NDArray[np.float64]]
    heads: dict[str, NDArray[np.float64]]
    directions: dict[str, NDArray[np.float64]]
    ground: float


def _rest_pose(rig: bpy.types.Object, matrix: NDArray[np.float64]) -> _Rest:
    rotations, heads, directions = {}, {}, {}
    lowest: list[float] = []
    for bone in rig.data.bones:  # pyright: ignore[reportAttributeAccessIssue, reportOptionalMemberAccess]
        local = matrix @ np.array(bone.matrix_local)
        rotations[bone.name] = _orthonormal(local[:3, :3])
        heads[bone.name] = local[:3, 3]
        lowest.append(local[2, 3])
    parts = body_parts(heads)
    for part, following in _NEXT.items():
        if part in parts and following in parts:
            directions[part] = _unit(heads[parts[following]] - heads[parts[part]])
    return _Rest(rotations, heads, directions, min(lowest))


def read_motion(
    scene: bpy.types.Scene, rig: bpy.types.Object, frames: Sequence[float], fps: float
) -> BodyMotion:
    """Read the motion of an animated rig.

    Args:
        frames: (T) scene frames, fractions are subframes.
        fps: how many of them are a second.
    """
    from blender_addon.bridge.matrices import matrix_array
    from blender_addon.bridge.scene_state import evaluate_frame

    parts = body_parts(bone.name for bone in rig.data.bones)  # pyright: ignore
    rest: _Rest | None = None
    turns: dict[str, list[NDArray[np.float64]]] = {part: [] for part in parts}
    hips = []
    for frame in frames:
        depsgraph = evaluate_frame(scene, scene.view_layers[0], frame)
        evaluated = rig.evaluated_get(depsgraph)
        matrix = matrix_array(evaluated.matrix_world)  # pyright: ignore[reportAttributeAccessIssue]
        rest = rest or _rest_pose(rig, matrix)
        for part, bone in parts.items():
            posed = matrix @ np.array(evaluated.pose.bones[bone].matrix)  # pyright: ignore
            turns[part].append(_orthonormal(posed[:3, :3]) @ rest.rotations[bone].T)
            if part == ROOT:
                hips.append(posed[:3, 3])
    assert rest is not None
    height = rest.heads[parts[ROOT]][2] - rest.ground
    shift = (np.stack(hips) - rest.heads[parts[ROOT]]) / height
    return BodyMotion(
        fps,
        {part: np.stack(rotations) for part, rotations in turns.items()},
        rest.directions,
        shift - shift[0] * np.array([1.0, 1.0, 0.0]),
    )


def key_motion(
    rig: bpy.types.Object, matrix: NDArray[np.float64], motion: BodyMotion, first_frame: int = 1
) -> None:
    """Key a motion on a rig, frame by frame.

    Args:
        rig: its bones get the keys.
        matrix: (4, 4) where the rig's object stands in a character at the origin.
    """
    from mathutils import Matrix

    rest = _rest_pose(rig, matrix)
    part_of = {bone: part for part, bone in body_parts(rest.rotations).items() if part in motion.turns}
    aligned = {
        bone: (
            _turn_between(rest.directions[part], motion.directions[part])
            if part in rest.directions and part in motion.directions
            else np.eye(3)
        )
        @ rest.rotations[bone]
        for bone, part in part_of.items()
    }
    scale = np.cbrt(abs(np.linalg.det(matrix[:3, :3])))
    pose = rig.pose
    assert pose is not None
    for index in range(len(motion.shift)):
        posed: dict[str, NDArray[np.float64]] = {}
        for bone in pose.bones:  # parents come first
            name, parent = bone.name, bone.parent
            free = rest.rotations[name]
            if parent is not None:
                free = posed[parent.name] @ rest.rotations[parent.name].T @ free
            part = part_of.get(name)
            posed[name] = free if part is None else motion.turns[part][index] @ aligned[name]
            if part is None:
                continue
            bone.rotation_mode = "QUATERNION"
            before = bone.rotation_quaternion.copy()
            turn = Matrix((free.T @ posed[name]).tolist()).to_quaternion()
            if index and before.dot(turn) < 0:
                turn.negate()
            bone.rotation_quaternion = turn
            bone.keyframe_insert("rotation_quaternion", frame=first_frame + index)
            if part == ROOT:
                height = rest.heads[name][2] - rest.ground
                bone.location = (free.T @ motion.shift[index] * height / scale).tolist()
                bone.keyframe_insert("location", frame=first_frame + index)


def _turn_between(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """The smallest rotation (3, 3) that takes one unit vector to another."""
    axis = np.cross(first, second)
    cosine = float(first @ second)
    if cosine < -0.999:  # opposite: skeletons that far apart keep their own rest
        return np.eye(3)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + cross + cross @ cross / (1.0 + cosine)


def _orthonormal(linear: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rotation next to a (3, 3) matrix of even scale."""
    left, _, right = np.linalg.svd(linear)
    rotation = left @ np.diag([1.0, 1.0, np.linalg.det(left @ right)]) @ right
    return np.asarray(rotation, np.float64)


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)
