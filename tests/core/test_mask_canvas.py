"""Masks that are corrected by hand and kept as files: what a user would lose."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.grey_png import decode_mask, encode_mask, write_new_mask
from blender_addon.core.mask_canvas import ADD, REMOVE, MaskCanvas, canvas_size, resample_mask
from blender_addon.core.placement import cover, identity

masks = arrays.arrays(bool, st.tuples(st.integers(1, 24), st.integers(1, 24)))
places = st.tuples(st.floats(-10, 40), st.floats(-10, 40))
modes = st.sampled_from([ADD, REMOVE])


@given(masks)
def test_a_mask_survives_its_file(mask: np.ndarray) -> None:
    assert np.array_equal(decode_mask(encode_mask(mask)), mask)


def test_other_programs_can_read_the_mask() -> None:
    image = pytest.importorskip("PIL.Image")
    mask = np.random.default_rng(0).random((7, 13)) > 0.5
    with image.open(io.BytesIO(encode_mask(mask))) as picture:
        assert picture.mode == "L"
        assert np.array_equal(np.asarray(picture) > 127, mask)


@given(masks, st.data())
def test_a_damaged_mask_is_refused_with_a_sentence(mask: np.ndarray, data: st.DataObject) -> None:
    whole = encode_mask(mask)
    with pytest.raises(FlexTrajError) as refusal:
        decode_mask(whole[: data.draw(st.integers(0, len(whole) - 13))])
    assert refusal.value.code is ErrorCode.MASK


def test_a_mask_cannot_fill_the_memory() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 10, 10, 8, 0, 0, 0, 0)
    bomb = zlib.compress(bytes(50_000_000))
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", bomb) + chunk(b"IEND", b"")
    assert decode_mask(data).shape == (10, 10)
    huge = data.replace(header, struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0))
    with pytest.raises(FlexTrajError):
        decode_mask(huge)


def test_a_mask_never_takes_the_place_of_a_users_file(tmp_path: Path) -> None:
    (tmp_path / "mask-001.png").write_bytes(b"mine")
    path = write_new_mask(tmp_path, "mask", np.ones((3, 4), bool))
    assert (tmp_path / "mask-001.png").read_bytes() == b"mine"
    assert path.name == "mask-002.png"
    assert sorted(item.name for item in tmp_path.iterdir()) == ["mask-001.png", "mask-002.png"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(FlexTrajError, match="file") as refusal:
        write_new_mask(blocked / "below", "mask", np.ones((3, 4), bool))
    assert refusal.value.code is ErrorCode.DISK


@given(masks, st.lists(st.tuples(places, places, st.floats(0, 8), modes), max_size=6))
def test_undo_gives_every_stroke_back_and_redo_does_it_again(mask: np.ndarray, strokes: list) -> None:
    canvas = MaskCanvas(mask)
    states = [mask.copy()]
    for start, end, radius, mode in strokes:
        canvas.begin_step()
        canvas.paint(start, end, radius, mode)
        canvas.end_step()
        if not np.array_equal(states[-1], canvas.mask):
            states.append(canvas.mask.copy())
    for state in reversed(states[:-1]):
        canvas.undo()
        assert np.array_equal(canvas.mask, state)
    assert not canvas.can_undo
    for state in states[1:]:
        canvas.redo()
        assert np.array_equal(canvas.mask, state)
    assert not canvas.can_redo


@given(places, places, st.floats(0.8, 8))
def test_the_brush_paints_what_is_near_its_path(
    start: tuple[float, float], end: tuple[float, float], radius: float
) -> None:
    canvas = MaskCanvas(np.zeros((30, 30), bool))
    canvas.paint(start, end, radius, ADD)
    y, x = np.mgrid[:30, :30] + 0.5
    along = np.linspace(0, 1, 400)[:, None, None]
    path_x, path_y = start[0] + along * (end[0] - start[0]), start[1] + along * (end[1] - start[1])
    distance = np.sqrt(((x - path_x) ** 2 + (y - path_y) ** 2).min(axis=0))
    assert canvas.mask[distance < radius - 0.2].all()
    assert not canvas.mask[distance > radius + 0.2].any()


def test_a_click_with_the_smallest_brush_paints_a_pixel() -> None:
    canvas = MaskCanvas(np.zeros((5, 5), bool))
    canvas.paint((2.9, 1.1), (2.9, 1.1), 0.0, ADD)
    assert canvas.mask[1, 2] and canvas.mask.sum() <= 2


def test_a_rectangle_is_filled_whichever_corner_came_first() -> None:
    canvas = MaskCanvas(np.zeros((6, 8), bool))
    canvas.fill_rectangle((5.5, 4.2), (2.1, 1.0), ADD)
    assert canvas.mask[1:5, 2:6].all() and canvas.mask.sum() == 16


def test_the_canvas_has_the_photos_proportions() -> None:
    assert canvas_size((800, 600)) == (800, 600)
    assert canvas_size((4096, 3072)) == (1024, 768)


@given(masks)
def test_a_mask_that_is_not_moved_stays_as_it_is(mask: np.ndarray) -> None:
    height, width = mask.shape
    assert np.array_equal(resample_mask(mask, identity(), (width, height)), mask)


def test_a_cropped_mask_comes_back_to_its_place_in_the_photo() -> None:
    photo = np.zeros((40, 100), bool)
    photo[10:30, 40:60] = True
    to_raster = cover((100, 40), (40, 40))
    raster = resample_mask(photo, to_raster, (40, 40))
    assert raster[10:30, 10:30].all() and raster.sum() == 400
    back = np.column_stack([np.eye(2), -to_raster[:, 2]])
    assert np.array_equal(resample_mask(raster, back, (100, 40)), photo)
