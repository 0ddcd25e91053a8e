"""What a choice of frames comes to, in words."""

from __future__ import annotations

from .frame_mapping import FrameMap

MIN_SMOOTH_FPS = 8.0
"""Below this rate a motion is seen as a row of pictures."""


def is_jerky(frames: FrameMap) -> bool:
    """Whether the frames are too far apart to be seen as motion."""
    return frames.fps < MIN_SMOOTH_FPS


def frames_text(frames: FrameMap) -> str:
    """Return such as '49 frames over scene frames 1–595: 2.4 frames per second'."""
    first, last = frames.source_frames[0], frames.source_frames[-1]
    text = f"{len(frames.source_frames)} frames over scene frames {first:g}–{last:g}: "
    text += f"{round(frames.fps, 1):g} frames per second"
    if is_jerky(frames):
        text += "; choose a shorter custom range, or a frame rate, for a smooth motion"
    return text
