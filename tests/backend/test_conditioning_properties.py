"""What holds for the conditioning videos of any trajectory set."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from blender_addon.core.conditioning import (
    ColorCue,
    ConditioningSettings,
    Coverage,
    StampRule,
    stamp_half_width,
)
from blender_addon.core.errors import FlexTrajError
from blender_addon.core.id_coding import id_colors, trajectory_colors
from blender_addon.core.sparsity import random_points
from blender_addon.core.trajectories import Segment, TrajectoryMeta, TrajectorySet
from flextraj_backend.bench.id_video_rows import drifting_points, stamp_in_a_loop
from flextraj_backend.conditioning.painting import draw_tracks
from flextraj_backend.conditioning.render import render_conditioning
from flextraj_backend.conditioning.synthetic import draw_parts

WIDTH, HEIGHT = 96, 64


def make_set(
    positions: NDArray[np.floating],
    visible: NDArray[np.bool_] | None = None,
    seg_id: NDArray[np.integer] | None = None,
    segments: tuple[Segment, ...] = (Segment(0, "body"),),
    color: NDArray[np.uint8] | None = None,
    silhouette: NDArray[np.bool_] | None = None,
) -> TrajectorySet:
    frames, count, _ = positions.shape
    seg = np.zeros(count, np.uint16) if seg_id is None else seg_id.astype(np.uint16)
    traj_id = np.zeros(count, np.uint16)
    for segment in range(len(segments)):
        traj_id[seg == segment] = np.arange(np.count_nonzero(seg == segment))
    return TrajectorySet(
        positions.astype(np.float32),
        np.ones((frames, count), bool) if visible is None else visible,
        seg,
        traj_id,
        TrajectoryMeta(WIDTH, HEIGHT, 24, tuple(float(f) for f in range(frames)), segments),
        color=color,
        silhouette=silhouette,
    )


def random_set(seed: int, count: int = 80, frames: int = 3) -> TrajectorySet:
    generator = np.random.default_rng(seed)
    segments = (Segment(0, "a"), Segment(1, "b", group=1), Segment(2, "floor", background=True))
    return make_set(
        generator.uniform((-10, -10, 1), (WIDTH + 10, HEIGHT + 10, 9), (frames, count, 3)),
        generator.random((frames, count)) < 0.7,
        generator.integers(0, 3, count),
        segments,
        generator.integers(1, 256, (count, 3)).astype(np.uint8),
    )


def paint_one_by_one(
    tracks: NDArray[np.float32], visible: NDArray[np.bool_], colors: NDArray[np.uint8], half_width: float
) -> NDArray[np.uint8]:
    video = np.zeros((len(tracks), HEIGHT, WIDTH, 3), np.uint8)
    for canvas, frame, shown in zip(video, tracks, visible, strict=True):
        for point in np.argsort(frame[:, 2], kind="stable"):
            x, y = float(frame[point, 0]), float(frame[point, 1])
            x1, x2 = int(x - half_width), int(x + half_width)
            y1, y2 = int(y - half_width / 1.5), int(y + half_width / 1.5)
            if shown[point]:
                canvas[max(0, y1) : max(0, y2), max(0, x1) : max(0, x2)] = colors[point]
    return video


def colors_in(frame: NDArray[np.uint8]) -> set[tuple[int, ...]]:
    found = {tuple(color) for color in np.unique(frame.reshape(-1, 3), axis=0).tolist()}
    return found - {(0, 0, 0)}


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 60),
    half_width=st.sampled_from([1, 3, 6, 2.5, 3.4667, 1.6]),
    snap=st.booleans(),
)
def test_stamps_are_those_of_a_painter_who_goes_point_by_point(
    seed: int, count: int, half_width: float, snap: bool
) -> None:
    generator = np.random.default_rng(seed)
    tracks = generator.uniform((-12, -12, -2), (WIDTH + 12, HEIGHT + 12, 2), (2, count, 3)).astype(np.float32)
    if snap:  # ties in position and priority
        tracks = np.round(tracks)
    visible = generator.random((2, count)) < 0.8
    colors = generator.integers(0, 256, (count, 3)).astype(np.uint8)
    expected = paint_one_by_one(tracks, visible, colors, half_width)
    np.testing.assert_array_equal(draw_tracks(tracks, visible, colors, half_width, HEIGHT, WIDTH), expected)


def test_more_points_than_fit_a_short_rank_are_painted_like_few() -> None:
    trajectories = drifting_points(70_000, seed=1).select_frames([0])
    video = render_conditioning(trajectories, ConditioningSettings()).ids
    expected = stamp_in_a_loop(trajectories, trajectory_colors(trajectories))[:1]
    np.testing.assert_array_equal(video, expected)


def test_points_that_are_not_numbers_paint_nothing() -> None:
    tracks = np.array([[[np.nan, 5, 1], [np.inf, 5, 1], [5, -np.inf, 1]]], np.float32)
    white = np.full((3, 3), 255, np.uint8)
    assert not draw_tracks(tracks, np.ones((1, 3), bool), white, 3, HEIGHT, WIDTH).any()


@pytest.mark.parametrize("coverage", list(Coverage))
def test_nearest_point_ends_on_top(coverage: Coverage) -> None:
    near, far = [40.5, 30.5, 2.0], [40.5, 30.5, 5.0]
    for order in ([near, far], [far, near]):
        trajectories = make_set(np.array([order]))
        frame = render_conditioning(trajectories, ConditioningSettings(coverage=coverage)).ids[0]
        expected = trajectory_colors(trajectories)[order.index(near)]
        np.testing.assert_array_equal(frame[30, 40], expected)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), fraction=st.floats(0.02, 1))
def test_sparsified_set_keeps_the_colours_of_the_full_one(seed: int, fraction: float) -> None:
    full = random_set(seed)
    keep = np.random.default_rng(seed).random(full.point_count) < fraction
    keep[0] = True
    colors = trajectory_colors(full)
    np.testing.assert_array_equal(trajectory_colors(full.select_points(keep)), colors[keep])


def test_set_numbered_in_array_order_is_coloured_like_annotated_video() -> None:
    full = random_set(3)
    reference = id_colors(np.where(full.seg_id == 2, -1, full.seg_id.astype(np.int64)), 2)
    np.testing.assert_array_equal(trajectory_colors(full), reference)


def test_points_of_several_background_segments_do_not_share_a_colour() -> None:
    segments = (Segment(0, "floor", background=True), Segment(1, "hero"), Segment(2, "wall", background=True))
    seg_id = np.repeat([0, 1, 2], 300)
    trajectories = make_set(np.ones((1, 900, 3)), seg_id=seg_id, segments=segments)
    colors = trajectory_colors(trajectories)
    assert len(np.unique(colors, axis=0)) == 900
    assert set(colors[seg_id != 1, 0].tolist()) == {127} and set(colors[seg_id == 1, 0].tolist()) == {255}


@pytest.mark.parametrize("coverage", list(Coverage))
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), keep=st.sampled_from([1.0, 0.5, 0.1]))
def test_only_visible_and_kept_points_are_painted(coverage: Coverage, seed: int, keep: float) -> None:
    trajectories = random_set(seed)
    videos = render_conditioning(
        trajectories, ConditioningSettings(keep_points=keep, seed=seed, coverage=coverage)
    )
    kept = random_points(trajectories.point_count, keep, np.random.default_rng(seed))
    colors = trajectory_colors(trajectories)
    assert trajectories.color is not None
    for ids, color, visible in zip(videos.ids, videos.color, trajectories.visible, strict=True):
        allowed = visible & kept
        assert colors_in(ids) <= {tuple(c) for c in colors[allowed].tolist()}
        assert colors_in(color) <= {tuple(c) for c in trajectories.color[allowed].tolist()}
        np.testing.assert_array_equal(ids.any(axis=-1), color.any(axis=-1))


def test_same_seed_gives_the_same_videos_and_leaves_the_global_generator_alone() -> None:
    trajectories = random_set(0)
    before = np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002
    first, again, other = (
        render_conditioning(trajectories, ConditioningSettings(keep_points=0.3, seed=seed)).ids
        for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.random.get_state()[1].tolist() == before  # type: ignore[index]  # noqa: NPY002


def test_keeping_fewer_points_keeps_a_part_of_what_more_would_keep() -> None:
    few, many = (random_points(200, fraction, np.random.default_rng(1)) for fraction in (0.1, 0.6))
    assert np.count_nonzero(few) == 20 and not (few & ~many).any()


def test_dropped_frames_are_black_and_first_and_last_stay() -> None:
    trajectories = random_set(1, frames=10)
    videos = render_conditioning(trajectories, ConditioningSettings(keep_frames=0.3))
    painted = videos.ids.any(axis=(1, 2, 3))
    assert np.flatnonzero(painted).tolist() == [0, 4, 9]
    np.testing.assert_array_equal(videos.color.any(axis=(1, 2, 3)), painted)


def test_without_a_cue_the_colour_video_is_black_but_there() -> None:
    trajectories = random_set(1)
    off = render_conditioning(trajectories, ConditioningSettings(color_cue=ColorCue.OFF))
    assert off.color.shape == off.ids.shape and not off.color.any() and off.ids.any()


@pytest.mark.parametrize("coverage", list(Coverage))
def test_colours_that_change_over_time_are_painted_frame_by_frame(coverage: Coverage) -> None:
    positions = np.tile([[[40.5, 30.5, 2.0]]], (2, 1, 1))
    color = np.array([[[10, 20, 30]], [[40, 50, 60]]], np.uint8)
    video = render_conditioning(
        make_set(positions, color=color), ConditioningSettings(coverage=coverage)
    ).color
    assert [tuple(video[t, 30, 40].tolist()) for t in (0, 1)] == [(10, 20, 30), (40, 50, 60)]


def test_fit_moves_the_motion_onto_the_photo() -> None:
    trajectories = make_set(np.array([[[10.5, 12.5, 1.0]]]))
    fit = np.array([[2.0, 0, 20], [0, 2.0, 5.5]])
    for coverage in Coverage:
        frame = render_conditioning(trajectories, ConditioningSettings(coverage=coverage), fit).ids[0]
        assert frame[30, 41].any() and not frame[12, 10].any()


def test_stamps_grow_with_the_raster_as_the_reference_enlarges_its_video() -> None:
    rule = StampRule.REAL_VIDEO
    assert stamp_half_width(rule, 4900, 1.0, 720, 480) == 3
    assert stamp_half_width(rule, 299, 1.0, 720, 480) == 6
    assert stamp_half_width(rule, 4900, 0.05, 720, 480) == 6
    assert stamp_half_width(StampRule.SYNTHETIC, 4900, 1.0, 720, 480) == 6
    assert stamp_half_width(rule, 4900, 1.0, 832, 480) == pytest.approx(3 * 832 / 720)
    assert stamp_half_width(rule, 4900, 1.0, 32, 32) == 1


def blob(seed: int, count: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Random points in an ellipse, and the ellipse."""
    generator = np.random.default_rng(seed)
    center, radii = np.array([48.0, 32.0]), generator.uniform(14, 28, 2)
    angle, radius = generator.uniform(0, 2 * np.pi, count), np.sqrt(generator.random(count))
    xy = center + radii * np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius[:, None]
    row, column = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    inside = ((column - center[0]) / radii[0]) ** 2 + ((row - center[1]) / radii[1]) ** 2 <= 1
    return xy, inside


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(60, 800))
def test_surface_mode_leaves_no_hole_in_a_convex_body_and_does_not_leak(seed: int, count: int) -> None:
    xy, inside = blob(seed, count)
    positions = np.concatenate([xy, np.ones((count, 1))], axis=1)[None]
    frame = render_conditioning(make_set(positions), ConditioningSettings(coverage=Coverage.SURFACE)).ids[0]
    covered = frame.any(axis=-1)
    column, row = np.floor(xy).astype(int).T
    assert covered[row, column].all()
    background, _ = cv2.connectedComponents((~covered).astype(np.uint8), connectivity=8)
    assert background == 2  # covered pixels, and one background around them
    spacing = np.sqrt(inside.sum() / count)
    outside = cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, 5)
    assert np.asarray(outside)[covered].max() <= 1.5 + spacing
    within = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5)
    assert np.asarray(within)[~covered].max() <= 1.5 + 2.5 * spacing


