"""The Blender scene in which clips are played: characters are built once and stand in for many clips."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import radians
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from flextraj_backend.scene_import import SceneError, quiet_stdout, require_bpy
from flextraj_backend.synthesis.actions import ActionRecipe, apply_action
from flextraj_backend.synthesis.cameras import SENSOR_HEIGHT, camera_poses
from flextraj_backend.synthesis.characters import (
    Character,
    CharacterKind,
    CharacterRecipe,
    MeshDetail,
    add_character,
    remove_character,
)
from flextraj_backend.synthesis.raster_renderer import MeshSurface
from flextraj_backend.synthesis.retargeting import BodyMotion, key_motion, read_motion
from flextraj_backend.synthesis.scene import Action, Placement, SceneRecipe
from flextraj_backend.synthesis.user_library import (
    ImportedCharacter,
    LibraryAction,
    LibraryCharacter,
    import_character,
    library_motion,
    remove_blocks,
)

if TYPE_CHECKING:
    import bpy

    from blender_addon.bridge.evaluated_meshes import MeshKey

LARGEST_CAST = 128
"""Characters that stay built; the one that was unused for longest makes room."""
_LENGTH_SHARE = 0.75
"""A subject that is longer than high counts as high as this share of its length."""
_MODEL = CharacterRecipe(CharacterKind.HUMANOID, 0)
"""Shows the procedural motions to the user's characters."""
_SMALL_PICTURE = 160
"""Pixels from top to bottom."""


@dataclass(frozen=True, eq=False)
class Performer:
    """A character that is built.

    Attributes:
        name, description: of the character.
        source: its objects.
        objects: all of them.
        root: the object that places it.
        armature: its skeleton, if it has one.
        rig_matrix: (4, 4) of the armature as built.
        collection: that holds them, linked to the scene while it plays.
        size: height that counts for its placement, metres as built.
        lowest: height of its lowest vertex, metres as built.
        surfaces: colours and shading of its meshes.
        poses: (4, 4) transforms of its objects as built, by name.
    """

    name: str
    description: str
    source: Character | ImportedCharacter
    objects: tuple[bpy.types.Object, ...]
    root: bpy.types.Object
    armature: bpy.types.Object | None
    rig_matrix: NDArray[np.float64]
    collection: bpy.types.Collection
    size: float
    lowest: float
    surfaces: dict[MeshKey, MeshSurface]
    poses: dict[str, NDArray[np.float64]]


