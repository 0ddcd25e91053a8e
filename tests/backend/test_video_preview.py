"""The preview in Blender against the backend: the animator would judge another video than the one used."""

from __future__ import annotations

import numpy as np
import pytest

from blender_addon.core.conditioning import ColorCue, ConditioningSettings, Coverage
from blender_addon.core.placement import as_affine, compose, mirror
from blender_addon.core.request import FitMode, FitPin, RenderRequest
from blender_addon.core.trajectories import Segment, TrajectoryMeta, TrajectorySet
from blender_addon.core.video_preview import VideoPreview
from flextraj_backend.conditioning.render import render_conditioning
from flextraj_backend.fitting.motion_fit import fit_motion

FRAMES, COUNT, WIDTH, HEIGHT = 6, 400, 90, 60


@pytest.fixture(params=["one colour a point", "colours that change", "no colours"])
def shot(request: pytest.FixtureRequest) -> TrajectorySet:
    generator = np.random.default_rng(5)
    shape = {"one colour a point": (COUNT, 3), "colours that change": (FRAMES, COUNT, 3)}.get(request.param)
    return TrajectorySet(
        generator.uniform((-9, -9, 1), (WIDTH + 9, HEIGHT + 9, 4), (FRAMES, COUNT, 3)).astype(np.float32),
        generator.random((FRAMES, COUNT)) < 0.8,
        (np.arange(COUNT) % 3).astype(np.uint16),
        (np.arange(COUNT) // 3).astype(np.uint16),
        TrajectoryMeta(
            WIDTH,
            HEIGHT,
            24,
            tuple(map(float, range(FRAMES))),
            (Segment(0, "hero"), Segment(1, "prop", background=True), Segment(2, "friend")),
        ),
        color=None if shape is None else generator.integers(0, 256, shape).astype(np.uint8),
    )


@pytest.mark.parametrize(
    "settings",
    [
        ConditioningSettings(),
        ConditioningSettings(color_cue=ColorCue.OFF),
        ConditioningSettings(keep_points=0.05, keep_frames=0.5, seed=3),
    ],
    ids=["everything", "no colour cue", "sparse"],
)
def test_every_previewed_pixel_is_the_one_that_the_engine_gets(
    shot: TrajectorySet, settings: ConditioningSettings
) -> None:
    videos = render_conditioning(shot, settings)
    preview = VideoPreview(shot, settings)
    for frame in range(FRAMES):
        ids, color = preview.ids(frame), preview.color(frame)
        np.testing.assert_array_equal(ids[..., :3], videos.ids[frame])
        np.testing.assert_array_equal(color[..., :3], videos.color[frame])
        assert (ids[..., 3] == 255).all() and (color[..., 3] == 255).all()
    assert videos.ids.any()


def test_a_frame_that_is_not_kept_is_black(shot: TrajectorySet) -> None:
    preview = VideoPreview(shot, ConditioningSettings(keep_frames=0.4))
    painted = [bool(preview.ids(frame)[..., :3].any()) for frame in range(FRAMES)]
    assert painted == [True, False, False, False, False, True]


def test_a_dense_video_is_previewed_by_the_points_that_it_is_made_from(shot: TrajectorySet) -> None:
    preview = VideoPreview(shot, ConditioningSettings(keep_points=0.1, coverage=Coverage.SURFACE))
    stamps = render_conditioning(shot, ConditioningSettings(keep_points=0.1))
    np.testing.assert_array_equal(preview.ids(2)[..., :3], stamps.ids[2])


def test_a_placed_and_pinned_motion_is_previewed_where_it_is_rendered(shot: TrajectorySet) -> None:
    pins = (FitPin(0, 4, 30.0, 20.0), FitPin(0, 9, 41.0, 33.0))
    request = RenderRequest(
        trajectories="0" * 64,
        image="0" * 64,
        fit=FitMode.GIVEN,
        fit_matrix=(0.8, 0.1, 5.0, -0.1, 0.8, 9.0),
        mirror=True,
        pins=pins,
    )
    mask = np.ones((HEIGHT, WIDTH), bool)
    fitted = fit_motion(shot, np.zeros((HEIGHT, WIDTH, 3), np.uint8), mask, request)
    assert fitted.pinned
    videos = render_conditioning(fitted.trajectories, ConditioningSettings(), fitted.matrix)
    fit = compose(as_affine(request.fit_matrix), mirror(WIDTH))
    preview = VideoPreview(shot, ConditioningSettings(), fit, pins)
    for frame in range(FRAMES):
        np.testing.assert_array_equal(preview.ids(frame)[..., :3], videos.ids[frame])
        np.testing.assert_array_equal(preview.color(frame)[..., :3], videos.color[frame])
