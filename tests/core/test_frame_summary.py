"""The line that tells what a choice of frames comes to."""

from __future__ import annotations

import pytest

from blender_addon.core.frame_mapping import FrameRange, map_frames
from blender_addon.core.frame_summary import frames_text, is_jerky


def test_a_long_clip_squeezed_into_few_frames_is_called_jerky_before_it_is_rendered() -> None:
    frames = map_frames(FrameRange(1, 595), 30.0, 49)
    assert is_jerky(frames)
    assert frames_text(frames) == (
        "49 frames over scene frames 1–595: 2.4 frames per second; "
        "choose a shorter custom range, or a frame rate, for a smooth motion"
    )


@pytest.mark.parametrize(("rate", "jerky"), [(7.9, True), (8.0, False), (16.0, False)])
def test_a_smooth_motion_is_not_warned_of(rate: float, jerky: bool) -> None:
    frames = map_frames(FrameRange(1, 595), 30.0, 49, rate)
    assert is_jerky(frames) is jerky
    assert (";" in frames_text(frames)) is jerky