class Stage:
    """One scene in this process's Blender, which it takes over."""

    def __init__(self) -> None:
        require_bpy()
        import bpy

        with quiet_stdout():
            bpy.ops.wm.read_factory_settings(use_empty=True)
        self.scene = bpy.data.scenes[0]
        self.scene.name = "Synthesis"
        self.view_layer = self.scene.view_layers[0]
        data = bpy.data.cameras.new("Camera")
        data.sensor_fit, data.sensor_height = "VERTICAL", SENSOR_HEIGHT
        data.clip_start, data.clip_end = 0.05, 200.0
        self.camera = bpy.data.objects.new("Camera", data)
        self.camera.rotation_mode = "QUATERNION"
        self._root.objects.link(self.camera)
        self.scene.camera = self.camera
        self._performers: OrderedDict[
            tuple[CharacterRecipe | LibraryCharacter, MeshDetail, int], Performer
        ] = OrderedDict()

    @property
    def is_alive(self) -> bool:
        """Whether Blender still holds the scene: opening another file removes it."""
        try:
            return bool(self.scene.name)
        except ReferenceError:
            return False

    @property
    def _root(self) -> bpy.types.Collection:
        return cast("bpy.types.Collection", self.scene.collection)

    @contextmanager
    def playing(
        self, recipe: SceneRecipe, cast_: Sequence[CharacterRecipe | LibraryCharacter]
    ) -> Iterator[tuple[Performer, ...]]:
        """Put a recipe's scene on the stage, performed by a cast; on exit it is cleared.

        Yields the performers in order: each is a collection of the scene, in the same order.
        """
        import bpy

        motions = [
            self._foreign_motion(who, action, recipe)
            for who, action in zip(cast_, recipe.actions, strict=True)
        ]
        performers = self._engage(cast_, mesh_detail(recipe))
        known = set(bpy.data.actions)
        self._set_format(recipe)
        try:
            for performer, action, motion, placement in zip(
                performers, recipe.actions, motions, recipe.placements, strict=True
            ):
                self._root.children.link(performer.collection)
                _place(performer, placement)
                _act(performer, action, motion, recipe)
            self._key_camera(recipe)
            yield performers
        finally:
            self.camera.animation_data_clear()
            self._clear(performers, known)

    def _clear(self, performers: Sequence[Performer], known: set[bpy.types.Action]) -> None:
        """Take performers off the stage, and delete all actions but the known ones."""
        import bpy

        for performer in performers:
            _reset(performer)
            if performer.collection.name in self._root.children:
                self._root.children.unlink(performer.collection)
        for action in [action for action in bpy.data.actions if action not in known]:
            bpy.data.actions.remove(action)

    def _engage(
        self, cast_: Sequence[CharacterRecipe | LibraryCharacter], detail: MeshDetail
    ) -> tuple[Performer, ...]:
        """Find or build a cast; a character that appears twice is built twice."""
        keys = [
            (character, detail, list(cast_[:index]).count(character)) for index, character in enumerate(cast_)
        ]
        for key in keys:
            if key not in self._performers:
                self._performers[key] = self._build(key[0], detail)
            self._performers.move_to_end(key)
        while len(self._performers) > max(LARGEST_CAST, len(keys)):
            _, unused = self._performers.popitem(last=False)
            _dismiss(unused)
        return tuple(self._performers[key] for key in keys)

    def _build(self, recipe: CharacterRecipe | LibraryCharacter, detail: MeshDetail) -> Performer:
        import bpy

        from blender_addon.bridge.evaluated_meshes import MeshReader
        from blender_addon.bridge.matrices import matrix_array
        from blender_addon.bridge.scene_state import evaluate_frame
        from flextraj_backend.synthesis.mesh_surfaces import read_surface

        if isinstance(recipe, LibraryCharacter):
            source: Character | ImportedCharacter = import_character(self.scene, recipe)
            objects, texture = (source.root, *source.objects), None
        else:
            source = add_character(self.scene, recipe, detail)
            objects, texture = (source.root, source.pivot, *source.meshes), source.model.texture
        collection = bpy.data.collections.new(source.name)
        collection.use_fake_user = True  # outlives its absence from the scene
        for ob in objects:
            for owner in list(ob.users_collection):
                owner.objects.unlink(ob)
            collection.objects.link(ob)
        self._root.children.link(collection)
        try:
            depsgraph = evaluate_frame(self.scene, self.view_layer, 0)
            reader = MeshReader(self.view_layer)
            states = reader.read(depsgraph)
            if not states:
                raise SceneError(f"'{source.name}' has no surface that renders: leave it out of the library.")
            rig_matrix = matrix_array(source.armature.matrix_world) if source.armature else np.eye(4)
            vertices = np.concatenate([state.world_vertices() for state in states.values()])
            surfaces = {
                live.key: read_surface(live, states[live.key].topology, texture)
                for live in reader.live_meshes(depsgraph)
                if live.key in states
            }
        except BaseException:
            _discard(collection, source)
            raise
        self._root.children.unlink(collection)
        low, high = vertices.min(axis=0), vertices.max(axis=0)
        extent = high - low
        size = max(float(extent[2]), _LENGTH_SHARE * float(extent[:2].max()))
        return Performer(
            name=source.name,
            description=source.description,
            source=source,
            objects=objects,
            root=source.root,
            armature=source.armature,
            rig_matrix=rig_matrix,
            collection=collection,
            size=size,
            lowest=float(low[2]),
            surfaces=surfaces,
            poses={ob.name: matrix_array(ob.matrix_basis) for ob in objects},
        )

    def _foreign_motion(
        self, who: CharacterRecipe | LibraryCharacter, action: Action, recipe: SceneRecipe
    ) -> BodyMotion | None:
        """The motion that has to be carried over to a character's skeleton; None where it has its own."""
        if isinstance(action, LibraryAction):
            whole = library_motion(action.path, action.number)
            spare = max(0.0, whole.seconds - recipe.frames / recipe.fps)
            return whole.excerpt(action.start * spare, recipe.frames, recipe.fps)
        if isinstance(who, CharacterRecipe):
            return None
        import bpy

        (model,) = self._engage((_MODEL,), MeshDetail.LOW)
        known = set(bpy.data.actions)
        self._root.children.link(model.collection)
        try:
            _act(model, action, None, recipe)
            assert model.armature is not None
            return read_motion(self.scene, model.armature, range(1, recipe.frames + 1), recipe.fps)
        finally:
            self._clear((model,), known)

    def _set_format(self, recipe: SceneRecipe) -> None:
        scene = self.scene
        scene.frame_start, scene.frame_end = 1, recipe.frames
        render = scene.render
        render.fps = max(1, round(recipe.fps))
        render.fps_base = render.fps / recipe.fps
        render.resolution_x, render.resolution_y = recipe.width, recipe.height
        render.resolution_percentage = 100

    def _key_camera(self, recipe: SceneRecipe) -> None:
        from mathutils import Matrix

        data = cast("bpy.types.Camera", self.camera.data)
        data.lens = recipe.camera.lens
        before = None
        for index, pose in enumerate(camera_poses(recipe.camera, recipe.frames)):
            matrix = Matrix(pose.tolist())
            rotation = matrix.to_quaternion()
            if before is not None and rotation.dot(before) < 0:
                rotation.negate()
            before = rotation
            self.camera.location, self.camera.rotation_quaternion = matrix.translation, rotation
            for channel in ("location", "rotation_quaternion"):
                self.camera.keyframe_insert(channel, frame=index + 1)


