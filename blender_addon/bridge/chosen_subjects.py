"""Which objects drive the photo: the panel's choice, and what is added to its list."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import bpy

from ..blender_types import Context
from .seg_ids import SURFACE_TYPES, objects_in_order
from .subjects import armature_of

if TYPE_CHECKING:
    from ..properties import FlexTrajSettings, FlexTrajSubject


def can_be_subject(candidate: bpy.types.Object) -> bool:
    """Whether an object has a surface of its own or stands for others that have."""
    if candidate.type == "EMPTY":
        return candidate.instance_type != "NONE"
    return candidate.type == "ARMATURE" or candidate.type in SURFACE_TYPES


def find_subjects(context: Context, settings: FlexTrajSettings) -> list[bpy.types.Object]:
    """The chosen objects that exist in the scene; empty where nothing usable is chosen."""
    if settings.source == "LIST":
        return [row.object for row in chosen_rows(context, settings)]
    chosen = [settings.character] if settings.source == "CHARACTER" else list(context.selected_objects)
    return [ob for ob in chosen if _is_usable(context.scene, ob)]


def chosen_rows(context: Context, settings: FlexTrajSettings) -> list[FlexTrajSubject]:
    """The rows of the list that are included and exist in the scene; none where the list is not used."""
    if settings.source != "LIST":
        return []
    return [row for row in settings.subjects if row.include and _is_usable(context.scene, row.object)]


def _is_usable(scene: bpy.types.Scene, ob: bpy.types.Object | None) -> bool:
    # A deleted object stays in the file as long as the panel refers to it, so ask the scene.
    return ob is not None and can_be_subject(ob) and scene.objects.get(ob.name) == ob


def add_subjects(settings: FlexTrajSettings, objects: Iterable[bpy.types.Object]) -> int:
    """Add rows for objects that have none yet, rigs as the meshes they deform; return how many."""
    scene = settings.id_data
    assert isinstance(scene, bpy.types.Scene)
    listed = {row.object for row in settings.subjects}
    before = len(listed)
    for ob in objects:
        for member in rig_meshes(scene, ob) or [ob]:
            if can_be_subject(member) and member not in listed:
                listed.add(member)
                settings.subjects.add().object = member
                settings.subject_index = len(settings.subjects) - 1
    return len(listed) - before


def add_collection(settings: FlexTrajSettings, collection: bpy.types.Collection) -> int:
    """Add a collection's objects that have surfaces; return how many are new."""
    scene = settings.id_data
    assert isinstance(scene, bpy.types.Scene)
    inside = set(collection.all_objects)
    members = [ob for ob in objects_in_order(scene) if ob in inside and ob.type != "ARMATURE"]
    return add_subjects(settings, members)


def rig_meshes(scene: bpy.types.Scene, ob: bpy.types.Object) -> list[bpy.types.Object]:
    """The objects that an armature deforms; none where it is no armature."""
    if ob.type != "ARMATURE":
        return []
    return [
        other
        for other in objects_in_order(scene)
        if other.type in SURFACE_TYPES and armature_of(other) is ob and not other.hide_render
    ]


def rig_of(ob: bpy.types.Object | None) -> bpy.types.Object | None:
    """The armature that an object is, or that deforms it."""
    if ob is None or ob.type == "ARMATURE":
        return ob
    return armature_of(ob)
