"""The rig's place on the photo, from the panel's settings to the request and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import bpy
import numpy as np

from ..blender_types import Context
from ..core.errors import ErrorCode, FlexTrajError
from ..core.placement import (
    Affine,
    FitNumbers,
    apply,
    as_numbers,
    compose,
    cover,
    identity,
    inverse,
    mirror,
    on_raster,
)
from ..core.request import FitMode, FitPin
from ..core.sample_settings import SampleSettings
from .cameras import camera_settings
from .photo_files import image_path, is_chosen, photo_format

if TYPE_CHECKING:
    from ..properties import FlexTrajSettings


@dataclass(frozen=True)
class RequestedFit:
    """The part of a request that says how the motion is placed."""

    fit: FitMode
    fit_matrix: FitNumbers | None
    mirror: bool
    pins: tuple[FitPin, ...]


def requested_fit(
    context: Context, settings: FlexTrajSettings, sample: SampleSettings, raster: tuple[int, int]
) -> RequestedFit:
    """Read the placement for a shot.

    Args:
        sample: by which the points are sampled.
        raster: width and height of the shot.

    Raises:
        FlexTrajError: the photo cannot be read, or the pins hold points of another sampling.
    """
    if settings.aligned:
        return RequestedFit(FitMode.AUTO, None, False, ())
    fit = FitMode(settings.fit)
    matrix = as_numbers(stored_fit(context, settings, raster)) if fit is FitMode.GIVEN else None
    pins = () if fit is FitMode.NONE else read_pins(settings, sample, raster)
    return RequestedFit(fit, matrix, settings.placement.mirror, pins)


@dataclass(frozen=True)
class KnownPlacement:
    """Where the motion stands before anything is generated.

    Attributes:
        matrix: 2x3 affine from rig pixels to photo pixels, mirrored where asked for.
        pins: by which groups leave it.
    """

    matrix: FitNumbers
    pins: tuple[FitPin, ...]


def known_placement(
    context: Context, settings: FlexTrajSettings, raster: tuple[int, int]
) -> KnownPlacement | None:
    """Read the placement, None where the backend finds it only when it renders.

    Raises:
        FlexTrajError: the shot's size has changed, or there are pins, and the photo cannot be read.
    """
    if settings.aligned:
        return KnownPlacement(as_numbers(identity()), ())
    fit = FitMode(settings.fit)
    if fit is FitMode.AUTO:
        return None
    matrix = stored_fit(context, settings, raster)
    if settings.placement.mirror:
        matrix = compose(matrix, mirror(raster[0]))
    return KnownPlacement(as_numbers(matrix), () if fit is FitMode.NONE else pins_on_raster(settings, raster))


def stored_fit(context: Context, settings: FlexTrajSettings, raster: tuple[int, int]) -> Affine:
    """The fit that was found or set by hand, (2, 3) for a raster; the identity where there is none.

    Raises:
        FlexTrajError: the shot's size has changed and the photo cannot be read.
    """
    placement = settings.placement
    if FitMode(settings.fit) is not FitMode.GIVEN:
        return identity()
    width, height = placement.raster
    matrix = np.array(placement.matrix, np.float64).reshape(2, 3)
    if (width, height) == raster or not width or context.scene.camera is None:
        return matrix
    camera = camera_settings(context.scene, context.scene.camera.data)
    return on_raster(matrix, camera, photo_size(settings), (width, height), raster)


def store_fit(settings: FlexTrajSettings, fit: Affine, raster: tuple[int, int]) -> None:
    """Keep a fit as the shot's own."""
    placement = settings.placement
    placement.raster = raster
    placement.matrix = as_numbers(fit)
    placement.photo = settings.photo
    settings.fit = FitMode.GIVEN.value
    settings.aligned = False


def remember_painted_mask(settings: FlexTrajSettings) -> None:
    """Note that the mask was made over the chosen photo."""
    settings.placement.painted_mask, settings.placement.painted_photo = settings.mask, settings.photo


