"""Leaving the scene as it was: frame, camera and visibility come back after work, cancel or error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any, cast

import bpy

from ..core.errors import ErrorCode, FlexTrajError
from ..core.frame_mapping import split_frame
from .keyed_values import keyed_values

# Modifiers with `levels` for the viewport and `render_levels`.
_WITH_RENDER_LEVELS = frozenset({"SUBSURF", "MULTIRES"})
# Blender keeps frames in single precision.
_SAME_FRAME = 1e-3


class SceneRestorer:
    """Collects what to put back; on exit it is put back, the last first, whatever happened.

    Each item stands alone: where the user has deleted one in the meantime, or one fails, the others still
    come back.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> SceneRestorer:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def later(self, restore: Callable[..., None], *arguments: Any) -> None:
        """Call `restore(*arguments)` on exit, unless what it works on has been deleted by then."""
        self._stack.callback(_unless_deleted, restore, *arguments)

    def switch(self, owner: bpy.types.bpy_struct, name: str, value: object) -> None:
        """Set a property of a data-block until the exit; does nothing where it has that value."""
        before = getattr(owner, name)
        if before != value:
            self.later(setattr, owner, name, before)
            setattr(owner, name, value)


def _unless_deleted(restore: Callable[..., None], *arguments: Any) -> None:
    with suppress(ReferenceError):
        restore(*arguments)


@contextmanager
def preserved_scene(scene: bpy.types.Scene, view_layer: bpy.types.ViewLayer) -> Iterator[None]:
    """Give frame, subframe, active camera and keyed values, such as poses, back on exit, whatever happened.

    Changes that are not keyed would otherwise fall back to the animation on the first frame change.

    Inside, objects that render but are hidden in the viewport are shown, because the viewport's depsgraph
    leaves them out; modifiers and metaballs are those of the render. These settings come back, too.

    Raises:
        FlexTrajError: something is in Edit Mode, where Blender shows rest poses and meshes without a surface.
    """
    edited = next((ob for ob in scene.objects if ob.mode == "EDIT"), None)
    if edited is not None:
        raise FlexTrajError(
            f"'{edited.name}' is in Edit Mode, where nothing moves: leave Edit Mode first (Tab).",
            ErrorCode.REQUEST,
        )
    with SceneRestorer() as restorer:
        for keyed in keyed_values():
            restorer.later(keyed.put_back)
        # Markers bound to cameras switch it on every frame change.
        restorer.later(setattr, scene, "camera", scene.camera)
        frame, subframe = scene.frame_current, scene.frame_subframe
        restorer.later(partial(scene.frame_set, frame, subframe=subframe))
        _show_what_renders(restorer, view_layer, view_layer.layer_collection, ())
        _modify_as_rendered(restorer, scene)
        for metaball in bpy.data.metaballs:  # the viewport's are coarser by default
            restorer.switch(metaball, "resolution", metaball.render_resolution)
        yield


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


def shows_frame(scene: bpy.types.Scene, frame: float) -> bool:
    """Whether the scene stands on a frame: since `evaluate_frame` somebody may have scrubbed the timeline."""
    return abs(scene.frame_current_final - frame) < _SAME_FRAME


def _show_what_renders(
    restorer: SceneRestorer,
    view_layer: bpy.types.ViewLayer,
    layer_collection: bpy.types.LayerCollection,
    path: tuple[int, ...],
) -> None:
    collection = layer_collection.collection
    if collection.hide_render:
        return
    path = (*path, collection.session_uid)
    restorer.switch(collection, "hide_viewport", False)
    if layer_collection.hide_viewport:
        layer_collection.hide_viewport = False
        restorer.later(_hide_layer_collection, view_layer, path)
    # An excluded collection may hold one that is not.
    for ob in () if layer_collection.exclude else collection.objects:
        if ob.hide_render:
            continue
        restorer.switch(ob, "hide_viewport", False)
        if ob.hide_get(view_layer=view_layer):
            ob.hide_set(False, view_layer=view_layer)
            restorer.later(_hide, view_layer, ob)
    for child in layer_collection.children:
        _show_what_renders(restorer, view_layer, child, path)


def _modify_as_rendered(restorer: SceneRestorer, scene: bpy.types.Scene) -> None:
    """Make modifiers evaluate as in a render, where that differs from the viewport.

    Of all objects: those that do not render themselves (instanced ones, Boolean operands) shape others.
    """
    render = scene.render
    if render.use_simplify:
        restorer.switch(render, "simplify_subdivision", render.simplify_subdivision_render)
    for ob in bpy.data.objects:
        for modifier in ob.modifiers:
            if modifier.show_viewport != modifier.show_render:
                _switch_modifier(restorer, ob, modifier.name, "show_viewport", modifier.show_render)
            if modifier.show_render and modifier.type in _WITH_RENDER_LEVELS:
                subdivision = cast(bpy.types.SubsurfModifier, modifier)
                if subdivision.levels != subdivision.render_levels:
                    _switch_modifier(restorer, ob, modifier.name, "levels", subdivision.render_levels)


def _switch_modifier(
    restorer: SceneRestorer, ob: bpy.types.Object, modifier: str, name: str, value: object
) -> None:
    restorer.later(_set_modifier, ob, modifier, name, getattr(ob.modifiers[modifier], name))
    _set_modifier(ob, modifier, name, value)


def _set_modifier(ob: bpy.types.Object, modifier: str, name: str, value: object) -> None:
    # By name: a modifier that has been deleted would leave a dangling pointer.
    found = ob.modifiers.get(modifier)
    if found is not None:
        setattr(found, name, value)


def _hide(view_layer: bpy.types.ViewLayer, ob: bpy.types.Object) -> None:
    if ob.name in view_layer.objects:
        ob.hide_set(True, view_layer=view_layer)


def _hide_layer_collection(view_layer: bpy.types.ViewLayer, path: tuple[int, ...]) -> None:
    """Hide the layer collection at a path of session_uids; found again, Blender remakes them at will."""
    found = [view_layer.layer_collection]
    for uid in path[1:]:
        found = [child for one in found for child in one.children if child.collection.session_uid == uid]
    for layer_collection in found:
        layer_collection.hide_viewport = True
