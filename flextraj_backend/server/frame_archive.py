"""A video as a zip of PNG pictures, made while it is sent."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np

from flextraj_backend.video_io import VideoError

_FASTEST = [cv2.IMWRITE_PNG_COMPRESSION, 1]


class _Outbox(io.RawIOBase):
    """Holds what was written until it is sent; a zip can be written to a stream that cannot be rewound."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes, /) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        self._waiting += data
        return len(data)

    def take(self) -> bytes:
        taken = bytes(self._waiting)
        self._waiting.clear()
        return taken


def frame_archive(video: Path) -> Iterator[bytes]:
    """Yield a zip file in parts; it holds `0001.png`, `0002.png` and so on, (H, W, 3) uint8 RGB each.

    Raises:
        VideoError: the video cannot be read; before the first part where it is no video at all.
    """
    outbox = _Outbox()
    frames = imageio_ffmpeg.read_frames(str(video))
    try:
        width, height = next(frames)["size"]
        # PNGs are packed already.
        with zipfile.ZipFile(outbox, "w", zipfile.ZIP_STORED) as archive:
            for number, data in enumerate(frames, 1):
                pixels = np.frombuffer(data, np.uint8).reshape(height, width, 3)
                png = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), _FASTEST)[1]
                archive.writestr(f"{number:04}.png", png.tobytes())
                yield outbox.take()
        yield outbox.take()
    except (OSError, RuntimeError, StopIteration, KeyError) as error:
        raise VideoError(f"The video {video.name} cannot be read: render the job again.") from error
    finally:
        frames.close()
