"""Samples of every control task: what a training run would learn from if one of them were wrong."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from masked_clips import masked_clip
from numpy.typing import NDArray

from blender_addon.core.conditioning import ColorCue, Coverage
from blender_addon.core.errors import FlexTrajError
from flextraj_backend.synthesis.clip import SyntheticClip
from flextraj_backend.training.augmentation import apply_choices, draw_choices
from flextraj_backend.training.kept_points import subject_points, thin_frames, thin_points
from flextraj_backend.training.tasks import (
    BackgroundPoints,
    ControlTask,
    CoverageRule,
    IdAblation,
    MixtureError,
    TaskMixture,
    only,
)
from flextraj_backend.training.training_sample import (
    OtherCharacter,
    RandomPoints,
    RegionPoints,
    SampleChoices,
    SidewaysShift,
    SubjectScaling,
    TrainingSample,
)

CLIP = masked_clip()
PAIR = masked_clip(subjects=2, points=200)
EVERYTHING = TaskMixture(tasks=tuple((task, 1 / 6) for task in ControlTask))
SUBJECT_ONLY = ((BackgroundPoints.NONE, 1.0),)
seeds = st.integers(0, 2**32 - 1)
tasks = st.sampled_from(list(ControlTask))
clips = st.sampled_from([CLIP, PAIR])


def sample_of(clip: SyntheticClip, mixture: TaskMixture, seed: int = 0) -> TrainingSample:
    return apply_choices(clip, draw_choices(np.random.default_rng(seed), mixture, clip))


def painted(sample: TrainingSample) -> NDArray[np.bool_]:
    """(T, H, W)"""
    return sample.conditioning.ids[..., 0] > 0


@given(seed=seeds, clip=clips)
@settings(max_examples=40, deadline=None)
def test_a_recorded_choice_gives_the_same_sample_again(seed: int, clip: SyntheticClip) -> None:
    choices = draw_choices(np.random.default_rng(seed), EVERYTHING, clip)
    replayed = SampleChoices.from_json(json.loads(json.dumps(choices.to_json())))
    assert replayed == choices
    first, second = apply_choices(clip, choices), apply_choices(clip, replayed)
    assert np.array_equal(first.conditioning.ids, second.conditioning.ids)
    assert np.array_equal(first.conditioning.color, second.conditioning.color)
    assert first.prompt == second.prompt and first.task is second.task is choices.task


@given(seed=seeds, task=tasks, clip=clips)
@settings(max_examples=40, deadline=None)
def test_every_task_controls_the_first_frame_of_the_clips_own_video(
    seed: int, task: ControlTask, clip: SyntheticClip
) -> None:
    sample = sample_of(clip, only(task, background=SUBJECT_ONLY), seed)
    assert sample.video is clip.frames
    assert sample.conditioning.ids.shape == sample.conditioning.color.shape == clip.frames.shape
    assert painted(sample)[0].any()


@given(seed=seeds, task=st.sampled_from([ControlTask.UNALIGNED_SHIFT, ControlTask.UNALIGNED_CHARACTER]))
@settings(max_examples=40, deadline=None)
def test_unaligned_samples_never_show_colours_and_say_so_in_the_prompt(seed: int, task: ControlTask) -> None:
    sample = sample_of(CLIP, only(task, color_drop=0.0), seed)
    assert sample.choices.color_cue is ColorCue.OFF
    assert not sample.conditioning.color.any()
    assert sample.prompt == "unaligned, a figure walks"


def test_a_colour_cue_in_the_photos_colours_shows_the_photo_on_its_first_frame() -> None:
    mixture = only(ControlTask.DENSE, color_drop=0.0, photo_colors=1.0, background=SUBJECT_ONLY)
    sample = sample_of(CLIP, mixture)
    assert sample.choices.color_cue is ColorCue.PHOTO_COLORS
    own = apply_choices(CLIP, replace(sample.choices, color_cue=ColorCue.TRAJECTORY_COLORS))
    assert np.array_equal(own.conditioning.ids, sample.conditioning.ids)
    photo, area = CLIP.frames[0].astype(int), painted(sample)[0]

    def distance(of: TrainingSample) -> float:
        return float(np.abs(of.conditioning.color[0].astype(int) - photo)[area].mean())

    assert distance(sample) < 0.5 * distance(own)


@given(seed=seeds, task=st.sampled_from([ControlTask.UNALIGNED_SHIFT, ControlTask.UNALIGNED_CHARACTER]))
@settings(max_examples=40, deadline=None)
def test_unaligned_control_differs_from_aligned_control(seed: int, task: ControlTask) -> None:
    mixture = only(task, background=SUBJECT_ONLY)
    sample = sample_of(CLIP, mixture, seed)
    aligned = replace(sample.choices, task=ControlTask.DENSE, misalignment=None)
    assert not np.array_equal(painted(sample), painted(apply_choices(CLIP, aligned)))


@pytest.mark.parametrize("coverage", list(CoverageRule)[:2])
@pytest.mark.parametrize("clip", [CLIP, PAIR], ids=["one", "two"])
def test_dense_aligned_control_lies_on_the_subject_from_the_first_frame_on(
    clip: SyntheticClip, coverage: CoverageRule
) -> None:
    sample = sample_of(clip, only(ControlTask.DENSE, coverage=coverage, background=SUBJECT_ONLY))
    # A stamp reaches one pixel beyond its point at this raster.
    reach = 1 if coverage is CoverageRule.SURFACE else 3
    for area, mask in zip(painted(sample), clip.segments, strict=True):
        allowed = cv2.dilate((mask > 0).astype(np.uint8), np.ones((reach, reach), np.uint8)) > 0
        assert not (area & ~allowed).any()
    if coverage is CoverageRule.SURFACE:
        assert np.array_equal(painted(sample), clip.segments > 0)


def test_the_red_of_a_dense_surface_tells_the_subjects_apart() -> None:
    sample = sample_of(PAIR, only(ControlTask.DENSE, coverage=CoverageRule.SURFACE, background=SUBJECT_ONLY))
    reds = sample.conditioning.ids[..., 0]
    assert set(np.unique(reds[PAIR.segments == 1])) == {170}
    assert set(np.unique(reds[PAIR.segments == 2])) == {255}


def test_a_point_keeps_its_id_on_the_surface_from_frame_to_frame() -> None:
    sample = sample_of(CLIP, only(ControlTask.DENSE, coverage=CoverageRule.SURFACE, background=SUBJECT_ONLY))
    tracks = CLIP.trajectories
    hits, total = 0, 0
    for frame in range(tracks.frame_count):
        seen = np.flatnonzero(tracks.visible[frame] & subject_points(tracks))
        column, row = np.floor(tracks.positions[frame, seen, :2]).astype(int).T
        blue = sample.conditioning.ids[frame, row, column, 2]
        hits += np.count_nonzero(blue == tracks.traj_id[seen] % 256)
        total += len(seen)
    # Where two points share a pixel, only the nearer one is seen.
    assert hits > 0.8 * total


@given(seed=seeds, clip=clips)
@settings(max_examples=40, deadline=None)
def test_spatially_sparse_control_keeps_few_points_but_some_of_every_subject(
    seed: int, clip: SyntheticClip
) -> None:
    choices = draw_choices(np.random.default_rng(seed), only(ControlTask.SPATIAL), clip)
    assert choices.thinning is not None and choices.coverage is Coverage.STAMPS
    tracks = clip.trajectories
    everything = np.ones(tracks.point_count, bool)
    keep = thin_points(tracks, everything, choices.thinning, np.random.default_rng(choices.seed))
    subjects = sum(not segment.background for segment in tracks.meta.segments)
    for number in range(subjects):
        assert (keep & tracks.visible[0] & (tracks.seg_id == number)).any()
    assert keep.sum() <= 0.3 * tracks.point_count + subjects


@given(seed=seeds)
@settings(max_examples=40, deadline=None)
def test_regions_are_kept_as_patches_not_as_scattered_points(seed: int) -> None:
    tracks = CLIP.trajectories
    everything = subject_points(tracks)
    kept = {}
    for thinning in (RegionPoints(0.2), RandomPoints(0.2)):
        keep = np.flatnonzero(thin_points(tracks, everything, thinning, np.random.default_rng(seed)))
        xy = tracks.positions[0, keep, :2]
        distance = np.linalg.norm(xy[:, None] - xy, axis=-1) + 1e9 * np.eye(len(xy))
        kept[type(thinning)] = np.median(distance.min(axis=1))
    assert kept[RegionPoints] < kept[RandomPoints]


@given(
    count=st.integers(2, 121),
    fraction=st.floats(0, 1),
    random=st.sampled_from([0.0, 1.0]),
    seed=seeds,
)
@settings(max_examples=200, deadline=None)
def test_kept_frames_always_include_the_first_and_the_last(
    count: int, fraction: float, random: float, seed: int
) -> None:
    frames = thin_frames(count, fraction, np.random.default_rng(seed), random)
    assert frames[0] == 0 and frames[-1] == count - 1
    assert list(frames) == sorted(set(frames))
    assert len(frames) <= max(2, (count + 1) // 2)


@pytest.mark.parametrize(
    ("count", "fraction", "expected"),
    [
        (49, 0.2, (0, 6, 12, 18, 24, 30, 36, 42, 48)),
        (49, 0.1, (0, 16, 32, 48)),
        (49, 0.0, (0, 48)),
        (9, 0.2, (0, 2, 4, 6, 8)),
        (9, 0.0, (0, 8)),
    ],
)
def test_evenly_kept_frames_are_the_references(
    count: int, fraction: float, expected: tuple[int, ...]
) -> None:
    assert thin_frames(count, fraction, np.random.default_rng(0), 0.0) == expected


@given(seed=seeds, task=st.sampled_from([ControlTask.TEMPORAL, ControlTask.SPATIAL_TEMPORAL]))
@settings(max_examples=30, deadline=None)
def test_frames_that_are_not_kept_are_black_in_both_videos(seed: int, task: ControlTask) -> None:
    sample = sample_of(CLIP, only(task, color_drop=0.0), seed)
    kept = sample.choices.frames
    assert kept is not None and kept[0] == 0 and kept[-1] == 8
    dropped = np.setdiff1d(np.arange(9), kept)
    assert not sample.conditioning.ids[dropped].any() and not sample.conditioning.color[dropped].any()
    assert painted(sample)[0].any()


@given(seed=seeds, p=st.sampled_from([0.0, 1.0]))
@settings(max_examples=20, deadline=None)
def test_the_colour_cue_is_dropped_as_often_as_asked(seed: int, p: float) -> None:
    sample = sample_of(CLIP, only(ControlTask.DENSE, color_drop=p, background=SUBJECT_ONLY), seed)
    assert sample.conditioning.color.any() == (p == 0.0)
    if p == 0.0:
        assert not sample.conditioning.color[~painted(sample)].any()


def test_a_set_without_colours_shows_those_of_the_picture() -> None:
    clip = replace(CLIP, trajectories=replace(CLIP.trajectories, color=None))
    sample = sample_of(clip, only(ControlTask.DENSE, color_drop=0.0))
    area = painted(sample)
    assert np.array_equal(sample.conditioning.color[area], clip.frames[area])


@pytest.mark.parametrize("coverage", [Coverage.SURFACE, Coverage.STAMPS])
def test_a_sideways_shift_moves_the_control_by_as_many_pixels(coverage: Coverage) -> None:
    aligned = SampleChoices(ControlTask.DENSE, coverage, ColorCue.OFF, BackgroundPoints.NONE, 0)
    shifted = replace(aligned, task=ControlTask.UNALIGNED_SHIFT, misalignment=SidewaysShift(5))
    before, after = (apply_choices(CLIP, choices).conditioning.ids for choices in (aligned, shifted))
    # Stamps cut by the border are whole again once they are inside; the subject touches none here.
    assert np.array_equal(after[:, :, 5:], before[:, :, :-5])
    assert not after[:, :, :5].any()


@pytest.mark.parametrize("coverage", [Coverage.SURFACE, Coverage.STAMPS])
def test_scaling_changes_the_subjects_size_and_leaves_its_reference_point(coverage: Coverage) -> None:
    tracks = CLIP.trajectories
    reference = int(np.flatnonzero(tracks.visible.all(axis=0) & subject_points(tracks))[0])
    aligned = SampleChoices(ControlTask.DENSE, coverage, ColorCue.OFF, BackgroundPoints.NONE, 0)
    scaled = replace(
        aligned, task=ControlTask.UNALIGNED_SHIFT, misalignment=SubjectScaling(reference, 1.0, 0.5)
    )
    before, after = (
        apply_choices(CLIP, choices).conditioning.ids[..., 0] > 0 for choices in (aligned, scaled)
    )
    heights = [np.count_nonzero(area.any(axis=2), axis=1) for area in (before, after)]  # (T,) each
    assert (heights[1] < 0.65 * heights[0]).all()
    column, row = np.floor(tracks.positions[:, reference, :2]).astype(int).T
    # Stamps of less than two rows are rounded to the row above.
    assert (after[np.arange(9), row, column] | after[np.arange(9), row - 1, column]).all()


def test_another_character_comes_to_stand_where_the_clips_own_one_stands() -> None:
    aligned = SampleChoices(ControlTask.DENSE, Coverage.STAMPS, ColorCue.OFF, BackgroundPoints.NONE, 0)
    choices = replace(
        aligned, task=ControlTask.UNALIGNED_CHARACTER, misalignment=OtherCharacter(0, 1.0, 0.0, 0.0)
    )
    boxes = []
    for item in (aligned, choices):
        area = apply_choices(CLIP, item).conditioning.ids[0, ..., 0] > 0
        rows, columns = np.flatnonzero(area.any(axis=1)), np.flatnonzero(area.any(axis=0))
        boxes.append((columns[0] + columns[-1], rows[0] + rows[-1], len(columns), len(rows)))
    assert abs(boxes[0][0] - boxes[1][0]) <= 4 and abs(boxes[0][1] - boxes[1][1]) <= 4
    assert boxes[0][2:] != boxes[1][2:]


def test_few_background_points_stay_beside_another_character() -> None:
    clip = masked_clip(background_points=400)
    mixture = only(ControlTask.UNALIGNED_CHARACTER, background=((BackgroundPoints.ALL, 1.0),))
    reds = sample_of(clip, mixture).conditioning.ids[0, ..., 0]
    assert 0 < np.count_nonzero(reds == 127) <= 4 * 2 * 2


def test_a_clip_without_other_characters_is_shifted_instead() -> None:
    clip = masked_clip(others=0)
    choices = draw_choices(np.random.default_rng(0), only(ControlTask.UNALIGNED_CHARACTER), clip)
    assert choices.task is ControlTask.UNALIGNED_SHIFT
    assert isinstance(choices.misalignment, SidewaysShift | SubjectScaling)


@pytest.mark.parametrize("size", [(72, 48), (240, 160), (720, 480), (480, 832)])
def test_shifts_and_points_fit_the_raster(size: tuple[int, int]) -> None:
    clip = masked_clip(frames=3, size=size, points=100, background_points=0)
    scale = max(size[0] / 720, size[1] / 480)
    for seed in range(20):
        choices = draw_choices(
            np.random.default_rng(seed), only(ControlTask.UNALIGNED_SHIFT, scale_small=0.0), clip
        )
        assert isinstance(choices.misalignment, SidewaysShift | SubjectScaling)
        if isinstance(choices.misalignment, SidewaysShift):
            assert 30 * scale - 1 <= abs(choices.misalignment.dx) <= 50 * scale + 1
        sparse = draw_choices(np.random.default_rng(seed), only(ControlTask.SPATIAL, region=0.0), clip)
        assert isinstance(sparse.thinning, RandomPoints)
        assert 4 <= round(sparse.thinning.fraction * 100) <= 10


def test_each_ablation_takes_away_one_part_and_leaves_what_is_painted() -> None:
    mixture = only(ControlTask.DENSE, color_drop=0.0, coverage=CoverageRule.STAMPS)
    choices = draw_choices(np.random.default_rng(1), mixture, PAIR)
    full = apply_choices(PAIR, choices).conditioning
    area = full.ids[..., 0] > 0
    without = {kind: apply_choices(PAIR, choices, kind).conditioning for kind in IdAblation}
    for videos in without.values():
        assert np.array_equal(videos.ids[..., 0] > 0, area)
    assert not without[IdAblation.NO_TRAJ_ID].ids[..., 1:].any()
    assert np.array_equal(without[IdAblation.NO_TRAJ_ID].ids[..., 0], full.ids[..., 0])
    assert set(np.unique(without[IdAblation.NO_SEG_ID].ids[area][:, 0])) == {255}
    assert np.array_equal(without[IdAblation.NO_SEG_ID].ids[..., 1:], full.ids[..., 1:])
    assert not without[IdAblation.NO_COLOR].color.any()
    assert np.array_equal(without[IdAblation.NO_COLOR].ids, full.ids)
    assert np.array_equal(without[IdAblation.NONE].color, full.color) and full.color.any()


def test_tasks_come_as_often_as_the_mixture_says() -> None:
    mixture = TaskMixture(tasks=((ControlTask.DENSE, 0.7), (ControlTask.TEMPORAL, 0.3)))
    drawn = [draw_choices(np.random.default_rng(seed), mixture, CLIP).task for seed in range(300)]
    assert set(drawn) == {ControlTask.DENSE, ControlTask.TEMPORAL}
    assert 0.6 < drawn.count(ControlTask.DENSE) / 300 < 0.8


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ({"tasks": ((ControlTask.DENSE, 0.5),)}, "tasks"),
        ({"tasks": ((ControlTask.DENSE, 0.5), (ControlTask.DENSE, 0.5))}, "tasks"),
        ({"color_drop": 1.5}, "color_drop"),
        ({"random_fraction": (0.5, 0.1)}, "random_fraction"),
        ({"region_fractions": ()}, "region_fractions"),
        ({"scale_range": (0.9, 1.1)}, "scale_range"),
        ({"shift_pixels": (float("nan"), 3.0)}, "shift_pixels"),
    ],
)
def test_a_mixture_that_cannot_be_drawn_from_is_refused_by_its_key(wrong: dict, key: str) -> None:
    with pytest.raises(MixtureError, match=key):
        TaskMixture(**{"tasks": ((ControlTask.DENSE, 1.0),), **wrong})


def test_choices_of_another_clip_or_version_are_refused() -> None:
    base = SampleChoices(ControlTask.DENSE, Coverage.STAMPS, ColorCue.OFF, BackgroundPoints.NONE, 0)
    for wrong in (
        replace(base, frames=(0, 9)),
        replace(base, frames=()),
        replace(base, misalignment=OtherCharacter(7, 1.0, 0.0, 0.0)),
        replace(base, misalignment=SubjectScaling(10_000, 1.0, 2.0)),
    ):
        with pytest.raises(FlexTrajError, match="clip000000"):
            apply_choices(CLIP, wrong)
    with pytest.raises(FlexTrajError, match="colour_cue"):
        SampleChoices.from_json({**base.to_json(), "colour_cue": "off"})
