"""Whether a photo can be shown: what would leave a gap in the panel."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_addon.core.photo_check import PhotoState, photo_state

pil: Any = pytest.importorskip("PIL.Image")


def photo(kind: str) -> bytes:
    data = io.BytesIO()
    pil.fromarray(np.random.default_rng(0).integers(0, 255, (30, 50, 3), np.uint8)).save(data, kind)
    return data.getvalue()


PNG = photo("PNG")


@pytest.mark.parametrize(
    ("kind", "state"),
    [("PNG", PhotoState.WHOLE), ("JPEG", PhotoState.WHOLE), ("WEBP", PhotoState.UNKNOWN)],
)
def test_a_whole_photo_is_not_called_damaged(kind: str, state: PhotoState) -> None:
    assert photo_state(io.BytesIO(photo(kind))) is state


@given(st.integers(8, len(PNG) - 1))
def test_a_png_that_ends_early_is_damaged(length: int) -> None:
    assert photo_state(io.BytesIO(PNG[:length])) is PhotoState.DAMAGED


@given(st.integers(16, len(PNG) - 1), st.integers(1, 255))
def test_a_png_with_a_wrong_byte_is_damaged(place: int, change: int) -> None:
    data = bytearray(PNG)
    data[place] ^= change
    assert photo_state(io.BytesIO(bytes(data))) is PhotoState.DAMAGED


@given(st.binary(max_size=80), st.sampled_from([b"", b"\xff\xd8", b"\xff\xd8\xff\xe1"]))
def test_what_is_no_photo_is_never_called_whole(data: bytes, start: bytes) -> None:
    state = photo_state(io.BytesIO(start + data))
    assert state is not PhotoState.WHOLE or start.startswith(b"\xff\xd8") or data.startswith(b"\xff\xd8")
