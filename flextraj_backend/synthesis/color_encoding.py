"""sRGB to linear light and back (IEC 61966-2-1)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_STEPS = 1 << 14


def decode_srgb(encoded: NDArray[np.uint8]) -> NDArray[np.float32]:
    """8-bit sRGB values of any shape as linear float32, 0 to 1."""
    return _DECODED[encoded]


def encode_srgb(linear: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Linear values of any shape, clipped to 0..1, as 8-bit sRGB."""
    index = np.rint(np.clip(linear, 0.0, 1.0) * (_STEPS - 1)).astype(np.intp)
    return _ENCODED[index]


def _exact_decoded() -> NDArray[np.float32]:
    value = np.arange(256) / 255.0
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _exact_encoded() -> NDArray[np.uint8]:
    value = np.arange(_STEPS) / (_STEPS - 1)
    encoded = np.where(value <= 0.0031308, 12.92 * value, 1.055 * value ** (1 / 2.4) - 0.055)
    return np.rint(encoded * 255.0).astype(np.uint8)


_DECODED = _exact_decoded()
_ENCODED = _exact_encoded()
