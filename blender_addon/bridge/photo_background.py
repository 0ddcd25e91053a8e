"""The photo behind the rig: a background image of the scene's camera, which covers the shot's frame.

Only entries whose image carries our mark are touched; the user's own stay as they are.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, cast

import bpy

from ..core.camera import CameraSettings
from ..core.photo_size import PhotoFormat
from .photo_files import load_image_apart

_MARK = "flextraj_photo"
IMAGE_NAME = "FlexTraj Photo"
_TURNS = {3: math.pi, 4: math.pi, 5: -math.pi / 2, 6: math.pi / 2, 7: math.pi / 2, 8: -math.pi / 2}
"""By which EXIF orientations are turned upright after mirroring, radians clockwise."""
_MIRRORED = frozenset({2, 4, 5, 7})


def photo_background(camera: bpy.types.Object | None) -> Any:
    """Our entry among a camera's background images, None where there is none."""
    if camera is None or camera.type != "CAMERA":
        return None
    data: Any = camera.data
    for entry in data.background_images:
        if entry.source == "IMAGE" and entry.image is not None and _MARK in entry.image:
            return entry
    return None


def show_photo(
    scene: bpy.types.Scene,
    path: Path,
    form: PhotoFormat,
    camera: CameraSettings,
    raster: tuple[int, int],
    opacity: float,
) -> None:
    """Show a photo through the scene's camera, cropped as the shot will crop it.

    Args:
        form: of the photo.
        camera: settings of the scene's camera.
        raster: width and height of the shot.
        opacity: 0 to 1.

    Raises:
        FlexTrajError: the file is no image.
    """
    assert scene.camera is not None
    image = load_image_apart(path)
    image.name = IMAGE_NAME
    image[_MARK] = True
    hide_photo(scene.camera)
    data: Any = scene.camera.data
    data.show_background_images = True
    entry = data.background_images.new()
    entry.source = "IMAGE"
    entry.image = image
    entry.display_depth = "BACK"
    entry.frame_method = "CROP"
    entry.alpha = opacity
    entry.show_expanded = False
    entry.use_flip_x = form.orientation in _MIRRORED
    entry.rotation = _TURNS.get(form.orientation, 0.0)
    entry.scale = background_scale(form, camera, raster)


def background_scale(form: PhotoFormat, camera: CameraSettings, raster: tuple[int, int]) -> float:
    """By which a background image that covers the camera's frame must be enlarged to cover the shot's raster.

    The frame has the proportions of the render size, the raster may have others; both are pictures of what
    the same lens sees.
    """
    width, height = camera.raster_size
    frame_focal, _ = camera.intrinsics(width, height)
    raster_focal, _ = camera.intrinsics(*raster)
    ratio = frame_focal / raster_focal
    upright = form.upright_size
    wanted = max(raster[0] * ratio[0] / upright[0], raster[1] * ratio[1] / upright[1])
    # Blender covers the frame with the picture as it is stored, and turns it afterwards.
    covered = max(width / form.width, height / form.height)
    return float(wanted / covered)


def hide_photo(camera: bpy.types.Object | None) -> None:
    """Remove our entry and its image; harmless where there is none."""
    entry = photo_background(camera)
    if entry is None or camera is None:
        return
    image, data = entry.image, cast(bpy.types.Camera, camera.data)
    entry.image = None  # removing the entry alone would leave the image its user
    data.background_images.remove(entry)
    if image.users == 0:
        bpy.data.images.remove(image)


def set_photo_opacity(scene: bpy.types.Scene, opacity: float) -> None:
    """Change the opacity of the photo behind the rig, where it is shown."""
    entry = photo_background(scene.camera)
    if entry is not None:
        entry.alpha = opacity