def of_another_photo(settings: FlexTrajSettings) -> tuple[str, ...]:
    """Sentences about what was made over another photo than the one that is chosen now."""
    placement = settings.placement
    sentences = []
    is_placed = not settings.aligned and (FitMode(settings.fit) is FitMode.GIVEN or len(placement.pins) > 0)
    if is_placed and placement.photo and not is_chosen(settings, placement.photo):
        sentences.append("The motion was placed on another photo: fit it anew, or reset the placement.")
    is_painted = bool(settings.mask) and settings.mask == placement.painted_mask
    if is_painted and not is_chosen(settings, placement.painted_photo):
        sentences.append("The mask was painted over another photo: correct it, or find it anew.")
    return tuple(sentences)


def photo_size(settings: FlexTrajSettings) -> tuple[int, int]:
    """Width and height of the chosen photo, upright. Raises FlexTrajError."""
    path = image_path(settings.photo, "photo", ErrorCode.NO_PHOTO)
    return photo_format(path).upright_size


def sampling_key(sample: SampleSettings) -> str:
    """What must stay for points to keep their names: another number of points is other points."""
    parts = (sample.points, sample.density, sample.mode.value, sample.segment_by.value, sample.seed)
    return "/".join(map(str, parts))


def read_pins(
    settings: FlexTrajSettings, sample: SampleSettings, raster: tuple[int, int]
) -> tuple[FitPin, ...]:
    """The pins for a raster. Raises FlexTrajError where they hold points of another sampling."""
    placement = settings.placement
    if not placement.pins:
        return ()
    if placement.pinned_sampling != sampling_key(sample):
        raise FlexTrajError(
            "The pins hold points that are not sampled any more, because points, segments or seed were "
            "changed: remove the pins, or change the settings back.",
            ErrorCode.REQUEST,
        )
    return pins_on_raster(settings, raster)


def pins_on_raster(settings: FlexTrajSettings, raster: tuple[int, int]) -> tuple[FitPin, ...]:
    """The pins for a raster, whatever they hold. Raises FlexTrajError where the photo cannot be read."""
    if not settings.placement.pins:
        return ()
    size = photo_size(settings)
    to_raster = cover(size, raster)
    pins = []
    for pin in settings.placement.pins:
        x, y = apply(to_raster, np.array(pin.place[:], np.float64) * size)
        pins.append(FitPin(pin.segment, pin.point, float(x), float(y)))
    return tuple(pins)


def write_pins(
    settings: FlexTrajSettings, sample: SampleSettings, raster: tuple[int, int], pins: tuple[FitPin, ...]
) -> None:
    """Keep pins with the shot."""
    placement = settings.placement
    size = photo_size(settings)
    to_photo = inverse(cover(size, raster))
    placement.pins.clear()
    for pin in pins:
        item = placement.pins.add()
        item.segment, item.point = pin.segment, pin.point
        item.place = apply(to_photo, np.array([pin.x, pin.y])) / size
    placement.pinned_sampling = sampling_key(sample) if pins else ""
    placement.photo = settings.photo


def camera_area(context: Context) -> bpy.types.Area | None:
    """A 3D viewport that looks through the scene's camera: the current one, else any of the window."""
    areas = [context.area, *(context.screen.areas if context.screen is not None else ())]
    for area in areas:
        if area is not None and area.type == "VIEW_3D" and _is_through_camera(context, area):
            return area
    return None


def _is_through_camera(context: Context, area: bpy.types.Area) -> bool:
    space = area.spaces.active
    camera = context.scene.camera
    if camera is None or camera.type != "CAMERA" or space is None:
        return False
    view = space.region_3d  # pyright: ignore[reportAttributeAccessIssue]
    is_local = space.use_local_camera and space.camera != camera  # pyright: ignore[reportAttributeAccessIssue]
    return view is not None and view.view_perspective == "CAMERA" and not is_local
