"""The frames of a clip as one member of its sample: a PNG strip where they are small, else a video.

Starting a decoder costs more than decoding a small clip, so clips up to `STRIP_LIMIT` lie in one PNG with the
frames below each other: 9 frames of 72x48 px are read in half a millisecond, as a video in some twenty.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.video_io import VideoCoding, write_video

STRIP_LIMIT = 1 << 20
"""Bytes of raw frames up to which lossless frames are a PNG strip."""
STRIP, VIDEO = "frames.png", "video.mp4"
HIGH_QUALITY_RATE = 12
"""Constant rate factor of x264: no visible loss."""


class VideoQuality(StrEnum):
    """How the frames of a clip are stored."""

    LOSSLESS = "lossless"
    """Bit for bit."""
    HIGH = "high"
    """H.264 with a rate factor of 12: a fifth of the size and less, no visible loss."""


class FramesError(FlexTrajError):
    """Frames that cannot be read back."""

    def __init__(self, message: str) -> None:
        super().__init__(message, ErrorCode.VIDEO)


def frames_to_member(frames: NDArray[np.uint8], fps: float, quality: VideoQuality) -> tuple[str, bytes]:
    """Return (member name, content) of (T, H, W, 3) uint8 frames.

    Raises:
        FlexTrajError: the encoder failed, or HIGH with an odd width or height.
    """
    if quality is VideoQuality.LOSSLESS and frames.nbytes <= STRIP_LIMIT:
        return STRIP, encode_png(frames.reshape(-1, *frames.shape[2:]))
    coding = VideoCoding.LOSSLESS if quality is VideoQuality.LOSSLESS else VideoCoding.PLAYABLE
    with tempfile.TemporaryDirectory(prefix="flextraj-clip-") as folder:
        path = write_video(Path(folder) / VIDEO, frames, fps, crf=HIGH_QUALITY_RATE, coding=coding)
        return VIDEO, path.read_bytes()


def frames_from_members(members: Mapping[str, bytes], shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Read the frames of a sample.

    Args:
        members: of the sample, by name.
        shape: (T, H, W) that the sample's trajectories promise; nothing larger is ever allocated.

    Returns:
        (T, H, W, 3) uint8 RGB.

    Raises:
        FramesError: no frames, damaged ones, or others than promised.
    """
    frame_count, height, width = shape
    if STRIP in members:
        return decode_png(members[STRIP], width, frame_count * height).reshape(*shape, 3)
    if VIDEO in members:
        return _decode_video(members[VIDEO], shape)
    raise FramesError(f"holds neither {STRIP} nor {VIDEO}")


def encode_png(picture: NDArray[np.uint8]) -> bytes:
    """(H, W, 3) uint8 RGB as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def decode_png(data: bytes, width: int, height: int) -> NDArray[np.uint8]:
    """Read an RGB PNG whose size is known: (H, W, 3) uint8. Raises FramesError."""
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            if image.size != (width, height) or image.mode != "RGB":
                raise FramesError(
                    f"holds a picture of {image.width}x{image.height} px where {width}x{height} is expected"
                )
            return np.array(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise FramesError(f"holds a damaged picture ({error})") from error


def _decode_video(data: bytes, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """OpenCV reads in this process; an ffmpeg process would take longer to start than a clip to decode."""
    frame_count, height, width = shape
    with tempfile.TemporaryDirectory(prefix="flextraj-clip-") as folder:
        path = Path(folder) / VIDEO
        path.write_bytes(data)
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        try:
            size = (capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
            if not capture.isOpened() or size != (width, height):
                raise FramesError(f"holds a damaged video, or one that is not {width}x{height} px")
            frames = np.empty((*shape, 3), np.uint8)  # (T, H, W, 3)
            for index in range(frame_count):
                is_read, picture = capture.read()
                if not is_read:
                    raise FramesError(f"holds a video of {index} frames where {frame_count} are expected")
                frames[index] = picture[..., ::-1]
            if capture.read()[0]:
                raise FramesError(f"holds a video of more than the {frame_count} frames expected")
        finally:
            capture.release()
    return frames
