"""SegIDs of objects (stored on the object where assigned, otherwise derived), collections and materials.

They derive from the order of the scene's collections: it survives save and reload, undo and rename, and does
not depend on what is sampled; new objects go to its end.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator
from typing import cast

import bpy

from ..core.errors import ErrorCode, FlexTrajError
from ..core.trajectories import MAX_IDS

SEG_ID_PROPERTY = "flextraj_seg_id"
"""Custom property on the object (an integer); Blender copies it when an object is duplicated."""

SEG_ID_HOLDER_PROPERTY = "flextraj_seg_id_holder"
"""Custom property beside it that tells an object from its copies: session/session_uid/name when assigned."""

# session_uid lasts as long as Blender runs and the file stays open; the name counts for files opened again.
_SESSION = uuid.uuid4().hex

NO_MATERIAL_UID = -1
"""Stands for the session_uid of a material where there is none."""

SURFACE_TYPES = frozenset({"MESH", "CURVE", "SURFACE", "META", "FONT", "CURVES", "POINTCLOUD"})


def collections_in_order(scene: bpy.types.Scene) -> Iterator[bpy.types.Collection]:
    """Iterate over the scene's collections, parents before children, each once."""
    seen: set[int] = set()

    def visit(collection: bpy.types.Collection) -> Iterator[bpy.types.Collection]:
        if collection.session_uid not in seen:
            seen.add(collection.session_uid)
            yield collection
            for child in collection.children:
                yield from visit(child)

    assert scene.collection is not None
    yield scene.collection
    for child in scene.collection.children:
        yield from visit(child)


def objects_in_order(scene: bpy.types.Scene) -> Iterator[bpy.types.Object]:
    """Iterate over the scene's objects in the order of its collections, each once."""
    seen: set[int] = set()
    for collection in collections_in_order(scene):
        for ob in collection.objects:
            if ob.session_uid not in seen:
                seen.add(ob.session_uid)
                yield ob


def resolve_seg_ids(scene: bpy.types.Scene) -> dict[int, int]:
    """Return the SegID of every object of the scene that may have a surface: session_uid to id.

    A stored id counts for the object that it was assigned to; copies and objects without one get the smallest
    free ids in order.

    Raises:
        FlexTrajError: the scene has more objects than there are SegIDs.
    """
    candidates = [ob for ob in objects_in_order(scene) if ob.type in SURFACE_TYPES or _makes_surfaces(ob)]
    if len(candidates) > MAX_IDS:
        raise FlexTrajError(
            f"The scene has {len(candidates)} objects, but there are {MAX_IDS} SegIDs: use one segment per "
            "collection or material.",
            ErrorCode.NO_SUBJECT,
        )
    owner_of: dict[int, int] = {}
    for ob in sorted(candidates, key=_rank_among_copies):
        stored = _stored_id(ob)
        if stored is not None:
            owner_of.setdefault(stored, ob.session_uid)
    ids = {uid: seg_id for seg_id, uid in owner_of.items()}
    next_free = 0
    for ob in candidates:
        if ob.session_uid in ids:
            continue
        while next_free in owner_of:
            next_free += 1
        ids[ob.session_uid] = next_free
        next_free += 1
    return ids


def collection_seg_ids(scene: bpy.types.Scene) -> dict[int, int]:
    """Return the SegID of every collection of the scene: session_uid to its place among all of them."""
    return {collection.session_uid: index for index, collection in enumerate(collections_in_order(scene))}


def material_seg_ids(scene: bpy.types.Scene) -> dict[int, int]:
    """Return the SegID of every material in a slot of the scene's or of instanced objects, in order.

    By session_uid; `NO_MATERIAL_UID` stands for surfaces without a material.
    """
    ids: dict[int, int] = {}
    for ob in objects_in_order(scene):
        for source in (ob, *_instanced_objects(ob)):
            if source.type in SURFACE_TYPES:
                for uid in [_material_uid(slot) for slot in source.material_slots] or [NO_MATERIAL_UID]:
                    ids.setdefault(uid, len(ids))
    return ids


def _material_uid(slot: bpy.types.MaterialSlot) -> int:
    return NO_MATERIAL_UID if slot.material is None else slot.material.session_uid


def _instanced_objects(ob: bpy.types.Object) -> Iterable[bpy.types.Object]:
    return ob.instance_collection.all_objects if ob.instance_collection is not None else ()


def assign_seg_ids(
    objects: Iterable[bpy.types.Object], scene: bpy.types.Scene | None = None
) -> dict[str, int]:
    """Store a SegID on each object, so that it stays whatever is added or deleted later.

    Objects keep the id they have; of several with the same one (a duplicated object copies it) the original
    keeps it, and the others store their own, wherever they are in the scene. Linked library objects cannot
    store one and keep their derived id.

    Args:
        objects: objects of the scene, such as the selected ones; those without a surface are skipped.
        scene: their scene; None = the context's.

    Returns:
        The ids by object name.
    """
    scene = cast(bpy.types.Scene, bpy.context.scene) if scene is None else scene
    ids = resolve_seg_ids(scene)
    assigned: dict[str, int] = {}
    for ob in objects:
        seg_id = ids.get(ob.session_uid)
        if seg_id is not None:
            _store(ob, seg_id)
            assigned[ob.name] = seg_id
    for ob in scene.objects:
        seg_id = ids.get(ob.session_uid)
        if seg_id is not None and _stored_id(ob) not in (None, seg_id):
            _store(ob, seg_id)
    return assigned


def _store(ob: bpy.types.Object, seg_id: int) -> None:
    if ob.library is None or ob.override_library is not None:
        ob[SEG_ID_PROPERTY] = seg_id
        ob[SEG_ID_HOLDER_PROPERTY] = f"{_SESSION}/{ob.session_uid}/{ob.name}"


def _rank_among_copies(ob: bpy.types.Object) -> tuple[bool, bool, bool, int]:
    """Sort key that puts the object an id was assigned to before the copies that Blender gave it, too.

    Surest first: the very object in the session of the assignment; the name it had then; not a name that
    Blender makes for copies of that one; made earlier.
    """
    holder = ob.get(SEG_ID_HOLDER_PROPERTY)
    session, uid, name = [*(holder.split("/", 2) if isinstance(holder, str) else ()), "", "", ""][:3]
    stem = re.sub(r"\.\d{3,}$", "", name)
    return (
        (session, uid) != (_SESSION, str(ob.session_uid)),
        name != ob.name,
        re.fullmatch(re.escape(stem) + r"\.\d{3,}", ob.name) is not None,
        ob.session_uid,
    )


def _stored_id(ob: bpy.types.Object) -> int | None:
    value = ob.get(SEG_ID_PROPERTY)
    return value if type(value) is int and 0 <= value < MAX_IDS else None


def _makes_surfaces(ob: bpy.types.Object) -> bool:
    """Whether an object without a surface of its own may show some: an instancer, or by geometry nodes."""
    return (ob.type == "EMPTY" and ob.instance_type != "NONE") or any(
        modifier.type == "NODES" for modifier in ob.modifiers
    )
