"""Reads the evaluated Blender camera of the current frame."""

from __future__ import annotations

from typing import cast

import bpy
import numpy as np
from numpy.typing import NDArray

from ..core.camera import CameraFrame, CameraSettings, SensorFit
from ..core.camera_track import Projection
from ..core.errors import ErrorCode, FlexTrajError
from ..core.matrices import cofactors
from .matrices import matrix_array

_PROJECTIONS = {"PERSP": Projection.PERSPECTIVE, "ORTHO": Projection.ORTHOGRAPHIC}
# Of the box that the camera's three axes span, 1 where they are at right angles.
_SMALLEST_VOLUME = 1e-6


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
        FlexTrajError: there is no camera, it is not in the view layer, its lens is panoramic, or its
            transform is not finite or flat.
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
        camera_to_world=_camera_to_world(camera, cast(bpy.types.Scene, depsgraph.scene).frame_current_final),
        width=width,
        height=height,
        clip_start=data.clip_start,
        clip_end=data.clip_end,
    )


class CameraReader:
    """Reads one camera on many frames; what has not changed since the last frame is not computed again."""

    def __init__(self, scene: bpy.types.Scene, width: int | None, height: int | None) -> None:
        """Arguments as for `read_camera`."""
        self._scene = scene
        self._size = (width, height)
        self._last: tuple[tuple[object, ...], CameraFrame] | None = None

    def read(self, camera_object: bpy.types.Object | None, depsgraph: bpy.types.Depsgraph) -> CameraFrame:
        """Read the camera as `read_camera` does; the same object as before while nothing moved."""
        camera, data = _evaluated_camera(camera_object, depsgraph)
        first, second, third, fourth = camera.matrix_world
        settings = camera_settings(self._scene, data)
        source = (settings, data.clip_start, data.clip_end, *first, *second, *third, *fourth)
        if self._last is None or self._last[0] != source:
            self._last = source, read_camera(self._scene, camera_object, depsgraph, *self._size)
        return self._last[1]


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


def _camera_to_world(camera: bpy.types.Object, frame: float) -> NDArray[np.float64]:
    """Return the pose of an evaluated camera, (4, 4), without scale.

    Like the renderer, it ignores the scale of the camera object and of its parents.
    """
    pose = matrix_array(camera.matrix_world.normalized())
    if not np.isfinite(pose).all():
        raise FlexTrajError(
            f"The transform of the camera '{camera.name}' is not a finite number on frame {frame:g}: "
            "clear its transform or repair its animation, drivers and constraints.",
            ErrorCode.NO_CAMERA,
        )
    if abs(pose[0, :3] @ cofactors(pose[:3, :3])[0]) < _SMALLEST_VOLUME:
        raise FlexTrajError(
            f"The camera '{camera.name}' is scaled to zero on frame {frame:g}, so it sees nothing: "
            "set its scale and that of its parents to 1.",
            ErrorCode.NO_CAMERA,
        )
    return pose


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
