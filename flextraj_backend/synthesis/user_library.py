"""The user's own characters and motions: a folder of FBX, GLB and BVH files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from blender_addon.core.errors import RequestError
from flextraj_backend.scene_import import SceneError, quiet_stdout, require_bpy
from flextraj_backend.synthesis.characters import CharacterKind
from flextraj_backend.synthesis.retargeting import NEEDED, BodyMotion, body_parts, read_motion

if TYPE_CHECKING:
    import bpy

ENDINGS = (".fbx", ".glb", ".gltf", ".bvh")
MOTION_FPS = 60.0
_NUMBERED = re.compile(r"\.\d{3,}$")
_PARTS = ("ARMATURE", "MESH", "EMPTY")
"""Objects of a character's file that belong to it; lights and cameras do not."""
_SHORTEST_MOTION = 0.25
"""Seconds; what is shorter is a pose."""
_LARGEST_IMAGE = 8192
"""Pixels a side."""
_BLOCKS = (
    "objects",
    "meshes",
    "armatures",
    "actions",
    "materials",
    "images",
    "textures",
    "node_groups",
    "collections",
    "cameras",
    "lights",
    "scenes",
    "worlds",
    "shape_keys",
)


@dataclass(frozen=True)
class LibraryCharacter:
    """A character of the user's; moves like our humanoids.

    Attributes:
        path: its file.
        name: file name without ending.
    """

    path: str
    name: str

    @property
    def kind(self) -> CharacterKind:
        return CharacterKind.HUMANOID

    @property
    def seed(self) -> int:
        """Nothing about it is drawn."""
        return 0


@dataclass(frozen=True)
class LibraryAction:
    """An excerpt of a motion of the user's.

    Attributes:
        path, number: file, and which of its actions, counted from 0 in the order of their names (the names
            themselves differ where others like them are open in Blender).
        name: what records and prompts call it.
        start: where the excerpt begins, 0 = as early, 1 = as late as possible.
        seed: from which `start` was drawn.
    """

    path: str
    number: int
    name: str
    start: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class SkippedFile:
    """A file that cannot be used, and the sentence that says why."""

    file: str
    sentence: str


@dataclass(frozen=True)
class Library:
    """What a folder holds."""

    characters: tuple[LibraryCharacter, ...] = ()
    actions: tuple[LibraryAction, ...] = ()
    skipped: tuple[SkippedFile, ...] = ()


NO_LIBRARY = Library()


@dataclass(frozen=True, eq=False)
class ImportedCharacter:
    """An imported character as objects of a scene; see `characters.Character`.

    Attributes:
        root: an empty, parent of everything.
        objects: everything else.
        blocks: all that the import brought into Blender, to be removed with it.
    """

    name: str
    root: bpy.types.Object
    armature: bpy.types.Object
    objects: tuple[bpy.types.Object, ...]
    blocks: tuple[bpy.types.ID, ...] = field(repr=False)

    @property
    def description(self) -> str:
        """What it is called; what it looks like only the user knows."""
        return f"the character {self.name}"


def scan_library(folder: Path) -> Library:
    """Look through a folder. Takes over this process's Blender.

    A file that cannot be read or has no body is skipped; its sentence says why.

    Raises:
        RequestError: there is no such folder, or nothing in it can be used.
    """
    if not folder.is_dir():
        raise RequestError(f"There is no folder {folder}: check the path of the library.")
    require_bpy()
    characters: list[LibraryCharacter] = []
    actions: list[LibraryAction] = []
    skipped: list[SkippedFile] = []
    for path in sorted(item for item in folder.iterdir() if item.suffix.lower() in ENDINGS):
        try:
            with imported(path) as blocks:
                rig = _body(path, blocks)
                motions = [block for block in blocks if _is(block, "actions")]
                if _bodies(blocks):
                    characters.append(LibraryCharacter(str(path), path.stem))
                for number, motion in enumerate(motions):
                    label = path.stem if len(motions) == 1 else f"{path.stem} {motion.name}"
                    if rig is not None and _seconds(motion) > _SHORTEST_MOTION:
                        actions.append(LibraryAction(str(path), number, label))
        except SceneError as error:
            skipped.append(SkippedFile(path.name, error.message))
    if not characters and not actions:
        reasons = " ".join(item.sentence for item in skipped)
        raise RequestError(
            f"The library {folder.name} holds nothing that can be used: add FBX, GLB or BVH files of bodies "
            f"with Mixamo's bone names. {reasons}".strip()
        )
    return Library(tuple(characters), tuple(actions), tuple(skipped))


