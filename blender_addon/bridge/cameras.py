"""Reads the evaluated Blender camera of the current frame."""

from __future__ import annotations

from typing import cast

import bpy
import numpy as np

from ..core.camera import CameraFrame, CameraSettings, SensorFit
from ..core.camera_track import Projection
from ..core.errors import ErrorCode, FlexTrajError

_PROJECTIONS = {"PERSP": Projection.PERSPECTIVE, "ORTHO": Projection.ORTHOGRAPHIC}


def read_camera(
    scene: bpy.types.Scene,
    camera_object: bpy.types.Object | None,
    depsgraph: bpy.types.Depsgraph,
    width: int | None = None,
    height: int | None = None,
) -> CameraFrame:
    """Read a camera as it is evaluated at the scene's current frame (animation, parents, constraints).

    Args:
        scene: gives the render size, its percentage and the pixel aspect.
        camera_object: usually `scene.camera`; None where the scene has none.
        depsgraph: the evaluated dependency graph.
        width, height: raster in pixels; replace the scene's size (and its percentage).

    Raises:
        FlexTrajError: there is no camera, it is not in the view layer, or its lens is panoramic.
    """
    camera, data = _evaluated_camera(camera_object, depsgraph)
    settings = camera_settings(scene, data)
    scene_width, scene_height = settings.raster_size
    width = scene_width if width is None else width
    height = scene_height if height is None else height
    focal, principal = settings.intrinsics(width, height)
    return CameraFrame(
        projection=settings.projection,
        focal=focal,
        principal=principal,
        # normalized(): like the renderer, ignore the scale of the camera object and of its parents.
        camera_to_world=np.array(camera.matrix_world.normalized(), dtype=np.float64),
        width=width,
        height=height,
        clip_start=data.clip_start,
        clip_end=data.clip_end,
    )


def camera_settings(scene: bpy.types.Scene, data: bpy.types.Camera) -> CameraSettings:
    """Copy the settings of (evaluated) camera data and of the scene's format.

    Raises:
        FlexTrajError: the lens is panoramic.
    """
    projection = _PROJECTIONS.get(data.type)
    if projection is None:
        raise FlexTrajError(
            f"The camera '{data.name}' has a panoramic lens, which point trajectories cannot use: "
            "set its lens type to Perspective or Orthographic.",
            ErrorCode.NO_CAMERA,
        )
    render = scene.render
    return CameraSettings(
        projection=projection,
        lens=data.lens,
        sensor_width=data.sensor_width,
        sensor_height=data.sensor_height,
        sensor_fit=SensorFit(data.sensor_fit.lower()),
        shift_x=data.shift_x,
        shift_y=data.shift_y,
        ortho_scale=data.ortho_scale,
        pixel_aspect_x=render.pixel_aspect_x,
        pixel_aspect_y=render.pixel_aspect_y,
        resolution_x=render.resolution_x,
        resolution_y=render.resolution_y,
        resolution_percentage=render.resolution_percentage,
    )


def _evaluated_camera(
    camera_object: bpy.types.Object | None, depsgraph: bpy.types.Depsgraph
) -> tuple[bpy.types.Object, bpy.types.Camera]:
    if camera_object is None:
        raise FlexTrajError(
            "The scene has no camera: add one (Add > Camera) and make it the scene's camera (Ctrl Numpad 0).",
            ErrorCode.NO_CAMERA,
        )
    if camera_object.type != "CAMERA":
        raise FlexTrajError(
            f"'{camera_object.name}' is not a camera: choose a camera object.", ErrorCode.NO_CAMERA
        )
    evaluated = cast(bpy.types.Object, camera_object.evaluated_get(depsgraph))
    if not evaluated.is_evaluated:
        raise FlexTrajError(
            f"The camera '{camera_object.name}' is not in the view layer: "
            "include its collection or choose another camera.",
            ErrorCode.NO_CAMERA,
        )
    return evaluated, cast(bpy.types.Camera, evaluated.data)
