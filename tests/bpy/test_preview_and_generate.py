"""The preview against what Generate sends: the animator would judge other videos than the engine gets."""

from __future__ import annotations

from typing import Any

import pytest

bpy = pytest.importorskip("bpy")

import numpy as np  # noqa: E402
from addon_shot import make_video  # noqa: E402
from fake_rendering import FakeBackend  # noqa: E402

from blender_addon.bridge.shot_request import conditioning_settings  # noqa: E402
from blender_addon.core.conditioning import ColorCue, Coverage, frames_kept  # noqa: E402
from blender_addon.core.trajectory_file import read_trajectories  # noqa: E402
from blender_addon.overlay.viewport import overlay_settings, shot_of  # noqa: E402


def test_generate_shows_the_points_that_it_sends(backend: FakeBackend, shot: Any) -> None:
    make_video()
    sent, shown = read_trajectories(backend.service.uploads[0]), shot_of(bpy.context.scene)
    assert shown is not None
    np.testing.assert_array_equal(shown.positions, sent.positions)
    np.testing.assert_array_equal(shown.visible, sent.visible)
    assert not overlay_settings().show_points, "it was not asked for"


@pytest.mark.parametrize("choice", ["share", "every_nth"])
def test_the_preview_keeps_what_the_request_keeps(backend: FakeBackend, shot: Any, choice: str) -> None:
    shot.keep_points, shot.seed, shot.color_cue, shot.surface = 0.25, 5, True, True
    shot.keep_frames, shot.frame_step, shot.frame_choice = 0.5, 3, choice
    make_video()
    request, shown = backend.service.requests[0], shot_of(bpy.context.scene)
    assert shown is not None
    wanted = conditioning_settings(bpy.context, shot, shown.meta.source_frames)
    assert (wanted.keep_points, wanted.seed) == (request.keep_points, request.seed)
    assert (wanted.color_cue is ColorCue.TRAJECTORY_COLORS) == request.color_cue
    assert (wanted.coverage is Coverage.SURFACE) == request.surface
    assert (wanted.keep_frames, wanted.frames) == (request.keep_frames, request.kept_frames)
    assert len(frames_kept(shown.frame_count, wanted)) < shown.frame_count