def mesh_detail(recipe: SceneRecipe) -> MeshDetail:
    """Fineness of the characters' meshes that a picture can show."""
    return MeshDetail.LOW if recipe.height <= _SMALL_PICTURE else MeshDetail.FINE


def _act(performer: Performer, action: Action, motion: BodyMotion | None, recipe: SceneRecipe) -> None:
    """Key an action on a performer, or the motion that replaces it."""
    if motion is not None:
        assert performer.armature is not None
        key_motion(performer.armature, performer.rig_matrix, motion)
        return
    assert isinstance(performer.source, Character) and isinstance(action, ActionRecipe)
    apply_action(performer.source, action, recipe.frames, recipe.fps)


def _place(performer: Performer, placement: Placement) -> None:
    scale = placement.height / max(performer.size, 1e-6)
    root = performer.root
    root.scale = (scale, scale, scale)
    root.rotation_euler = (0.0, 0.0, radians(placement.yaw))
    root.location = (placement.x, placement.y, -scale * performer.lowest)


def _reset(performer: Performer) -> None:
    """Take the animation off a performer; it stands as built again."""
    from mathutils import Matrix

    for ob in performer.objects:
        ob.animation_data_clear()
        ob.matrix_basis = Matrix(performer.poses[ob.name].tolist())
        if ob.pose is not None:
            for bone in ob.pose.bones:
                bone.matrix_basis = Matrix.Identity(4)


def _dismiss(performer: Performer) -> None:
    """Free everything that a performer holds in Blender."""
    _discard(performer.collection, performer.source)


def _discard(collection: bpy.types.Collection, source: Character | ImportedCharacter) -> None:
    import bpy

    bpy.data.collections.remove(collection)
    if isinstance(source, ImportedCharacter):
        remove_blocks(source.blocks)
    else:
        remove_character(source)


_shared: list[Stage] = []


def shared_stage() -> Stage:
    """The stage of this process, built at the first call and after Blender opened another file."""
    if not _shared or not _shared[0].is_alive:
        _shared[:] = [Stage()]
    return _shared[0]
