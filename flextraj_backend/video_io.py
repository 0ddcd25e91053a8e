"""Videos: H.264 .mp4 through imageio's bundled ffmpeg."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.atomic_file import atomic_path


class VideoError(FlexTrajError):
    """A video that cannot be read or written."""

    def __init__(self, message: str) -> None:
        super().__init__(message, ErrorCode.VIDEO)


class VideoCoding(Enum):
    """How x264 stores the pictures: (encoder, pixel format)."""

    PLAYABLE = ("libx264", "yuv420p")
    """Every player shows it; colours have half the resolution."""
    LOSSLESS = ("libx264rgb", "rgb24")
    """The RGB values bit for bit; few players show it, ffmpeg and OpenCV read it."""


def write_video(
    path: Path,
    frames: NDArray[np.uint8] | Iterable[NDArray[np.uint8]],
    fps: float,
    crf: int = 16,
    on_frame: Callable[[int], None] | None = None,
    metadata: Mapping[str, str] | None = None,
    coding: VideoCoding = VideoCoding.PLAYABLE,
) -> Path:
    """Write (T, H, W, 3) uint8 RGB frames as H.264, playable everywhere unless `coding` differs, atomically.

    Args:
        crf: constant rate factor of x264; smaller is better and larger. Lossless coding ignores it.
        on_frame: called with the number of frames written so far.
        metadata: tags of the container, such as title and comment.

    Raises:
        VideoError: the encoder failed. FlexTrajError: the folder cannot be written.
    """
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise VideoError("There is no frame to write: the video would be empty.")
    height, width = first.shape[:2]
    if coding is VideoCoding.PLAYABLE and (width % 2 or height % 2):
        raise VideoError(f"A video of {width}x{height} px cannot be encoded: use an even width and height.")
    codec, pixel_format = coding.value
    rate_factor = 0 if coding is VideoCoding.LOSSLESS else crf
    tags = [text for name, value in (metadata or {}).items() for text in ("-metadata", f"{name}={value}")]
    with atomic_path(path) as temporary:
        writer = imageio_ffmpeg.write_frames(
            str(temporary),
            (width, height),
            fps=fps,  # pyright: ignore[reportArgumentType]  (fractions are fine for ffmpeg)
            codec=codec,
            macro_block_size=1,
            quality=None,  # pyright: ignore[reportArgumentType]  (None leaves the rate factor to us)
            pix_fmt_out=pixel_format,
            output_params=["-crf", str(rate_factor), "-preset", "veryfast", "-movflags", "+faststart", *tags],
        )
        writer.send(None)
        try:
            writer.send(np.ascontiguousarray(first))
            count = 1
            for frame in iterator:
                if on_frame is not None:
                    on_frame(count)
                writer.send(np.ascontiguousarray(frame))
                count += 1
        except OSError as error:
            # The encoder's own message follows on further lines: its whole command.
            reason = str(error).strip().partition("\n")[0]
            raise VideoError(
                f"The video encoder stopped while writing {path} ({reason}): check the free disk space."
            ) from error
        finally:
            writer.close()
        if not _is_complete_mp4(temporary):
            raise VideoError(f"The video encoder could not finish {path}: check the free disk space.")
    return path


def _is_mp4(path: Path) -> bool:
    """Whether the file starts like an .mp4 or .mov."""
    try:
        with path.open("rb") as file:
            return file.read(8)[4:] == b"ftyp"
    except OSError:
        return False


def _is_complete_mp4(path: Path) -> bool:
    """Whether the file is a chain of whole boxes with an index: a full disk leaves one cut off or missing."""
    kinds: set[bytes] = set()
    try:
        with path.open("rb") as file:
            end = path.stat().st_size
            position = 0
            while position + 8 <= end:
                file.seek(position)
                size, kind = struct.unpack(">I4s", file.read(8))
                if size == 1:
                    size = struct.unpack(">Q", file.read(8))[0]
                if size == 0:  # reaches to the end of the file
                    size = end - position
                if size < 8:
                    return False
                kinds.add(kind)
                position += size
    except (OSError, struct.error):
        return False
    return position == end and {b"moov", b"mdat"} <= kinds


def read_video(path: Path, max_frames: int = 20_000) -> tuple[NDArray[np.uint8], float]:
    """Read a whole video: ((T, H, W, 3) uint8 RGB, frames per second).

    Raises:
        VideoError: not a video, truncated, or longer than `max_frames`.
    """
    frames: list[NDArray[np.uint8]] = []
    if _is_mp4(path) and not _is_complete_mp4(path):
        # The decoder would return the frames before the cut without a word.
        raise VideoError(f"The video {path} is truncated: copy or download it again.")
    try:
        reader = imageio_ffmpeg.read_frames(str(path))
        info = next(reader)
        width, height = info["size"]
        for data in reader:
            if len(frames) == max_frames:
                raise VideoError(f"The video {path} has more than {max_frames} frames: cut it first.")
            frames.append(np.frombuffer(data, np.uint8).reshape(height, width, 3))
    except (OSError, RuntimeError, StopIteration, KeyError) as error:
        raise VideoError(f"The video {path} cannot be read: it is truncated or not a video.") from error
    if not frames:
        raise VideoError(f"The video {path} holds no frame: it is truncated or not a video.")
    return np.stack(frames), float(info["fps"])
