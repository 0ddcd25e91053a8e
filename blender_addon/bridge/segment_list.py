"""The segments that a shot will have, with their ID colours, for panels: they ask at every redraw."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

import bpy

from ..core.errors import FlexTrajError
from ..core.id_coding import segment_colors
from ..core.sample_settings import SampleSettings, SegmentBy
from .evaluated_meshes import RenderVisibility
from .seg_ids import (
    NO_MATERIAL_UID,
    collection_seg_ids,
    collections_in_order,
    material_seg_ids,
    resolve_seg_ids,
)
from .subjects import NO_MATERIAL, resolve_objects

_FRESH_SECONDS = 0.5

Color = tuple[int, int, int]


@dataclass(frozen=True)
class ListedSegment:
    """A segment before anything is sampled.

    Attributes:
        name: of its object, collection or material.
        color: its mean colour in the ID video, 0 to 255.
        background: whether it is a prop or ground.
        subjects: names of the chosen objects that bring it.
    """

    name: str
    color: Color
    background: bool
    subjects: frozenset[str]


def list_segments(
    scene: bpy.types.Scene, view_layer: bpy.types.ViewLayer, settings: SampleSettings
) -> tuple[ListedSegment, ...]:
    """Return the segments as sampling will make them, as far as the scene tells without evaluating it.

    What geometry nodes or particles add is not known here; a name that is not in the scene is left out.
    """
    visibility = RenderVisibility(view_layer)
    members_of = {
        name: [ob for ob in _members(scene, name) if not ob.hide_render and visibility.holds(ob)]
        for name in settings.objects
    }
    ids = _ids(scene, settings.segment_by)
    names: dict[int, str] = {}
    bringing: dict[int, set[str]] = {}
    owners: dict[int, set[int]] = {}
    background_uids = {ob.session_uid for name in settings.background for ob in members_of.get(name, ())}
    first_collection = _first_collections(scene) if settings.segment_by is SegmentBy.COLLECTION else {}
    for subject, members in members_of.items():
        for ob in members:
            for identity, name in _parts(ob, settings.segment_by, first_collection):
                if identity in ids:
                    names.setdefault(identity, name)
                    bringing.setdefault(identity, set()).add(subject)
                    owners.setdefault(identity, set()).add(ob.session_uid)
    ordered = sorted(names, key=lambda identity: ids[identity])
    background = [owners[identity] <= background_uids for identity in ordered]
    colors = segment_colors(background, settings.points or 1).tolist() if ordered else []
    return tuple(
        ListedSegment(names[identity], (color[0], color[1], color[2]), is_prop, frozenset(bringing[identity]))
        for identity, color, is_prop in zip(ordered, colors, background, strict=True)
    )


class RecentSegments:
    """Remembers the last answer for half a second."""

    def __init__(self) -> None:
        self._question: tuple[object, ...] | None = None
        self._answer: tuple[ListedSegment, ...] = ()
        self._asked = 0.0

    def of(
        self, scene: bpy.types.Scene, view_layer: bpy.types.ViewLayer, settings: SampleSettings
    ) -> tuple[ListedSegment, ...]:
        """Like `list_segments`; objects that were hidden just now may still be there."""
        question = (scene.session_uid, view_layer.name, settings)
        now = time.monotonic()
        if question != self._question or now - self._asked > _FRESH_SECONDS:
            self._answer = list_segments(scene, view_layer, settings)
            self._question, self._asked = question, now
        return self._answer


def _members(scene: bpy.types.Scene, name: str) -> list[bpy.types.Object]:
    try:
        return resolve_objects(scene, [name])[name]
    except FlexTrajError:
        return []


def _ids(scene: bpy.types.Scene, segment_by: SegmentBy) -> dict[int, int]:
    if segment_by is SegmentBy.COLLECTION:
        return collection_seg_ids(scene)
    if segment_by is SegmentBy.MATERIAL:
        return material_seg_ids(scene)
    try:
        return resolve_seg_ids(scene)
    except FlexTrajError:  # too many objects, as sampling will say
        return {}


def _first_collections(scene: bpy.types.Scene) -> dict[int, tuple[int, str]]:
    found: dict[int, tuple[int, str]] = {}
    for collection in collections_in_order(scene):
        for ob in collection.objects:
            found.setdefault(ob.session_uid, (collection.session_uid, collection.name))
    return found


def _parts(
    ob: bpy.types.Object, segment_by: SegmentBy, first_collection: dict[int, tuple[int, str]]
) -> Iterable[tuple[int, str]]:
    """The (identity, name) of what an object belongs to."""
    if segment_by is SegmentBy.OBJECT:
        return [(ob.session_uid, ob.name)]
    if segment_by is SegmentBy.COLLECTION:
        return [first_collection[ob.session_uid]] if ob.session_uid in first_collection else []
    materials = [slot.material for slot in ob.material_slots]
    return [
        (NO_MATERIAL_UID, NO_MATERIAL) if material is None else (material.session_uid, material.name)
        for material in materials or [None]
    ]
