"""Motions as keyframes on a character's bones or its pivot, which a user can edit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from blender_addon.core.errors import RequestError
from flextraj_backend.synthesis.actions.creature_motion import CREATURE_ACTIONS, pose_creature
from flextraj_backend.synthesis.actions.humanoid_motion import HUMANOID_ACTIONS, pose_humanoid
from flextraj_backend.synthesis.actions.object_actions import OBJECT_ACTIONS, ObjectSequence, move_object
from flextraj_backend.synthesis.actions.pose_plan import PoseSequence, turned_by
from flextraj_backend.synthesis.actions.recipe import ActionName, ActionRecipe
from flextraj_backend.synthesis.actions.rotations import Series, Z, apply, quaternions, rotation
from flextraj_backend.synthesis.characters.recipe import BodyForm, CharacterRecipe

if TYPE_CHECKING:
    from bpy.types import Object

    from flextraj_backend.synthesis.characters.blender_objects import Character

KEYS_PER_SECOND = 8.0
"""Between the keys Blender's smooth curves do the rest."""
_HUMANOIDS = (BodyForm.PERSON, BodyForm.FIGURE)
_CREATURES = (BodyForm.QUADRUPED, BodyForm.BIRD, BodyForm.MONSTER)
_BLOCKOUTS = (BodyForm.FIGURE, BodyForm.SHAPE, BodyForm.STACK)


def performs(character: CharacterRecipe, action: ActionName) -> bool:
    """Whether a character has an action."""
    return (
        (character.form in _HUMANOIDS and action in HUMANOID_ACTIONS)
        or (character.form in _CREATURES and action in CREATURE_ACTIONS)
        or (character.form in _BLOCKOUTS and action in OBJECT_ACTIONS)
    )


def key_frames(frames: int, fps: float) -> np.ndarray:
    """Frames (K,) that get a key, counted from 0: about `KEYS_PER_SECOND`, first and last included."""
    step = max(1, round(fps / KEYS_PER_SECOND))
    return np.unique(np.append(np.arange(0, frames, step), frames - 1))


def apply_action(
    character: Character, recipe: ActionRecipe, frames: int, fps: float, first_frame: int = 1
) -> None:
    """Key an action, in place of the one that the character had; it starts at the root or moves about it.

    Args:
        character: bones or pivot get the keys, the root stays free.
        recipe: the motion; other characters with the action move alike, scaled to their bodies.
        frames: length.
        fps: frames a second.
        first_frame: scene frame of the first pose.

    Raises:
        RequestError: the character has no such action.
    """
    if not performs(character.recipe, recipe.name):
        raise RequestError(
            f"A {character.recipe.form.value} cannot {recipe.name.value}: choose one of its own actions."
        )
    _clear(character)
    numbers = key_frames(frames, fps)
    seconds = numbers / fps
    curves = _CurveWriter(character.pivot, f"{recipe.name.value} {recipe.seed}", numbers + first_frame)
    if recipe.name in OBJECT_ACTIONS:
        _key_object(character, move_object(recipe, seconds), recipe, curves)
    elif character.recipe.form in _CREATURES:
        _key_pose(character, pose_creature(recipe, character.recipe.form, seconds), recipe, curves)
    else:
        _key_pose(character, pose_humanoid(recipe, seconds), recipe, curves)


def _clear(character: Character) -> None:
    """Remove the character's action and what it left behind."""
    import bpy

    pivot: Any = character.pivot
    if pivot.animation_data is not None:
        action = pivot.animation_data.action
        pivot.animation_data_clear()
        if action is not None and not action.users:
            bpy.data.actions.remove(action)
    pivot.location, pivot.scale = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    pivot.rotation_mode = "QUATERNION"
    pivot.rotation_quaternion = (1.0, 0.0, 0.0, 0.0)
    for bone in pivot.pose.bones if pivot.pose is not None else ():
        bone.rotation_mode = "QUATERNION"
        bone.rotation_quaternion = (1.0, 0.0, 0.0, 0.0)
        bone.location = (0.0, 0.0, 0.0)


def _key_pose(
    character: Character, sequence: PoseSequence, recipe: ActionRecipe, curves: _CurveWriter
) -> None:
    model = character.model
    root = next(bone for bone in model.bones if bone.parent is None)
    if recipe.side < 0:
        sequence = sequence.mirrored()
    sequence = turned_by(sequence, recipe.heading, root.head / model.stride)
    shift = model.stride * sequence.shift
    pivot: Any = character.pivot
    for name, turns in sequence.turns.items():
        # A pose bone turns in its own rest axes; the motion is given in the body's.
        rest = np.array(pivot.data.bones[name].matrix_local)[:3, :3]
        curves.write(f'pose.bones["{name}"].rotation_quaternion', quaternions(rest.T @ turns @ rest), name)
        if name == root.name:
            curves.write(f'pose.bones["{name}"].location', shift @ rest, name)


def _key_object(
    character: Character, sequence: ObjectSequence, recipe: ActionRecipe, curves: _CurveWriter
) -> None:
    height = character.model.height
    heading = rotation(Z, recipe.heading)
    mirror = np.diag([float(recipe.side), 1.0, 1.0])
    turns = heading @ mirror @ sequence.turns @ mirror
    shift = height * sequence.shift @ mirror @ heading.T
    middle = np.array([0.0, 0.0, 0.0 if sequence.on_ground else 0.5 * height])
    # The pivot's origin is on the ground; what turns about another point moves it.
    moved = shift + middle - apply(turns, sequence.scales * middle)
    curves.write("location", moved, "Object")
    curves.write("rotation_quaternion", quaternions(turns), "Object")
    curves.write("scale", sequence.scales, "Object")


class _CurveWriter:
    """Writes whole F-curves of one new action at once."""

    def __init__(self, owner: Object, name: str, frames: np.ndarray) -> None:
        import bpy

        self._frames = frames.astype(np.float32)
        holder: Any = owner.animation_data_create()
        action: Any = bpy.data.actions.new(name)
        holder.action = action
        self._slotted = hasattr(action, "layers")
        if self._slotted:  # since Blender 4.4; `action.fcurves` is gone since 5.0
            slot = action.slots.new(id_type="OBJECT", name=owner.name)
            holder.action_slot = slot
            strip = action.layers.new("Layer").strips.new(type="KEYFRAME")
            self._curves: Any = strip.channelbag(slot, ensure=True)
            self._groups = {}
        else:
            self._curves = action

    def write(self, path: str, values: Series, group: str) -> None:
        """Key a property with (K, C) values."""
        for index in range(values.shape[1]):
            column = values[:, index].astype(np.float32)
            curve = self._new_curve(path, index, group)
            keys = curve.keyframe_points
            keys.add(len(column))
            keys.foreach_set("co", np.stack([self._frames, column], 1).ravel())
            keys.foreach_set("interpolation", np.full(len(column), _BEZIER, np.int32))
            for handle in ("handle_left_type", "handle_right_type"):
                keys.foreach_set(handle, np.full(len(column), _AUTO_CLAMPED, np.int32))
            curve.update()

    def _new_curve(self, path: str, index: int, group: str) -> Any:
        if not self._slotted:
            return self._curves.fcurves.new(path, index=index, action_group=group)
        curve = self._curves.fcurves.new(path, index=index)
        if group not in self._groups:
            self._groups[group] = self._curves.groups.new(group)
        curve.group = self._groups[group]
        return curve


_BEZIER, _AUTO_CLAMPED = 2, 4
"""Numbers of the RNA enums: bulk writing takes no names."""
