"""SegIDs of objects: stored on the object where assigned, otherwise derived from an order that lasts.

The order is that of the scene's collections: it survives save and reload, undo and rename, and new objects go
to its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import cast

import bpy

from ..core.errors import ErrorCode, FlexTrajError
from ..core.trajectories import MAX_IDS

SEG_ID_PROPERTY = "flextraj_seg_id"
"""Custom property on the object (an integer); Blender copies it when an object is duplicated."""

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

    A stored id counts for the first object that has it; copies and objects without one get the smallest free
    ids in order.

    Raises:
        FlexTrajError: the scene has more objects than there are SegIDs.
    """
    candidates = [ob for ob in objects_in_order(scene) if ob.type in SURFACE_TYPES or _is_instancer(ob)]
    if len(candidates) > MAX_IDS:
        raise FlexTrajError(
            f"The scene has {len(candidates)} objects, but there are {MAX_IDS} SegIDs: use one segment per "
            "collection or material.",
            ErrorCode.NO_SUBJECT,
        )
    owner_of: dict[int, int] = {}
    for ob in candidates:
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


def assign_seg_ids(
    objects: Iterable[bpy.types.Object], scene: bpy.types.Scene | None = None
) -> dict[str, int]:
    """Store a SegID on each object, so that it stays whatever is added or deleted later.

    Objects keep the id they have; of several with the same one (a duplicated object copies it) the first in
    the scene's order keeps it. Linked library objects cannot store one and keep their derived id.

    Args:
        objects: objects of the scene, such as the selected ones; those without a surface are skipped.
        scene: their scene; None = the context's.

    Returns:
        The ids by object name.
    """
    ids: Mapping[int, int] = resolve_seg_ids(
        cast(bpy.types.Scene, bpy.context.scene) if scene is None else scene
    )
    assigned: dict[str, int] = {}
    for ob in objects:
        seg_id = ids.get(ob.session_uid)
        if seg_id is None:
            continue
        if ob.library is None or ob.override_library is not None:
            ob[SEG_ID_PROPERTY] = seg_id
        assigned[ob.name] = seg_id
    return assigned


def _stored_id(ob: bpy.types.Object) -> int | None:
    value = ob.get(SEG_ID_PROPERTY)
    return value if type(value) is int and 0 <= value < MAX_IDS else None


def _is_instancer(ob: bpy.types.Object) -> bool:
    return ob.type == "EMPTY" and ob.instance_type != "NONE"
