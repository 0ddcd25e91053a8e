"""The photo's subject as far as it is known: the user's mask, else what the last fit found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..blender_types import Context
from ..core.errors import ErrorCode, FlexTrajError
from ..core.mask_canvas import canvas_size, resample_mask
from ..core.placement import cover, inverse
from .photo_files import image_path, read_mask
from .placement import photo_size
from .shot_request import chosen_size

if TYPE_CHECKING:
    from ..properties import FlexTrajSettings

_ASPECT_TOLERANCE = 0.01


def users_mask(settings: FlexTrajSettings) -> NDArray[np.bool_] | None:
    """The mask that the user chose, (H, W) bool in the photo's proportions, None where there is none.

    Raises:
        FlexTrajError: it cannot be read, or has other proportions than the photo.
    """
    if not settings.mask:
        return None
    mask = read_mask(image_path(settings.mask, "mask", ErrorCode.MASK))
    width, height = photo_size(settings)
    if abs(mask.shape[1] * height / (mask.shape[0] * width) - 1) > _ASPECT_TOLERANCE:
        raise FlexTrajError(
            f"The mask is {mask.shape[1]}x{mask.shape[0]} px and the photo {width}x{height} px: "
            "choose a mask in the photo's proportions, or none.",
            ErrorCode.MASK,
        )
    return mask


def known_mask(
    context: Context, settings: FlexTrajSettings, found: NDArray[np.bool_] | None
) -> NDArray[np.bool_] | None:
    """The subject at the shot's raster, (H, W) bool; None where it is not known.

    Args:
        found: what the last fit found, at its raster.

    Raises:
        FlexTrajError: the user's mask cannot be used.
    """
    raster = chosen_size(context, settings)
    mask = users_mask(settings)
    if mask is not None:
        return resample_mask(mask, cover((mask.shape[1], mask.shape[0]), raster), raster)
    if found is None:
        return None
    on_canvas = _on_canvas(settings, found)
    return resample_mask(on_canvas, cover((on_canvas.shape[1], on_canvas.shape[0]), raster), raster)


def mask_to_correct(settings: FlexTrajSettings, found: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """What a correction begins with, in the photo's proportions: the mask that is known, else an empty one.

    Raises:
        FlexTrajError: photo or mask cannot be read.
    """
    width, height = canvas_size(photo_size(settings))
    mask = users_mask(settings)
    if mask is not None:
        grow = np.array([[width / mask.shape[1], 0.0, 0.0], [0.0, height / mask.shape[0], 0.0]])
        return resample_mask(mask, grow, (width, height))
    return np.zeros((height, width), bool) if found is None else _on_canvas(settings, found)


def _on_canvas(settings: FlexTrajSettings, found: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask of the cropped photo, put back into the whole photo."""
    size = canvas_size(photo_size(settings))
    to_canvas = inverse(cover(size, (found.shape[1], found.shape[0])))
    return resample_mask(found, to_canvas, size)