def wall_and_box(wall: Segment, wall_depth: float) -> TrajectorySet:
    """A wall over the whole picture with a hole of the box's size, and the box in the hole."""
    grid = np.stack(np.meshgrid(np.arange(-5.5, 102, 4), np.arange(-5.5, 70, 4)), axis=-1).reshape(-1, 2)
    middle = (np.abs(grid[:, 0] - 48) < 20) & (np.abs(grid[:, 1] - 32) < 14)
    back = np.concatenate([grid, np.full((len(grid), 1), wall_depth)], axis=1)
    box = np.concatenate([grid[middle] + 1, np.full((middle.sum(), 1), 3.0)], axis=1)
    on_raster = ((grid >= 0) & (grid < (WIDTH, HEIGHT))).all(axis=1)
    visible = np.concatenate([on_raster & ~middle, np.ones(middle.sum(), bool)])[None]
    seg_id = np.repeat([0, 1], [len(back), len(box)])
    segments = (wall, Segment(1, "box", group=1))
    return make_set(np.concatenate([back, box]).astype(np.float64)[None], visible, seg_id, segments)


def test_props_and_ground_are_single_points_below_the_surface_of_the_subjects() -> None:
    dense = ConditioningSettings(coverage=Coverage.SURFACE)
    as_subject = wall_and_box(Segment(0, "wall", group=0), wall_depth=9.0)
    as_ground = wall_and_box(Segment(0, "wall", group=0, background=True), wall_depth=9.0)
    (box_red,) = {int(red) for red in trajectory_colors(as_ground)[as_ground.seg_id == 1, 0]}
    whole, apart = (render_conditioning(one, dense).ids[0] for one in (as_subject, as_ground))
    (box_before,) = {int(red) for red in trajectory_colors(as_subject)[as_subject.seg_id == 1, 0]}
    is_box = whole[..., 0] == box_before
    np.testing.assert_array_equal(apart[..., 0] == box_red, is_box)
    stamps = render_conditioning(as_ground, ConditioningSettings()).ids[0]
    np.testing.assert_array_equal(apart[~is_box], np.where(stamps[..., :1] == box_red, 0, stamps)[~is_box])
    # The models were trained with points here and there around a subject, not with a painted floor.
    assert (apart[~is_box] > 0).any(axis=-1).mean() < 0.7 < (whole[~is_box] > 0).any(axis=-1).mean()


