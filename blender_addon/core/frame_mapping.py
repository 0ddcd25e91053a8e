"""From a scene's frame range and rate to an engine's frame count and rate, with subframes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .errors import ErrorCode, FlexTrajError
from .trajectories import MAX_FRAMES

BLENDER_DEFAULT_RANGE = (1.0, 250.0)
"""What a new Blender scene has; importers leave it as it is, so it says nothing about the motion."""


@dataclass(frozen=True)
class FrameRange:
    """A part of a scene's time, both ends included.

    Attributes:
        first, last: scene frames; fractions are subframes (glTF actions have them).
    """

    first: float
    last: float


@dataclass(frozen=True)
class FrameMap:
    """The frames of a trajectory set.

    Attributes:
        source_frames: (T) scene frames in ascending order, subframes as fractions.
        fps: rate at which the T frames play the motion in its own time.
    """

    source_frames: tuple[float, ...]
    fps: float


def shot_range(
    scene: FrameRange, motion: FrameRange | None, first: int | None, last: int | None
) -> FrameRange:
    """Choose the range of a shot.

    Args:
        scene: the scene's own range.
        motion: range of the subjects' animation, None where nothing is animated.
        first, last: what the user asked for; None = not asked.

    Returns:
        The user's ends where given. Otherwise the motion's range, cut to the scene's where somebody set that
        (it is not Blender's default 1-250, and the two overlap); without motion the scene's.
    """
    chosen = scene
    if motion is not None:
        chosen = motion
        overlap = FrameRange(max(scene.first, motion.first), min(scene.last, motion.last))
        if (scene.first, scene.last) != BLENDER_DEFAULT_RANGE and overlap.last > overlap.first:
            chosen = overlap
    return FrameRange(
        chosen.first if first is None else float(first), chosen.last if last is None else float(last)
    )


def map_frames(
    scene_range: FrameRange, scene_fps: float, frame_count: int | None, frame_rate: float | None = None
) -> FrameMap:
    """Choose the scene frames of an engine's frames. The motion always plays in its own time.

    Args:
        scene_range: the shot.
        scene_fps: frames per second of the scene.
        frame_count: T; None = every whole frame of the range.
        frame_rate: frames per second of the T frames; they start at the range's first frame. None, or a rate
            at which they would run past the range's end: they are spread evenly over the whole range.

    Raises:
        FlexTrajError: the range is a single frame or reversed, a count or rate that cannot be made.
    """
    first, last = scene_range.first, scene_range.last
    if not (math.isfinite(scene_fps) and scene_fps > 0):
        raise _refuse(f"The scene runs at {scene_fps} frames per second: set its frame rate above zero.")
    if not (math.isfinite(first) and math.isfinite(last)):
        raise _refuse(f"The frame range {first} to {last} is not finite: choose a first and a last frame.")
    if last < first:
        raise _refuse(
            f"The frame range {first:g} to {last:g} runs backwards: choose a last frame after the first."
        )
    if last == first:
        raise _refuse(
            f"The frame range is the single frame {first:g}, which has no motion: choose at least two frames."
        )
    if frame_rate is not None and not (math.isfinite(frame_rate) and frame_rate > 0):
        raise _refuse(f"A rate of {frame_rate:g} frames per second cannot be made: choose one above zero.")
    if frame_count is None:
        return _every_frame(first, last, scene_fps)
    if not 2 <= frame_count <= MAX_FRAMES:
        raise _refuse(f"A shot of {frame_count} frames cannot be made: choose 2 to {MAX_FRAMES} frames.")
    if frame_rate is not None:
        step = scene_fps / frame_rate
        end = first + step * (frame_count - 1)
        if end <= last + 1e-6:
            return FrameMap(tuple(np.linspace(first, min(end, last), frame_count).tolist()), frame_rate)
    frames = np.linspace(first, last, frame_count)
    return FrameMap(tuple(frames.tolist()), scene_fps * (frame_count - 1) / (last - first))


def _every_frame(first: float, last: float, scene_fps: float) -> FrameMap:
    start, stop = math.ceil(first), math.floor(last)
    if stop <= start:
        raise _refuse(
            f"The frame range {first:g} to {last:g} holds fewer than two whole frames: choose a longer range."
        )
    if stop - start >= MAX_FRAMES:
        raise _refuse(
            f"The frame range {first:g} to {last:g} has more than {MAX_FRAMES} frames: choose a shorter one."
        )
    return FrameMap(tuple(float(frame) for frame in range(start, stop + 1)), scene_fps)


def split_frame(frame: float) -> tuple[int, float]:
    """Split a scene frame into whole frame and subframe in [0, 1), as `Scene.frame_set` takes them."""
    # Six digits: finer subframes would round up to 1 in Blender's single precision.
    frame = round(frame, 6)
    whole = math.floor(frame)
    return whole, frame - whole


def _refuse(sentence: str) -> FlexTrajError:
    return FlexTrajError(sentence, ErrorCode.FRAME_RANGE)
