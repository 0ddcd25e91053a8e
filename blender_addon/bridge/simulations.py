"""Simulations: Blender computes each frame from the one before, and none where frames are skipped."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator

import bpy


def simulation_start(scene: bpy.types.Scene) -> int | None:
    """The first frame of the scene's simulations that are not baked, None where there are none."""
    return min(_starts(scene), default=None)


def frames_between(start: int | None, last: float | None, frame: float) -> range:
    """The whole frames that have to be shown before a frame, so that simulations arrive there.

    Args:
        start: of the simulations; None where there are none.
        last: the frame that was shown last; None where nothing was.
        frame: the one that is wanted.
    """
    if start is None:
        return range(0)
    first = start if last is None else max(start, math.floor(last) + 1)
    return range(first, max(first, math.ceil(frame)))


def walk_to_start(scene: bpy.types.Scene, frame: float) -> Generator[None, None, None]:
    """Show the frames before the first one, one a step; what is in the caches already is only read."""
    for passed in frames_between(simulation_start(scene), None, frame):
        scene.frame_set(passed)
        yield


class SimulationPlayer:
    """Shows the frames that lie between those that are evaluated, after `walk_to_start` to the first one."""

    def __init__(self, scene: bpy.types.Scene) -> None:
        self._scene = scene
        self._start = simulation_start(scene)
        self._last: float | None = None

    def play_to(self, frame: float) -> None:
        """Show what lies before a frame; where nothing is simulated, nothing."""
        if self._last is not None:
            for passed in frames_between(self._start, self._last, frame):
                self._scene.frame_set(passed)
        self._last = frame


def _starts(scene: bpy.types.Scene) -> Iterator[int]:
    world = scene.rigidbody_world
    if world is not None and world.enabled and not world.point_cache.is_baked:
        yield world.point_cache.frame_start
    known: dict[int, bool] = {}
    for ob in scene.objects:
        for modifier in ob.modifiers:
            if not modifier.show_render:
                continue
            if isinstance(modifier, (bpy.types.ClothModifier, bpy.types.SoftBodyModifier)):
                if not modifier.point_cache.is_baked:
                    yield modifier.point_cache.frame_start
            elif isinstance(modifier, bpy.types.ParticleSystemModifier):
                system = modifier.particle_system
                if system.settings.type == "EMITTER" and not system.point_cache.is_baked:
                    yield system.point_cache.frame_start
            elif isinstance(modifier, bpy.types.NodesModifier):
                group = modifier.node_group
                if group is not None and _simulates(group, known):
                    yield scene.frame_start


def _simulates(tree: bpy.types.NodeTree, known: dict[int, bool]) -> bool:
    """Whether a node group, or one within it, has a simulation zone."""
    uid = tree.session_uid
    if uid not in known:
        known[uid] = False  # groups cannot hold themselves; this only spares a second look
        known[uid] = any(
            node.bl_idname == "GeometryNodeSimulationOutput"
            or (
                isinstance(node, bpy.types.GeometryNodeGroup)
                and node.node_tree is not None
                and _simulates(node.node_tree, known)
            )
            for node in tree.nodes
        )
    return known[uid]
