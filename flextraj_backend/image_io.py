"""Photos and masks: reading with limits, scaling to cover a raster, writing atomically."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.atomic_file import atomic_path

MAX_PIXELS = 200_000_000


class ImageError(FlexTrajError):
    """A picture that cannot be used."""

    def __init__(self, message: str) -> None:
        super().__init__(message, ErrorCode.IMAGE)


def _open(source: Path | str | bytes) -> tuple[Image.Image, str]:
    label = "The image" if isinstance(source, bytes) else f"The image {source}"
    try:
        with warnings.catch_warnings():
            # Pillow warns at half its own limit; ours is checked below, before any pixel is decoded.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
        if image.width * image.height > MAX_PIXELS:
            image.close()
            raise ImageError(f"{label} has {image.width}x{image.height} px, too large: scale it down first.")
        return image, label
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ImageError(f"{label} is not a readable image: use a JPEG, PNG, WebP or TIFF file.") from error
    except OSError as error:
        raise ImageError(f"{label} cannot be opened ({error.strerror or error}): check the path.") from error


def _in_eight_bits(image: Image.Image) -> Image.Image:
    """Scale deeper grey pictures to 8 bits; Pillow's own conversion would cut them off at 255."""
    if image.mode == "F":
        largest = 1.0
    elif image.mode == "I" or image.mode.startswith("I;16"):
        largest = 65535.0
    else:
        return image
    values = np.asarray(image, dtype=np.float64)
    if values.max(initial=0.0) > largest:
        largest = float(values.max())
    return Image.fromarray(np.round(np.clip(values / largest, 0, 1) * 255).astype(np.uint8))


def _load(source: Path | str | bytes, mode: str) -> NDArray[np.uint8]:
    image, label = _open(source)
    with image:
        try:
            return np.asarray(_in_eight_bits(ImageOps.exif_transpose(image)).convert(mode))
        except (OSError, SyntaxError, ValueError) as error:
            raise ImageError(f"{label} is damaged ({error}): save it again as a JPEG or PNG file.") from error


def read_photo(source: Path | str | bytes) -> NDArray[np.uint8]:
    """Read a photo as (H, W, 3) uint8 RGB, upright by its EXIF tag. Raises ImageError."""
    return _load(source, "RGB")


def read_mask(source: Path | str | bytes) -> NDArray[np.bool_]:
    """Read a subject mask as (H, W) bool; brighter than middle grey is subject. Raises ImageError."""
    return _load(source, "L") > 127


def cover_and_crop(picture: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Scale a (H, W, 3) or (H, W) picture to cover width x height and crop the middle: never squeezed."""
    image = Image.fromarray(picture)
    if image.size == (width, height):
        return picture
    return np.asarray(ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS))


def cover_and_crop_mask(mask: NDArray[np.bool_], width: int, height: int) -> NDArray[np.bool_]:
    """`cover_and_crop` for a (H, W) bool mask."""
    return cover_and_crop(np.where(mask, np.uint8(255), np.uint8(0)), width, height) > 127


def write_image(path: Path, picture: NDArray[np.uint8]) -> Path:
    """Write (H, W, 3) or (H, W) uint8 as PNG or JPEG by the name's ending, atomically."""
    with atomic_path(path) as temporary:
        Image.fromarray(picture).save(temporary, quality=92)
    return path
