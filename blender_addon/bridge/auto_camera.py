"""A temporary camera for scenes without one, in front of the subjects, that sees their whole motion."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import bpy
import numpy as np
from mathutils import Matrix

from ..core.errors import ErrorCode, FlexTrajError
from ..core.framing import extreme_points, framing_location, framing_rotation
from ..core.sample_settings import SampleSettings
from .cameras import camera_settings
from .evaluated_meshes import MeshReader
from .scene_state import evaluate_frame, preserved_scene
from .simulations import SimulationPlayer, walk_to_start
from .subjects import resolve_objects

_ELEVATION = math.radians(6)
_LENS = 50.0  # millimetres: no visible distortion of a person


@contextmanager
def framing_camera(
    scene: bpy.types.Scene,
    view_layer: bpy.types.ViewLayer,
    settings: SampleSettings,
    frames: tuple[float, ...],
) -> Iterator[bpy.types.Object]:
    """Make the scene's camera for as long as the context lasts.

    Args:
        settings: `objects` (all that renders where empty) without `background` are framed, for `width` and
            `height`.
        frames: scene frames on which the subjects must be in the picture.

    Raises:
        FlexTrajError: there is nothing to frame.
    """
    data = bpy.data.cameras.new("FlexTraj Framing")
    camera = bpy.data.objects.new("FlexTraj Framing", data)
    before = scene.camera
    assert scene.collection is not None
    scene.collection.objects.link(camera)
    try:
        data.lens = _LENS
        _place(scene, view_layer, settings, frames, camera, data)
        scene.camera = camera
        yield camera
    finally:
        scene.camera = before
        bpy.data.objects.remove(camera)
        bpy.data.cameras.remove(data)


def _place(
    scene: bpy.types.Scene,
    view_layer: bpy.types.ViewLayer,
    settings: SampleSettings,
    frames: tuple[float, ...],
    camera: bpy.types.Object,
    data: bpy.types.Camera,
) -> None:
    format_settings = camera_settings(scene, data)
    width, height = format_settings.raster_size
    if settings.width is not None and settings.height is not None:
        width, height = settings.width, settings.height
    focal, _ = format_settings.intrinsics(width, height)
    half_extent = np.array([width, height]) / (2 * focal)
    rotation = framing_rotation(_ELEVATION)
    wanted = _uids(scene, settings.objects)
    unwanted = _uids(scene, settings.background)
    deciding = []
    with preserved_scene(scene, view_layer):
        reader = MeshReader(view_layer)
        for _ in walk_to_start(scene, frames[0]):
            pass
        simulations = SimulationPlayer(scene)
        for frame in frames:
            simulations.play_to(frame)
            for key, state in reader.read(evaluate_frame(scene, view_layer, frame)).items():
                if key.owner not in unwanted and (not settings.objects or key.owner in wanted):
                    vertices = state.world_vertices()
                    vertices = vertices[np.isfinite(vertices).all(axis=1)]
                    if len(vertices):
                        deciding.append(extreme_points(vertices, rotation, half_extent))
    if not deciding:
        raise FlexTrajError(
            "Nothing that renders has a surface in the shot: add a mesh or turn on its render visibility.",
            ErrorCode.NO_SUBJECT,
        )
    points = np.concatenate(deciding)
    location = framing_location(points, rotation, half_extent)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, location
    camera.matrix_world = Matrix(pose.tolist())
    farthest = float(((location - points) @ rotation[:, 2]).max())
    data.clip_start, data.clip_end = farthest / 1000, farthest * 100


def _uids(scene: bpy.types.Scene, names: tuple[str, ...]) -> set[int]:
    return {member.session_uid for members in resolve_objects(scene, names).values() for member in members}
