"""A photo without a mask: what an animator would lose if the person in it were not found."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import flextraj_backend.demo
from flextraj_backend.fitting.person_detection import Face, body_seed, find_face, find_pedestrian
from flextraj_backend.fitting.subject_mask import mask_from_person
from flextraj_backend.image_io import cover_and_crop, cover_and_crop_mask, read_mask, read_photo

DEMO = Path(flextraj_backend.demo.__file__).parent


@pytest.fixture(scope="module")
def portrait() -> NDArray[np.uint8]:
    return cover_and_crop(read_photo(DEMO / "photo.jpg"), 720, 480)


def test_the_subject_of_a_portrait_is_outlined_without_a_mask(portrait: NDArray[np.uint8]) -> None:
    truth = cover_and_crop_mask(read_mask(DEMO / "photo_mask.png"), 720, 480)
    found = mask_from_person(portrait)
    assert found is not None
    assert (found & truth).sum() / (found | truth).sum() > 0.9


def test_a_forehead_cut_by_the_frame_is_still_a_face(portrait: NDArray[np.uint8]) -> None:
    face = find_face(portrait)
    assert face is not None
    top = round(face.y - 0.35 * face.size)
    cut = find_face(portrait[top:])
    assert cut is not None
    assert abs(cut.x - face.x) < 0.2 * face.size
    assert abs(cut.y + top - face.y) < 0.2 * face.size


def test_a_landscape_is_not_taken_for_a_person() -> None:
    height, width = 240, 360
    rows, columns = np.mgrid[:height, :width]
    waves = (128 + 60 * np.sin(columns / 17) + 50 * np.cos(rows / 9)).astype(np.uint8)
    landscape = cv2.merge([waves, np.roll(waves, 20, axis=0), np.full_like(waves, 180)]).astype(np.uint8)
    assert find_face(landscape) is None
    assert find_pedestrian(landscape) is None
    assert mask_from_person(landscape) is None


@settings(deadline=None, max_examples=50)
@given(st.floats(-200, 900), st.floats(-200, 700), st.floats(5, 500))
def test_a_seed_never_claims_the_face_as_background(x: float, y: float, size: float) -> None:
    labels = body_seed(Face(x, y, size), 480, 720)
    assert labels.shape == (480, 720)
    column, row = round(x), round(y)
    if 0 <= column < 720 and 0 <= row < 480:
        assert labels[row, column] == cv2.GC_FGD
