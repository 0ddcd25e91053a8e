"""A small picture of a video, for job lists."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np

from flextraj_backend.image_io import write_image
from flextraj_backend.video_io import VideoError

SIDE = 256
"""Pixels of the longer side at most: what Blender shows as a large icon."""


def write_thumbnail(video: Path, frame_count: int, destination: Path) -> Path:
    """Write the video's middle frame as a PNG of at most 256 pixels a side.

    Raises:
        VideoError: the video cannot be read. FlexTrajError: the picture cannot be written.
    """
    frames = imageio_ffmpeg.read_frames(str(video))
    try:
        width, height = next(frames)["size"]
        picture = next(islice(frames, frame_count // 2, None))
        pixels = np.frombuffer(picture, np.uint8).reshape(height, width, 3)
    except (OSError, RuntimeError, StopIteration, KeyError, ValueError) as error:
        raise VideoError(f"The video {video} has no picture that can be read.") from error
    finally:
        frames.close()
    scale = min(SIDE / max(width, height), 1.0)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return write_image(
        destination, np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    )
