"""The animator's own keyframes and markers, as scene frames."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import bpy
import numpy as np
from numpy.typing import NDArray

from .compat import animation_curves
from .motion_range import animations_of, playing_strips, with_movers

_MAX_REPEATS = 10_000


def keyframe_times(objects: Iterable[bpy.types.Object]) -> tuple[float, ...]:
    """Return the scene frames on which the objects, or what moves them, have keyframes; ascending, each once.

    Keyframes of actions in NLA strips are where the strips play them. Muted curves and strips do not count.
    """
    times: set[float] = set()
    for ob in with_movers(objects):
        for animation in animations_of(ob):
            if animation.action is not None:
                times.update(_action_times(animation.action, getattr(animation, "action_slot", None)))
            for strip in playing_strips(animation):
                times.update(_strip_times(strip))
    return tuple(sorted(times))


def marker_times(scene: bpy.types.Scene) -> tuple[float, ...]:
    """Return the scene frames of the timeline's markers, ascending, each once."""
    return tuple(sorted({float(marker.frame) for marker in scene.timeline_markers}))


def _action_times(action: bpy.types.Action, slot: Any) -> list[float]:
    times = [_curve_times(curve) for curve in animation_curves(action, slot) if not curve.mute]
    # Baked motion has a key on every frame of every curve: hundreds of thousands, of few different times.
    return np.unique(np.concatenate(times)).tolist() if times else []


def _curve_times(curve: Any) -> NDArray[np.float32]:
    points = np.empty(len(curve.keyframe_points) * 2, dtype=np.float32)
    curve.keyframe_points.foreach_get("co", points)
    return points[::2]


def _strip_times(strip: bpy.types.NlaStrip) -> Iterator[float]:
    """Where a strip plays the keyframes of its action: scaled, repeated, reversed and cut."""
    if strip.action is None:
        return
    keys = _action_times(strip.action, getattr(strip, "action_slot", None))
    first, last = strip.action_frame_start, strip.action_frame_end
    length = (last - first) * strip.scale
    for turn in range(min(max(math.ceil(strip.repeat), 1), _MAX_REPEATS)):
        start = strip.frame_start + turn * length
        for key in keys:
            if first <= key <= last:
                into = (last - key if strip.use_reverse else key - first) * strip.scale
                if start + into <= strip.frame_end:
                    yield start + into
