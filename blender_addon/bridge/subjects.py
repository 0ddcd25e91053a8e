"""Which meshes are sampled, and into which segments and groups they fall."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import bpy
import numpy as np
from numpy.typing import NDArray

from ..core.errors import ErrorCode, FlexTrajError
from ..core.sample_settings import SampleMode, SampleSettings, SegmentBy
from ..core.trajectories import Segment
from .evaluated_meshes import LiveMesh, MeshKey, MeshState
from .seg_ids import (
    NO_MATERIAL_UID,
    SURFACE_TYPES,
    collection_seg_ids,
    collections_in_order,
    material_seg_ids,
    objects_in_order,
    resolve_seg_ids,
)

NO_MATERIAL = "No Material"


@dataclass(frozen=True, eq=False)
class Patch:
    """Triangles of one mesh that belong to one segment.

    Attributes:
        key: the mesh.
        segment: index into the segments.
        triangles: (M',) int64, ascending indices of the mesh's triangles.
        vertices: (V',) int64, ascending indices of the mesh's vertices that belong to the segment.
    """

    key: MeshKey
    segment: int
    triangles: NDArray[np.int64]
    vertices: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Subjects:
    """What is sampled: `patches` in the order of their segments, with the objects that own them."""

    segments: tuple[Segment, ...]
    patches: tuple[Patch, ...]
    owners: tuple[bpy.types.Object, ...]


@dataclass(frozen=True)
class SurfaceOwner:
    """A rendered mesh, reduced to what segments need.

    Attributes:
        key: the mesh.
        owner: original object in the view layer.
        materials: (identity, name) of the material in each slot.
    """

    key: MeshKey
    owner: bpy.types.Object
    materials: tuple[tuple[int, str], ...]


def surface_owner(live: LiveMesh) -> SurfaceOwner:
    """Copy from a live mesh what stays valid after the iteration."""
    materials = []
    for slot in live.source.material_slots:
        material = slot.material
        materials.append(
            (NO_MATERIAL_UID, NO_MATERIAL)
            if material is None
            else (cast(bpy.types.ID, material.original).session_uid, material.name)
        )
    return SurfaceOwner(live.key, live.owner, tuple(materials))


def resolve_objects(scene: bpy.types.Scene, names: Iterable[str]) -> dict[str, list[bpy.types.Object]]:
    """Return the objects with surfaces that each name stands for.

    A mesh, curve, text or metaball stands for itself, an armature for the meshes it deforms and those
    parented to it, an empty for everything below it and for what it instances.

    Raises:
        FlexTrajError: no object has that name, or it has nothing to sample.
    """
    resolved: dict[str, list[bpy.types.Object]] = {}
    in_order = list(objects_in_order(scene))
    for name in names:
        ob = scene.objects.get(name)
        if ob is None:
            with_surface = [other.name for other in in_order if other.type in SURFACE_TYPES]
            choices = ", ".join(with_surface[:8]) + (", ..." if len(with_surface) > 8 else "")
            raise FlexTrajError(
                f"There is no object '{name}' in the scene: choose one of {choices or 'its objects'}.",
                ErrorCode.NO_SUBJECT,
            )
        members = {member.session_uid for member in _expand(ob, in_order)}
        resolved[name] = [other for other in in_order if other.session_uid in members]
        if not resolved[name]:
            raise FlexTrajError(
                f"The object '{name}' has no surface to sample: "
                "choose a mesh, or an armature that deforms one.",
                ErrorCode.NO_SUBJECT,
            )
    return resolved


def _expand(ob: bpy.types.Object, in_order: list[bpy.types.Object]) -> Iterator[bpy.types.Object]:
    if ob.type in SURFACE_TYPES or ob.instance_type != "NONE":
        yield ob
    if ob.type == "EMPTY":
        for child in ob.children:
            yield from _expand(child, in_order)
            if child.type in SURFACE_TYPES:
                yield from _with_children(child)
    elif ob.type == "ARMATURE":
        for other in in_order:
            if other.type in SURFACE_TYPES and armature_of(other) is ob:
                yield other
        for child in ob.children:
            yield from _with_children(child)


def _with_children(ob: bpy.types.Object) -> Iterator[bpy.types.Object]:
    for member in (ob, *ob.children_recursive):
        if member.type in SURFACE_TYPES or member.instance_type != "NONE":
            yield member


def armature_of(ob: bpy.types.Object) -> bpy.types.Object | None:
    """Return the armature that deforms an object, through a modifier or as its parent, if any."""
    return cast("bpy.types.Object | None", ob.find_armature())


def choose_subjects(
    scene: bpy.types.Scene,
    settings: SampleSettings,
    surfaces: Sequence[SurfaceOwner],
    states: Mapping[MeshKey, MeshState],
) -> Subjects:
    """Choose meshes and sort their triangles into segments.

    Args:
        scene: the scene.
        settings: objects, background and kind of segment.
        surfaces: every rendered mesh of the first frame.
        states: the same meshes, read.

    Raises:
        FlexTrajError: a name is unknown, hidden or has no surface; nothing renders.
    """
    rendered = [surface for surface in surfaces if surface.key in states]
    if not settings.objects and settings.mode is SampleMode.SURFACE:
        # What the user did not ask for by name may be anything: leave out what has no faces or no extent.
        rendered = [surface for surface in rendered if _has_extent(states[surface.key])]
    visible_uids = {surface.key.owner for surface in rendered}
    chosen_uids = visible_uids
    if settings.objects:
        chosen_uids = set()
        for name, members in resolve_objects(scene, settings.objects).items():
            uids = {member.session_uid for member in members} & visible_uids
            if not uids:
                raise FlexTrajError(
                    f"The object '{name}' does not render on the first frame: turn on its render visibility "
                    "(camera icon in the Outliner), or choose another object or first frame.",
                    ErrorCode.NO_SUBJECT,
                )
            chosen_uids |= uids
    background_uids = _background(scene, settings, chosen_uids)
    position = {ob.session_uid: index for index, ob in enumerate(objects_in_order(scene))}
    in_order = sorted(
        surfaces, key=lambda surface: (position.get(surface.key.owner, len(position)), surface.key.instance)
    )
    eligible = {surface.key for surface in rendered if surface.key.owner in chosen_uids}
    chosen = [surface for surface in in_order if surface.key in eligible]
    if not chosen:
        raise FlexTrajError(
            "Nothing that renders has a surface on the first frame: "
            "add a mesh or turn on its render visibility.",
            ErrorCode.NO_SUBJECT,
        )
    seg_ids = _seg_ids(scene, settings.segment_by, in_order)
    return _segments(scene, settings.segment_by, seg_ids, chosen, states, background_uids)


def _has_extent(state: MeshState) -> bool:
    scale = np.linalg.matrix_rank(state.matrix_world[:3, :3])
    return len(state.topology.triangles) > 0 and bool(scale >= 2)


def _background(scene: bpy.types.Scene, settings: SampleSettings, chosen: set[int]) -> set[int]:
    uids: set[int] = set()
    for name, members in resolve_objects(scene, settings.background).items():
        own = {member.session_uid for member in members} & chosen
        if not own:
            raise FlexTrajError(
                f"The background object '{name}' is not among the sampled objects: "
                "add it to them or take it off the background.",
                ErrorCode.NO_SUBJECT,
            )
        uids |= own
    return uids


@dataclass(eq=False)
class _SegmentBuilder:
    """A segment while its patches are collected."""

    name: str
    seg_id: int
    patches: list[tuple[SurfaceOwner, NDArray[np.int64], NDArray[np.int64]]]


def _seg_ids(scene: bpy.types.Scene, segment_by: SegmentBy, surfaces: list[SurfaceOwner]) -> dict[int, int]:
    """Return the SegIDs of whatever may be a segment, chosen or not: session_uid to id."""
    if segment_by is SegmentBy.COLLECTION:
        return collection_seg_ids(scene)
    if segment_by is SegmentBy.OBJECT:
        return resolve_seg_ids(scene)
    ids = material_seg_ids(scene)
    for surface in surfaces:  # geometry nodes bring materials that are in no slot
        for identity, _ in surface.materials or ((NO_MATERIAL_UID, NO_MATERIAL),):
            ids.setdefault(identity, len(ids))
    return ids


def _segments(
    scene: bpy.types.Scene,
    segment_by: SegmentBy,
    seg_ids: Mapping[int, int],
    chosen: list[SurfaceOwner],
    states: Mapping[MeshKey, MeshState],
    background_uids: set[int],
) -> Subjects:
    collection_of = _collection_names(scene) if segment_by is SegmentBy.COLLECTION else {}
    builders: dict[int, _SegmentBuilder] = {}
    for surface in chosen:
        state = states[surface.key]
        if segment_by is SegmentBy.MATERIAL:
            parts = list(_by_material(surface, state))
        else:
            uid = surface.key.owner
            identity, name = collection_of[uid] if collection_of else (uid, surface.owner.name)
            every_triangle = np.arange(len(state.topology.triangles))
            parts = [(identity, name, every_triangle, np.arange(state.topology.vertex_count))]
        for identity, name, triangles, vertices in parts:
            builder = builders.setdefault(identity, _SegmentBuilder(name, seg_ids[identity], []))
            builder.patches.append((surface, triangles, vertices))
    ordered = sorted(builders.values(), key=lambda builder: builder.seg_id)
    groups = _groups([[surface.owner for surface, _, _ in builder.patches] for builder in ordered])
    segments = []
    patches = []
    for index, builder in enumerate(ordered):
        uids = {surface.key.owner for surface, _, _ in builder.patches}
        segments.append(Segment(builder.seg_id, builder.name, groups[index], uids <= background_uids))
        patches.extend(
            Patch(surface.key, index, triangles, vertices) for surface, triangles, vertices in builder.patches
        )
    owners = {surface.key.owner: surface.owner for surface in chosen}
    return Subjects(tuple(segments), tuple(patches), tuple(owners.values()))


def _collection_names(scene: bpy.types.Scene) -> dict[int, tuple[int, str]]:
    """Return for each object the (identity, name) of the first collection that holds it."""
    collection_of: dict[int, tuple[int, str]] = {}
    for collection in collections_in_order(scene):
        for ob in collection.objects:
            collection_of.setdefault(ob.session_uid, (collection.session_uid, collection.name))
    return collection_of


def _by_material(
    surface: SurfaceOwner, state: MeshState
) -> Iterator[tuple[int, str, NDArray[np.int64], NDArray[np.int64]]]:
    """Split a mesh by material: (identity, name, triangles, vertices) in the order of the slots."""
    slots = surface.materials or ((NO_MATERIAL_UID, NO_MATERIAL),)
    slot_of_triangle = np.clip(state.topology.triangle_materials, 0, len(slots) - 1)
    identities = np.array([identity for identity, _ in slots], dtype=np.int64)
    for identity, name in dict(slots).items():
        triangles = np.flatnonzero(identities[slot_of_triangle] == identity)
        if len(triangles):
            yield identity, name, triangles, _vertices_of(state, triangles)


def _vertices_of(state: MeshState, triangles: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.unique(state.topology.triangles[triangles]).astype(np.int64)


def _groups(owners_of_segment: list[list[bpy.types.Object]]) -> list[int]:
    """Number the connected subjects: segments with an object below the same root are one."""
    roots = [{_root(owner).session_uid for owner in owners} for owners in owners_of_segment]
    leader = list(range(len(roots)))

    def find(index: int) -> int:
        while leader[index] != index:
            leader[index] = leader[leader[index]]
            index = leader[index]
        return index

    first_with: dict[int, int] = {}
    for index, uids in enumerate(roots):
        for uid in uids:
            first, second = sorted((find(first_with.setdefault(uid, index)), find(index)))
            leader[second] = first
    number: dict[int, int] = {}
    return [number.setdefault(find(index), len(number)) for index in range(len(roots))]


def _root(ob: bpy.types.Object) -> bpy.types.Object:
    """Return the top of the hierarchy: of the armature that deforms the object, else of its own parents."""
    top = armature_of(ob) or ob
    while top.parent is not None:
        top = top.parent
    return top