def test_surface_of_a_near_body_hides_the_one_behind() -> None:
    trajectories = wall_and_box(Segment(0, "wall", group=0), wall_depth=9.0)
    frame = render_conditioning(trajectories, ConditioningSettings(coverage=Coverage.SURFACE)).ids[0]
    wall_red, box_red = sorted({int(red) for red in trajectory_colors(trajectories)[:, 0]})
    assert (frame[22:43, 33:63, 0] == box_red).all()
    assert (frame[:14, :, 0] == wall_red).all() and (frame[:, :24, 0] == wall_red).all()
    assert (frame[..., 0] > 0).all()


def test_known_silhouette_is_the_exact_extent_on_the_first_frame() -> None:
    xy, inside = blob(4, 50)
    positions = np.tile(np.concatenate([xy, np.ones((50, 1))], axis=1), (2, 1, 1))
    trajectories = make_set(positions, silhouette=inside[None])
    for fit in (None, np.eye(2, 3)):
        video = render_conditioning(trajectories, ConditioningSettings(coverage=Coverage.SURFACE), fit).ids
        np.testing.assert_array_equal(video[0].any(axis=-1), inside)
    shifted = np.array([[1.0, 0, 7], [0, 1, -3]])
    video = render_conditioning(trajectories, ConditioningSettings(coverage=Coverage.SURFACE), shifted).ids
    expected = np.zeros_like(inside)
    expected[:-3, 7:] = inside[3:, :-7]
    np.testing.assert_array_equal(video[0].any(axis=-1), expected)


