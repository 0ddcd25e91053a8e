"""Photos and masks: reading with limits, scaling to cover a raster, writing atomically."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.atomic_file import atomic_path

MAX_PIXELS = 178_000_000
"""Just below the number at which Pillow refuses to open a picture."""


class ImageError(FlexTrajError):
    """A picture that cannot be used."""

    def __init__(self, message: str, code: ErrorCode = ErrorCode.IMAGE) -> None:
        super().__init__(message, code)


@dataclass(frozen=True)
class _Source:
    """A picture to read and what to call it in an error."""

    data: Path | str | bytes
    code: ErrorCode

    def refuse(self, problem: str) -> ImageError:
        label = "The mask" if self.code is ErrorCode.MASK else "The image"
        if not isinstance(self.data, bytes):
            label += f" {self.data}"
        return ImageError(f"{label} {problem}", self.code)


def _open(source: _Source) -> Image.Image:
    data = source.data
    try:
        with warnings.catch_warnings():
            # Pillow warns at half its own limit; ours is checked below, before any pixel is decoded.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data) if isinstance(data, bytes) else data)
        if image.width * image.height > MAX_PIXELS:
            image.close()
            raise source.refuse(f"has {image.width}x{image.height} px, too large: scale it down first.")
        return image
    except Image.DecompressionBombError as error:
        most = f"{MAX_PIXELS / 1e6:.0f} million px"
        raise source.refuse(f"has more than {most}, too large: scale it down first.") from error
    except UnidentifiedImageError as error:
        raise source.refuse("is not a readable image: use a JPEG, PNG, WebP or TIFF file.") from error
    except OSError as error:
        raise source.refuse(f"cannot be opened ({error.strerror or error}): check the path.") from error


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


def _load(source: _Source, mode: str) -> NDArray[np.uint8]:
    with _open(source) as image:
        try:
            return np.asarray(_in_eight_bits(ImageOps.exif_transpose(image)).convert(mode))
        except (OSError, SyntaxError, ValueError) as error:
            raise source.refuse(f"is damaged ({error}): save it again as a JPEG or PNG file.") from error


def read_photo(source: Path | str | bytes) -> NDArray[np.uint8]:
    """Read a photo as (H, W, 3) uint8 RGB, upright by its EXIF tag. Raises ImageError."""
    return _load(_Source(source, ErrorCode.IMAGE), "RGB")


def read_mask(source: Path | str | bytes) -> NDArray[np.bool_]:
    """Read a subject mask as (H, W) bool: what is brighter than middle grey and not transparent is subject.

    Raises ImageError (MASK).
    """
    pixels = _load(_Source(source, ErrorCode.MASK), "LA")  # (H, W, 2)
    return (pixels[..., 0] > 127) & (pixels[..., 1] > 127)


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