def _bodies(blocks: tuple[bpy.types.ID, ...]) -> list[bpy.types.Object]:
    """Meshes of an import that are seen: glTF's importer also brings a hidden one, the shape of the bones."""
    import bpy

    layer = bpy.data.scenes[0].view_layers[0]
    objects = [block for block in blocks if isinstance(block, bpy.types.Object)]
    return [ob for ob in objects if ob.type == "MESH" and ob.visible_get(view_layer=layer)]


def _seconds(motion: bpy.types.ID) -> float:
    """Length of an action that was just imported: importers set the scene's rate to their file's."""
    import bpy

    render = bpy.data.scenes[0].render
    first, last = motion.frame_range  # pyright: ignore[reportAttributeAccessIssue]
    return float(last - first) * render.fps_base / render.fps


def _is(block: bpy.types.ID, kind: str) -> bool:
    import bpy

    return getattr(bpy.data, kind).get(block.name) is block


@contextmanager
def imported(path: Path) -> Iterator[tuple[bpy.types.ID, ...]]:
    """Import a file beside what is open; on exit everything it brought is removed.

    Yields all new data-blocks. Raises SceneError where the file cannot be read.
    """
    blocks = import_blocks(path)
    try:
        yield blocks
    finally:
        remove_blocks(blocks)


def import_blocks(path: Path) -> tuple[bpy.types.ID, ...]:
    """Import a file beside what is open and return all new data-blocks.

    Raises:
        SceneError: the file is missing or damaged; nothing of it stays.
    """
    import bpy

    # glTF's importer counts key frames at the scene's rate: always the same, whatever was made before.
    render = bpy.data.scenes[0].render
    render.fps, render.fps_base = int(MOTION_FPS), 1.0
    operators: dict[str, Any] = {
        ".fbx": bpy.ops.import_scene.fbx,
        ".glb": bpy.ops.import_scene.gltf,
        ".gltf": bpy.ops.import_scene.gltf,
        ".bvh": partial(bpy.ops.import_anim.bvh, update_scene_fps=True),
    }
    if not path.is_file():
        raise SceneError(
            f"There is no file {path.name} in the library: put it back or scan the folder again."
        )
    before = {kind: set(getattr(bpy.data, kind)) for kind in _BLOCKS}

    def new_blocks() -> tuple[bpy.types.ID, ...]:
        return tuple(
            block
            for kind in _BLOCKS
            for block in sorted(set(getattr(bpy.data, kind)) - before[kind], key=_plain_name)
        )

    try:
        with quiet_stdout():
            operators[path.suffix.lower()](filepath=str(path))
        _confine_images(set(bpy.data.images) - before["images"], path.parent)
    except Exception as error:  # importers are Python add-ons and fail in any way on damaged files
        remove_blocks(new_blocks())
        lines = str(error).strip().splitlines()
        reason = lines[-1].removeprefix("Error: ").rstrip(". ") if lines else type(error).__name__
        raise SceneError(f"{path.name} cannot be read, it is damaged ({reason}): export it again.") from error
    return new_blocks()


def _plain_name(block: bpy.types.ID) -> tuple[str, str]:
    """For an order that does not depend on what else is open, which gives new names endings such as .001."""
    return _NUMBERED.sub("", block.name), block.name


def _confine_images(images: set[bpy.types.Image], folder: Path) -> None:
    """Remove images whose files lie elsewhere, and ones too large: what they covered has plain colours."""
    import bpy

    for image in images:
        is_inside = image.packed_file is not None or Path(
            bpy.path.abspath(image.filepath)
        ).resolve().is_relative_to(folder.resolve())
        if not is_inside or max(image.size) > _LARGEST_IMAGE:
            bpy.data.images.remove(image)


