"""Photos and videos: what a user would lose if reading or writing them went wrong."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from blender_addon.core.errors import FlexTrajError
from flextraj_backend import image_io
from flextraj_backend.image_io import ImageError, cover_and_crop, read_mask, read_photo, write_image
from flextraj_backend.video_io import VideoError, read_video, write_video


def test_a_phone_photo_is_read_upright(tmp_path: Path) -> None:
    picture = Image.new("RGB", (40, 20), (200, 10, 10))
    exif = picture.getexif()
    exif[0x0112] = 6  # rotated by 90 degrees
    picture.save(tmp_path / "photo.jpg", exif=exif)
    assert read_photo(tmp_path / "photo.jpg").shape == (40, 20, 3)


def test_a_transparent_or_grey_picture_becomes_rgb() -> None:
    buffer = io.BytesIO()
    Image.new("LA", (8, 6), (77, 128)).save(buffer, "PNG")
    photo = read_photo(buffer.getvalue())
    assert photo.shape == (6, 8, 3)
    assert (photo == 77).all()


def test_a_file_that_is_no_image_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"this is text")
    with pytest.raises(ImageError, match="not a readable image"):
        read_photo(path)
    with pytest.raises(ImageError, match="cannot be opened"):
        read_photo(tmp_path / "missing.jpg")


def test_a_truncated_photo_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = write_image(
        tmp_path / "photo.png", np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    )
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ImageError, match="is damaged"):
        read_photo(path)


def test_a_picture_too_large_for_memory_is_refused_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    Image.new("L", (300, 300)).save(buffer, "PNG")
    monkeypatch.setattr(image_io, "MAX_PIXELS", 1000)
    with pytest.raises(ImageError, match="300x300 px, too large"):
        read_mask(buffer.getvalue())


def test_a_picture_that_pillow_would_not_open_is_called_too_large_and_not_unreadable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    buffer = io.BytesIO()
    Image.new("L", (20, 20)).save(buffer, "PNG")
    with pytest.raises(ImageError, match="too large: scale it down first"):
        read_photo(buffer.getvalue())


def test_what_is_transparent_in_a_mask_is_no_subject_whatever_its_hidden_colour() -> None:
    layer = np.full((8, 8, 4), 255, np.uint8)
    layer[..., 3] = 0
    layer[2:4, 2:6, 3] = 255
    buffer = io.BytesIO()
    Image.fromarray(layer).save(buffer, "PNG")
    mask = read_mask(buffer.getvalue())
    assert mask[2:4, 2:6].all() and mask.sum() == 8


@settings(deadline=None, max_examples=30)
@given(st.integers(8, 80), st.integers(8, 80), st.integers(4, 60), st.integers(4, 60))
def test_a_photo_is_never_squeezed(width: int, height: int, target_width: int, target_height: int) -> None:
    # A vertical ramp scaled to cover keeps its slope times the one common scale factor.
    ramp = np.repeat(np.linspace(0, 255, height)[:, None], width, axis=1).astype(np.uint8)
    picture = np.repeat(ramp[..., None], 3, axis=2)
    result = cover_and_crop(picture, target_width, target_height)
    assert result.shape == (target_height, target_width, 3)
    scale = max(target_width / width, target_height / height)
    expected_span = 255 * min(1.0, target_height / (height * scale))
    assert (
        abs((int(result.max()) - int(result.min())) - expected_span)
        < 255 * 4 / min(height, target_height) + 8
    )


def test_a_written_video_has_every_frame_its_size_and_its_rate(tmp_path: Path) -> None:
    frames = np.zeros((7, 48, 64, 3), np.uint8)
    frames[:, :, :, 0] = np.arange(7, dtype=np.uint8)[:, None, None] * 30
    path = write_video(tmp_path / "clip.mp4", frames, 12.5)
    decoded, fps = read_video(path)
    assert decoded.shape == frames.shape
    assert fps == pytest.approx(12.5)
    np.testing.assert_allclose(decoded[..., 0].mean((1, 2)), frames[..., 0].mean((1, 2)), atol=4)
    assert [p.name for p in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_video_that_cannot_be_written_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    frames = np.zeros((2, 16, 16, 3), np.uint8)
    with pytest.raises(FlexTrajError):
        write_video(tmp_path / "missing" / "clip.mp4", frames, 16)
    with pytest.raises(VideoError, match="even width"):
        write_video(tmp_path / "clip.mp4", frames[:, :15], 16)
    with pytest.raises(VideoError, match="no frame"):
        write_video(tmp_path / "clip.mp4", frames[:0], 16)
    assert list(tmp_path.iterdir()) == []


def test_a_failing_frame_source_leaves_the_old_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", np.zeros((2, 16, 16, 3), np.uint8), 16)
    before = path.read_bytes()

    def frames():
        yield np.zeros((16, 16, 3), np.uint8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(path, frames(), 16)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_truncated_video_is_refused_in_one_sentence(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "clip.mp4", np.zeros((9, 48, 64, 3), np.uint8), 16).read_bytes()
    cut = tmp_path / "cut.mp4"
    for share in (0.05, 0.5, 0.8, 0.99):
        cut.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(VideoError, match="truncated") as caught:
            read_video(cut)
        assert "\n" not in caught.value.message


def test_a_file_that_is_no_video_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"this is text")
    with pytest.raises(VideoError, match="truncated or not a video") as caught:
        read_video(path)
    assert "\n" not in caught.value.message
    with pytest.raises(VideoError, match="not a video"):
        read_video(tmp_path / "missing.mp4")


@pytest.mark.parametrize("ending", ["png", "tiff"])
def test_a_sixteen_bit_mask_keeps_its_grey_levels(ending: str, tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(4, axis=0)
    Image.fromarray(ramp).save(tmp_path / f"mask.{ending}")
    assert read_mask(tmp_path / f"mask.{ending}").mean() == pytest.approx(0.5, abs=0.02)
    photo = read_photo(tmp_path / f"mask.{ending}")
    np.testing.assert_allclose(photo[0, :, 0], np.linspace(0, 255, 256), atol=1)


def test_a_floating_point_picture_is_not_black(tmp_path: Path) -> None:
    Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32)[None].repeat(4, axis=0)).save(tmp_path / "a.tiff")
    assert read_photo(tmp_path / "a.tiff").max() == 255