def test_character_parts_stay_with_the_reference_probability() -> None:
    kept = draw_parts(20_000, np.random.default_rng(0))
    assert abs(kept.mean() - 0.7) < 0.02


@pytest.mark.parametrize(
    ("settings_", "sentence"),
    [
        ({"keep_points": 0.0}, "The fraction of points to keep is 0: give a number above 0 and at most 1."),
        (
            {"keep_frames": 1.5},
            "The fraction of frames to keep is 1.5: give a number above 0 and at most 1.",
        ),
        ({"keep_points": float("nan")}, "The fraction of points to keep is nan: give a number"),
        ({"seed": -1}, "The seed is -1: give a whole number of at least 0."),
    ],
)
def test_a_number_out_of_range_is_named(settings_: dict[str, float], sentence: str) -> None:
    with pytest.raises(FlexTrajError) as caught:
        ConditioningSettings(**settings_)  # type: ignore[arg-type]
    assert caught.value.message.startswith(sentence)


@pytest.mark.parametrize("fit", [np.zeros((2, 3)), np.full((2, 3), np.nan), np.eye(3)])
def test_a_fit_that_cannot_be_used_is_refused(fit: NDArray[np.float64]) -> None:
    with pytest.raises(FlexTrajError, match="The fit must be an invertible 2x3 matrix"):
        render_conditioning(random_set(0), ConditioningSettings(), fit)


def test_more_segments_than_red_can_tell_apart_are_refused() -> None:
    segments = tuple(Segment(index, f"part {index}") for index in range(255))
    trajectories = make_set(np.ones((1, 255, 3)), seg_id=np.arange(255), segments=segments)
    with pytest.raises(
        FlexTrajError, match="has 255 controlled segments, but an ID video can tell 254 apart"
    ):
        render_conditioning(trajectories, ConditioningSettings())
