"""Blender's camera model in NumPy: from lens, sensor and render settings to pixels and planar depth.

The formulas follow Blender's `BKE_camera_params_compute_viewplane`; the renderer agrees within 0.002 px.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .camera_track import CameraTrack, Projection
from .errors import ErrorCode, FlexTrajError
from .matrices import affine_inverse

# A point in the plane of the camera's centre has no image: keep its pixels finite (and far outside any
# raster), small enough for float32 and its squares.
LARGEST_COORDINATE = 1e15
_SMALLEST_DIVISOR = 1e-12


class SensorFit(StrEnum):
    """Which side of the sensor the focal length refers to."""

    AUTO = "auto"
    HORIZONTAL = "horizontal"
    VERTICAL = "vertical"


@dataclass(frozen=True)
class CameraSettings:
    """What an artist sets: camera data and the render's format.

    Attributes:
        projection: perspective or orthographic.
        lens: focal length in millimetres (perspective).
        sensor_width, sensor_height: millimetres.
        sensor_fit: which of the two counts.
        shift_x, shift_y: lens shift in units of the fitted side of the picture.
        ortho_scale: scene units that the fitted side covers (orthographic).
        pixel_aspect_x, pixel_aspect_y: shape of a pixel.
        resolution_x, resolution_y: the render's size at 100 %.
        resolution_percentage: per cent.
    """

    projection: Projection
    lens: float = 50.0
    sensor_width: float = 36.0
    sensor_height: float = 24.0
    sensor_fit: SensorFit = SensorFit.AUTO
    shift_x: float = 0.0
    shift_y: float = 0.0
    ortho_scale: float = 6.0
    pixel_aspect_x: float = 1.0
    pixel_aspect_y: float = 1.0
    resolution_x: int = 1920
    resolution_y: int = 1080
    resolution_percentage: int = 100

    @property
    def raster_size(self) -> tuple[int, int]:
        """Width and height in pixels of the render: truncated, which `world_to_camera_view` is not."""
        return (
            max(1, self.resolution_x * self.resolution_percentage // 100),
            max(1, self.resolution_y * self.resolution_percentage // 100),
        )

    def intrinsics(self, width: int, height: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Focal lengths and principal point for a raster.

        Args:
            width, height: raster in pixels; the pixel aspect of the settings applies to it.

        Returns:
            focal (2,) in pixels (perspective) or pixels per scene unit (orthographic), and principal point
            (2,) in pixels, origin at the top left corner, pixel centres at +0.5.
        """
        aspect = self.pixel_aspect_y / self.pixel_aspect_x  # height of a pixel in pixel widths
        fit = self.sensor_fit
        if fit is SensorFit.AUTO:
            wide = self.pixel_aspect_x * width >= self.pixel_aspect_y * height
            side = width if wide else aspect * height
            sensor = self.sensor_width
        elif fit is SensorFit.HORIZONTAL:
            side, sensor = width, self.sensor_width
        else:
            side, sensor = aspect * height, self.sensor_height
        if self.projection is Projection.PERSPECTIVE:
            focal = self.lens * side / sensor
        else:
            focal = side / self.ortho_scale
        return (
            np.array([focal, focal / aspect]),
            np.array([width / 2 - self.shift_x * side, height / 2 + self.shift_y * side / aspect]),
        )


@dataclass(frozen=True, eq=False)
class CameraFrame:
    """The camera of one frame, ready to project.

    Attributes:
        projection: perspective or orthographic.
        focal: (2,) float64, fx and fy in pixels (perspective) or pixels per scene unit (orthographic).
        principal: (2,) float64, cx and cy in pixels, origin at the top left corner.
        camera_to_world: (4, 4) float64, Blender's camera axes (looks along -Z, +Y up), without scale.
        width, height: raster in pixels.
        clip_start, clip_end: depths in scene units between which surfaces render.
    """

    projection: Projection
    focal: NDArray[np.float64]
    principal: NDArray[np.float64]
    camera_to_world: NDArray[np.float64]
    width: int
    height: int
    clip_start: float
    clip_end: float

    @cached_property
    def world_to_camera(self) -> NDArray[np.float64]:
        """(4, 4), to Blender's camera axes."""
        return affine_inverse(self.camera_to_world)

    @cached_property
    def world_to_raster(self) -> NDArray[np.float64]:
        """(4, 4) homogeneous projection with planar depth.

        Applied to (x, y, z, 1) it gives (x_px * w, y_px * w, depth, w), where w is the depth for a
        perspective camera and 1 for an orthographic one. All four are linear over a triangle, so they
        interpolate with barycentric weights exactly; pixels do not.
        """
        x_axis, y_axis, z_axis = self.world_to_camera[:3]
        depth = -z_axis
        constant = np.array([0.0, 0.0, 0.0, 1.0])
        divisor = depth if self.projection is Projection.PERSPECTIVE else constant
        return np.stack(
            [
                self.focal[0] * x_axis + self.principal[0] * divisor,
                self.principal[1] * divisor - self.focal[1] * y_axis,  # camera +Y is up, raster y is down
                depth,
                divisor,
            ]
        )

    def world_to_homogeneous(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Project world points (N, 3) to (N, 4): x_px * w, y_px * w, depth, w (see `world_to_raster`)."""
        matrix = self.world_to_raster
        return np.asarray(points, dtype=np.float64) @ matrix[:, :3].T + matrix[:, 3]

    def world_to_pixels(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Project world points.

        Args:
            points: (N, 3) in scene units.

        Returns:
            (N, 3) float64: x, y in pixels and planar depth in scene units. Finite for any input: points
            behind the camera keep their negative depth, and what has no image lands outside every raster.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            return homogeneous_to_pixels(self.world_to_homogeneous(points))


def homogeneous_to_pixels(homogeneous: NDArray[np.floating]) -> NDArray[np.float64]:
    """Divide rows (N, 4) of `CameraFrame.world_to_homogeneous`: (N, 3) x, y in pixels and depth, finite."""
    divisor = homogeneous[:, 3]
    safe = np.where(np.abs(divisor) < _SMALLEST_DIVISOR, _SMALLEST_DIVISOR, divisor)
    pixels = np.empty((len(homogeneous), 3))
    with np.errstate(over="ignore", invalid="ignore"):
        pixels[:, 0] = homogeneous[:, 0] / safe
        pixels[:, 1] = homogeneous[:, 1] / safe
        pixels[:, 2] = homogeneous[:, 2]
        # A coordinate that is not a number has no image: depth -limit keeps it behind the camera.
        np.nan_to_num(pixels, copy=False, nan=-LARGEST_COORDINATE)
        return np.clip(pixels, -LARGEST_COORDINATE, LARGEST_COORDINATE, out=pixels)


def camera_track(frames: Sequence[CameraFrame]) -> CameraTrack:
    """Collect the cameras of a shot's frames, as a trajectory set stores them.

    Raises:
        FlexTrajError: the shot cuts between perspective and orthographic cameras.
    """
    projections = {frame.projection for frame in frames}
    if len(projections) != 1:
        raise FlexTrajError(
            "The shot needs one kind of camera, but it changes between perspective and orthographic: "
            "use one camera type for all frames.",
            ErrorCode.NO_CAMERA,
        )
    return CameraTrack(
        projection=projections.pop(),
        focal=np.stack([frame.focal for frame in frames]),
        principal=np.stack([frame.principal for frame in frames]),
        camera_to_world=np.stack([frame.camera_to_world for frame in frames]),
    )
