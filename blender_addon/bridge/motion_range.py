"""The frame range of an animation: actions and NLA strips of objects, armatures, parents and shape keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import bpy

from ..core.frame_mapping import FrameRange
from .subjects import armature_of


def motion_range(objects: Iterable[bpy.types.Object]) -> FrameRange | None:
    """Return the range over which any of the objects is animated, None where none is.

    Ranges may be fractional (glTF actions are). The union is returned, so that nothing is cut off.
    """
    ranges = [
        found
        for ob in objects
        for animation in _animations(ob)
        for found in _animation_ranges(animation)
        if found.last > found.first
    ]
    if not ranges:
        return None
    return FrameRange(min(found.first for found in ranges), max(found.last for found in ranges))


def _animations(ob: bpy.types.Object) -> Iterator[bpy.types.AnimData]:
    chain: bpy.types.Object | None = ob
    while chain is not None:
        for owner in (chain, armature_of(chain), chain.data, getattr(chain.data, "shape_keys", None)):
            animation = getattr(owner, "animation_data", None)
            if animation is not None:
                yield animation
        chain = chain.parent


def _animation_ranges(animation: bpy.types.AnimData) -> Iterator[FrameRange]:
    if animation.action is not None:
        yield FrameRange(*(float(frame) for frame in animation.action.frame_range))
    if not animation.use_nla:
        return
    solo = any(track.is_solo for track in animation.nla_tracks)
    for track in animation.nla_tracks:
        if track.mute or (solo and not track.is_solo):
            continue
        for strip in track.strips:
            if not strip.mute:
                yield FrameRange(float(strip.frame_start), float(strip.frame_end))
