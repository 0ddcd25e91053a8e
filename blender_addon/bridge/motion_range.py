"""The frame range of an animation: actions and NLA strips of objects and of all that moves them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import bpy

from ..core.frame_mapping import FrameRange
from .subjects import armature_of


def motion_range(objects: Iterable[bpy.types.Object]) -> FrameRange | None:
    """Return the range over which any of the objects is animated, None where none is.

    What moves them counts, too: parents, armatures, and the targets of constraints and modifiers.
    Ranges may be fractional (glTF actions are). The union is returned, so that nothing is cut off.
    """
    ranges = [
        found
        for ob in with_movers(objects)
        for animation in animations_of(ob)
        for found in _animation_ranges(animation)
        if found.last > found.first
    ]
    if not ranges:
        return None
    return FrameRange(min(found.first for found in ranges), max(found.last for found in ranges))


def with_movers(objects: Iterable[bpy.types.Object]) -> Iterator[bpy.types.Object]:
    """Iterate over objects and over everything that moves them, directly or not, each once."""
    waiting = list(objects)
    seen: set[int] = set()
    while waiting:
        ob = waiting.pop()
        if ob.session_uid not in seen:
            seen.add(ob.session_uid)
            yield ob
            waiting.extend(mover for mover in _movers(ob) if mover is not None)


def _movers(ob: bpy.types.Object) -> Iterator[bpy.types.Object | None]:
    yield ob.parent
    yield armature_of(ob)
    for modifier in ob.modifiers:
        if modifier.show_render:
            yield from _pointed_at(modifier)
    owners: list[Any] = [ob, *(ob.pose.bones if ob.pose is not None else ())]
    for owner in owners:
        for constraint in owner.constraints:
            if not constraint.mute:
                yield from _pointed_at(constraint)
                for target in getattr(constraint, "targets", ()):
                    yield target.target


def _pointed_at(struct: bpy.types.bpy_struct) -> Iterator[bpy.types.Object]:
    """Iterate over the objects that a constraint or modifier refers to: targets, poles, hooks."""
    for definition in struct.bl_rna.properties:
        if definition.type == "POINTER":
            target = getattr(struct, definition.identifier)
            if isinstance(target, bpy.types.Object):
                yield target


def animations_of(ob: bpy.types.Object) -> Iterator[bpy.types.AnimData]:
    """Iterate over the animation of an object, its data and its shape keys."""
    for owner in (ob, ob.data, getattr(ob.data, "shape_keys", None)):
        animation = getattr(owner, "animation_data", None)
        if animation is not None:
            yield animation


def _animation_ranges(animation: bpy.types.AnimData) -> Iterator[FrameRange]:
    if animation.action is not None:
        yield FrameRange(*(float(frame) for frame in animation.action.frame_range))
    for strip in playing_strips(animation):
        yield FrameRange(float(strip.frame_start), float(strip.frame_end))


def playing_strips(animation: bpy.types.AnimData) -> Iterator[bpy.types.NlaStrip]:
    """Iterate over the NLA strips that are not muted."""
    if not animation.use_nla:
        return
    solo = any(track.is_solo for track in animation.nla_tracks)
    for track in animation.nla_tracks:
        if track.mute or (solo and not track.is_solo):
            continue
        for strip in track.strips:
            if not strip.mute:
                yield strip
