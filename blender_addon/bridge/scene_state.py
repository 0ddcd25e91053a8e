"""Leaving the scene as it was: frame, camera and visibility come back after work, cancel or error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import bpy

from ..core.frame_mapping import split_frame

_TRANSFORM_CHANNELS = ("location", "rotation_euler", "rotation_quaternion", "rotation_axis_angle", "scale")


@contextmanager
def preserved_scene(scene: bpy.types.Scene, view_layer: bpy.types.ViewLayer) -> Iterator[None]:
    """Give frame, subframe, active camera and poses back on exit, whatever happened.

    Poses that are not keyed would otherwise fall back to the animation on the first frame change.

    Inside, objects that render but are hidden in the viewport are shown, because the viewport's depsgraph
    leaves them out; their switches come back, too.
    """
    frame, subframe = scene.frame_current, scene.frame_subframe
    camera = scene.camera
    poses = _poses(scene)
    shown = _Shown()
    try:
        shown.show_what_renders(view_layer, view_layer.layer_collection)
        yield
    finally:
        shown.restore(view_layer)
        scene.frame_set(frame, subframe=subframe)
        # Markers bound to cameras switch it on every frame change.
        scene.camera = camera
        for owner, name, value in poses:
            if tuple(getattr(owner, name)) != value:
                setattr(owner, name, value)


def evaluate_frame(
    scene: bpy.types.Scene, view_layer: bpy.types.ViewLayer, frame: float
) -> bpy.types.Depsgraph:
    """Go to a scene frame (its fraction is the subframe) and return the view layer's evaluated depsgraph.

    Works for a view layer that no window shows. `Context.evaluated_depsgraph_get` under a `temp_override`
    would do the same, but reads the override after giving up Python's lock: it crashes beside other threads.
    """
    whole, subframe = split_frame(frame)
    scene.frame_set(whole, subframe=subframe)
    return cast(bpy.types.Depsgraph, view_layer.depsgraph)


def _poses(scene: bpy.types.Scene) -> list[tuple[Any, str, tuple[float, ...]]]:
    """Return the transform channels of animated objects and of bones: (owner, property, value)."""
    owners: list[Any] = []
    for ob in scene.objects:
        if ob.animation_data is not None:
            owners.append(ob)
        if ob.pose is not None:
            owners.extend(ob.pose.bones)
    return [(owner, name, tuple(getattr(owner, name))) for owner in owners for name in _TRANSFORM_CHANNELS]


class _Shown:
    """Viewport switches that were turned over."""

    def __init__(self) -> None:
        self._objects: list[bpy.types.Object] = []
        self._eyes: list[bpy.types.Object] = []
        self._collections: list[bpy.types.Collection] = []
        self._layers: list[bpy.types.LayerCollection] = []

    def show_what_renders(
        self, view_layer: bpy.types.ViewLayer, layer_collection: bpy.types.LayerCollection
    ) -> None:
        collection = layer_collection.collection
        if layer_collection.exclude or collection.hide_render:
            return
        if collection.hide_viewport:
            collection.hide_viewport = False
            self._collections.append(collection)
        if layer_collection.hide_viewport:
            layer_collection.hide_viewport = False
            self._layers.append(layer_collection)
        for ob in collection.objects:
            if ob.hide_render:
                continue
            if ob.hide_viewport:
                ob.hide_viewport = False
                self._objects.append(ob)
            if ob.hide_get(view_layer=view_layer):
                ob.hide_set(False, view_layer=view_layer)
                self._eyes.append(ob)
        for child in layer_collection.children:
            self.show_what_renders(view_layer, child)

    def restore(self, view_layer: bpy.types.ViewLayer) -> None:
        for ob in self._eyes:
            ob.hide_set(True, view_layer=view_layer)
        for ob in self._objects:
            ob.hide_viewport = True
        for layer_collection in self._layers:
            layer_collection.hide_viewport = True
        for collection in self._collections:
            collection.hide_viewport = True
