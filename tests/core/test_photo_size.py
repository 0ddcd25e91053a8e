"""Sizes of photos and of videos in their proportions."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_addon.core.photo_size import PhotoFormat, SizeRule, nearest_size, read_photo_format

sides = st.integers(64, 9000)


@given(sides, sides, st.sampled_from([2, 8, 16, 32]), st.sampled_from([1280, 2048]))
def test_the_size_is_one_that_the_engine_can_make(width: int, height: int, step: int, most: int) -> None:
    found = nearest_size((width, height), 720 * 480, SizeRule(step, most))
    assert all(side % step == 0 and step <= side <= most for side in found)


@given(st.floats(0.4, 2.5))
def test_the_video_has_the_photos_proportions_and_about_the_wanted_area(proportions: float) -> None:
    width, height = nearest_size((round(1000 * proportions), 1000), 720 * 480, SizeRule(16, 2048))
    assert abs(math.log(width / height / proportions)) < 0.03
    assert 0.5 < width * height / (720 * 480) < 2


def test_a_photo_of_a_size_that_can_be_made_keeps_it() -> None:
    assert nearest_size((720, 480), 720 * 480, SizeRule(16, 2048)) == (720, 480)


def test_an_engine_of_one_size_gets_that() -> None:
    assert nearest_size((4000, 3000), 1e6, SizeRule(fixed=(832, 480))) == (832, 480)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_photo_that_was_taken_upright_is_seen_upright(kind: str, orientation: int) -> None:
    image: Any = pytest.importorskip("PIL.Image")
    picture = image.fromarray(np.zeros((30, 50, 3), np.uint8))
    exif = image.Exif()
    exif[0x0112] = orientation
    data = io.BytesIO()
    picture.save(data, kind, exif=exif if kind == "JPEG" else b"")
    data.seek(0)
    found = read_photo_format(data)
    assert found == PhotoFormat(50, 30, orientation if kind == "JPEG" else 1)
    assert found is not None
    is_turned = kind == "JPEG" and orientation >= 5
    assert found.upright_size == ((30, 50) if is_turned else (50, 30))


@given(st.binary(max_size=60), st.sampled_from([b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe1"]))
def test_what_is_no_photo_has_no_size(data: bytes, start: bytes) -> None:
    found = read_photo_format(io.BytesIO(start + data))
    assert found is None or (found.width > 0 and found.height > 0) or start.startswith(b"\x89PNG")