def remove_blocks(blocks: tuple[bpy.types.ID, ...]) -> None:
    """Remove data-blocks, those that are gone already excepted."""
    import bpy

    left = []
    for block in blocks:
        with suppress(ReferenceError):
            if not isinstance(block, bpy.types.Key):  # goes with its mesh
                block.name  # noqa: B018  (raises where the block is gone)
                left.append(block)
    bpy.data.batch_remove(left)


def _body(path: Path, blocks: tuple[bpy.types.ID, ...]) -> bpy.types.Object:
    """The armature of an import. Raises SceneError where none has a body's bones."""
    for block in blocks:
        if _is(block, "objects") and block.type == "ARMATURE":  # pyright: ignore[reportAttributeAccessIssue]
            parts = body_parts(bone.name for bone in block.data.bones)  # pyright: ignore
            if all(part in parts for part in NEEDED):
                return block  # pyright: ignore[reportReturnType]
    raise SceneError(
        f"{path.name} has no skeleton with Mixamo's or this program's bone names: rename its bones or leave "
        "it out."
    )


def import_character(scene: bpy.types.Scene, recipe: LibraryCharacter) -> ImportedCharacter:
    """Import a character, without its animation, under an empty at the origin.

    Raises:
        SceneError: the file cannot be read or has no body.
    """
    import bpy

    path = Path(recipe.path)
    blocks = import_blocks(path)
    try:
        armature = _body(path, blocks)
        root = bpy.data.objects.new(recipe.name, None)
        objects = [
            block
            for block in blocks
            if isinstance(block, bpy.types.Object)
            and block.type in _PARTS
            and block.visible_get(view_layer=scene.view_layers[0])
        ]
        for block in blocks:
            # Whatever the importer linked to the scene would be counted among its segments.
            if isinstance(block, bpy.types.Collection) and block.name in scene.collection.children:
                scene.collection.children.unlink(block)
        for ob in objects:
            ob.animation_data_clear()
            if ob.parent is None:
                ob.parent = root
        pose = armature.pose
        assert pose is not None
        for bone in pose.bones:
            bone.matrix_basis.identity()
    except BaseException:
        remove_blocks(blocks)
        raise
    return ImportedCharacter(recipe.name, root, armature, tuple(objects), (*blocks, root))


def _take_out_meshes(blocks: tuple[bpy.types.ID, ...]) -> None:
    """Unlink the meshes of an import: to deform them on every frame takes longer than all else."""
    import bpy

    for block in blocks:
        if isinstance(block, bpy.types.Object) and block.type == "MESH":
            for collection in block.users_collection:
                collection.objects.unlink(block)


@lru_cache(maxsize=64)
def library_motion(path: str, number: int) -> BodyMotion:
    """Read a whole motion of a library, `MOTION_FPS` frames a second.

    Raises:
        SceneError: the file cannot be read any more, or has no such action.
    """
    import bpy

    scene = bpy.data.scenes[0]
    with imported(Path(path)) as blocks:
        rig = _body(Path(path), blocks)
        _take_out_meshes(blocks)
        actions = [block for block in blocks if _is(block, "actions")]
        if number >= len(actions):
            raise SceneError(
                f"{Path(path).name} has no action {number + 1} any more: scan the library again."
            )
        found = actions[number]
        data = rig.animation_data_create()
        assert data is not None
        data.action = found  # pyright: ignore[reportAttributeAccessIssue]
        slots = getattr(found, "slots", ())  # Blender 4.4 and later
        if slots and data.action_slot is None:  # pyright: ignore[reportAttributeAccessIssue]
            data.action_slot = slots[0]  # pyright: ignore[reportAttributeAccessIssue]
        for track in list(data.nla_tracks):
            data.nla_tracks.remove(track)
        rate = scene.render.fps / scene.render.fps_base  # the importers set it to the file's
        first, last = found.frame_range  # pyright: ignore[reportAttributeAccessIssue]
        count = round((last - first) * MOTION_FPS / rate) + 1
        return read_motion(scene, rig, (first + np.arange(count) * rate / MOTION_FPS).tolist(), MOTION_FPS)
