"""A finished video back into Blender: a strip, a movie clip, an image, a sequence, a camera background."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import bpy

from ..client.job_folder import first_frame_file
from ..core.errors import ErrorCode, FlexTrajError
from ..core.frame_mapping import FrameRange
from .compat import (
    add_speed_effect,
    all_strips_of,
    open_windows,
    set_strip_end,
    show_scene_in_sequencer,
    strip_span,
    strips_of,
)

_MAX_CHANNEL = 128


def load_strip(scene: bpy.types.Scene, video: Path, shot: FrameRange, name: str) -> Any:
    """Add the video as a movie strip that keeps step with the scene; return the strip.

    The sequencer shows one picture of a movie per scene frame, whatever the movie's own rate. Where the shot
    has another number of frames, a speed effect on the channel above stretches the strip over it.

    Args:
        shot: scene frames of the video's first and last picture.

    Raises:
        FlexTrajError: the file is gone or is no video, or every channel is taken.
    """
    pictures = _checked_length(video)
    start = round(shot.first)
    end = start + _scene_frames(shot, pictures)
    editor: Any = scene.sequence_editor or scene.sequence_editor_create()
    is_stretched = end - start != pictures
    # Until it is cut, the strip has the length of the movie.
    channel = _free_channel(editor, start, max(end, start + pictures), 2 if is_stretched else 1)
    strip = strips_of(editor).new_movie(name, str(video), channel, start)
    if is_stretched:
        set_strip_end(strip, end)
        add_speed_effect(editor, strip, channel + 1, f"{name} speed").speed_control = "STRETCH"
    show_scene_in_sequencer(scene)
    return strip


def _scene_frames(shot: FrameRange, pictures: int) -> int:
    """Scene frames that the video covers; its last picture stays as long as every other."""
    if pictures < 2:
        return 1
    return max(math.floor((shot.last - shot.first) * pictures / (pictures - 1) + 0.5), 1)


def _free_channel(editor: Any, start: int, end: int, count: int) -> int:
    """The lowest of `count` neighbouring channels that are free from `start` to before `end`."""
    taken: set[int] = set()
    for strip in all_strips_of(editor):
        first, stop = strip_span(strip)
        if first < end and stop > start:
            taken.add(strip.channel)
    for channel in range(1, _MAX_CHANNEL + 2 - count):
        if taken.isdisjoint(range(channel, channel + count)):
            return channel
    raise FlexTrajError(
        "Every channel of the Video Sequencer is taken at these frames: move or remove a strip.",
        ErrorCode.REQUEST,
    )


def load_clip(video: Path, shot: FrameRange) -> bpy.types.MovieClip:
    """Load the video as a movie clip that starts with the shot; show it in the open Movie Clip Editors.

    Raises:
        FlexTrajError: the file is gone or is no video.
    """
    _checked_length(video)
    known = {clip.name for clip in bpy.data.movieclips}
    clip = bpy.data.movieclips.load(str(video), check_existing=True)
    if clip.name not in known:
        clip.frame_start = round(shot.first)
    for space in _spaces("CLIP_EDITOR"):
        space.clip = clip
    return clip


def load_image(video: Path, shot: FrameRange) -> bpy.types.Image:
    """Load the video as a movie image and show it in the Image Editors that are open.

    Raises:
        FlexTrajError: the file is gone or is no video.
    """
    length = _checked_length(video)
    image = bpy.data.images.load(str(video), check_existing=True)
    image.source = "MOVIE"
    _show_in_image_editors(image, shot, length)
    return image


def load_sequence(frames: Path | None, shot: FrameRange) -> bpy.types.Image:
    """Load a folder of pictures as an image sequence and show it in the Image Editors that are open.

    Raises:
        FlexTrajError: the folder is gone or is empty.
    """
    first = None if frames is None else first_frame_file(frames)
    if first is None:
        raise FlexTrajError("The pictures of this video are gone: retry the job.", ErrorCode.VIDEO)
    image = bpy.data.images.load(str(first), check_existing=True)
    image.source = "SEQUENCE"
    _show_in_image_editors(image, shot, len(list(first.parent.glob(f"*{first.suffix}"))))
    return image


def load_background(scene: bpy.types.Scene, video: Path, shot: FrameRange) -> bpy.types.Object:
    """Show the video behind the scene in the view of its camera, in step with it; return the camera.

    A background shows one picture per scene frame. Where the shot has another number of frames, a driven
    offset stretches the video over it.

    Raises:
        FlexTrajError: the file is gone or is no video, or the scene has no camera.
    """
    camera = scene.camera
    if camera is None or not isinstance(camera.data, bpy.types.Camera):
        raise FlexTrajError("The scene has no camera: add one for the background.", ErrorCode.NO_CAMERA)
    length = _checked_length(video)
    image = bpy.data.images.load(str(video), check_existing=True)
    image.source = "MOVIE"
    background = camera.data.background_images.new()
    background.source = "IMAGE"
    background.image = image
    background.alpha = 1.0
    # The video has the shot's proportions, which need not be the render's.
    background.frame_method = "FIT"
    camera.data.show_background_images = True
    _set_image_user(background.image_user, shot, length)
    _stretch(background.image_user, shot, length)
    return camera


def _stretch(image_user: bpy.types.ImageUser, shot: FrameRange, length: int) -> None:
    """Let the offset follow the scene so that each picture falls on its own scene frame."""
    span = round(shot.last) - round(shot.first)
    if span in (0, length - 1):
        return
    # Blender shows the frame since the start, within the duration, plus the offset.
    image_user.frame_duration = span + 1
    since_start = f"clamp(frame - {round(shot.first)}, 0, {span})"
    curve: Any = image_user.driver_add("frame_offset")
    # Of the kind that Blender evaluates itself, also where Python drivers are switched off.
    curve.driver.expression = f"floor({since_start} * {(length - 1) / span:.9f} + 0.001) - {since_start}"


def _show_in_image_editors(image: bpy.types.Image, shot: FrameRange, length: int) -> None:
    for space in _spaces("IMAGE_EDITOR"):
        space.image = image
        _set_image_user(space.image_user, shot, length)


def _set_image_user(image_user: bpy.types.ImageUser, shot: FrameRange, length: int) -> None:
    image_user.frame_start = round(shot.first)
    image_user.frame_duration = length
    image_user.frame_offset = 0
    image_user.use_auto_refresh = True


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
