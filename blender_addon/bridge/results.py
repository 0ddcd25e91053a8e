"""A finished video back into Blender: a strip on the timeline, a movie clip or an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy

from ..core.errors import ErrorCode, FlexTrajError
from .compat import all_strips_of, open_windows, show_scene_in_sequencer, strip_span, strips_of

_MAX_CHANNEL = 128


def load_strip(scene: bpy.types.Scene, video: Path, frame_start: int, name: str) -> Any:
    """Add the video as a movie strip on the lowest channel that is free there; return the strip.

    Raises:
        FlexTrajError: the file is gone or is no video, or every channel is taken.
    """
    clip_length = _checked_length(video)
    editor: Any = scene.sequence_editor or scene.sequence_editor_create()
    taken: set[int] = set()
    for strip in all_strips_of(editor):
        start, end = strip_span(strip)
        if start < frame_start + clip_length and end > frame_start:
            taken.add(strip.channel)
    channel = next((number for number in range(1, _MAX_CHANNEL + 1) if number not in taken), None)
    if channel is None:
        raise FlexTrajError(
            "Every channel of the Video Sequencer is taken at these frames: move or remove a strip.",
            ErrorCode.VIDEO,
        )
    strip = strips_of(editor).new_movie(name, str(video), channel, frame_start)
    show_scene_in_sequencer(scene)
    return strip


def load_clip(video: Path) -> bpy.types.MovieClip:
    """Load the video as a movie clip and show it in the Movie Clip Editors that are open.

    Raises:
        FlexTrajError: the file is gone or is no video.
    """
    _checked_length(video)
    clip = bpy.data.movieclips.load(str(video), check_existing=True)
    for space in _spaces("CLIP_EDITOR"):
        space.clip = clip
    return clip


def load_image(video: Path) -> bpy.types.Image:
    """Load the video as a movie image and show it in the Image Editors that are open.

    Raises:
        FlexTrajError: the file is gone or is no video.
    """
    _checked_length(video)
    image = bpy.data.images.load(str(video), check_existing=True)
    image.source = "MOVIE"
    for space in _spaces("IMAGE_EDITOR"):
        space.image = image
        space.image_user.frame_duration = image.frame_duration
        space.image_user.use_auto_refresh = True
    return image


def _checked_length(video: Path) -> int:
    """Frames of the video; Blender would take a broken or missing file without a word."""
    if not video.is_file():
        raise FlexTrajError(f"The video {video} does not exist any more: generate it again.", ErrorCode.VIDEO)
    known = {clip.name for clip in bpy.data.movieclips}
    try:
        clip = bpy.data.movieclips.load(str(video), check_existing=True)
    except RuntimeError as error:
        raise _unreadable(video) from error
    length = clip.frame_duration
    if clip.name not in known:
        bpy.data.movieclips.remove(clip)
    if length < 1:
        raise _unreadable(video)
    return length


def _unreadable(video: Path) -> FlexTrajError:
    return FlexTrajError(f"{video} is not a video that Blender can read: generate it again.", ErrorCode.VIDEO)


def _spaces(kind: str) -> list[Any]:
    return [
        area.spaces.active for window in open_windows() for area in window.screen.areas if area.type == kind
    ]
