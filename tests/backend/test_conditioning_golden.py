"""The conditioning videos equal those of the FlexTraj reference, number for number."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from blender_addon.core.conditioning import StampRule, stamp_half_width
from blender_addon.core.id_coding import TrackLayout, TrajIdSpacing, id_colors, red_ramp
from blender_addon.core.sparsity import kept_frames, random_points, sparsify
from flextraj_backend.conditioning.actor_shift import PixelShift, centering_shift, move_actor, move_picture
from flextraj_backend.conditioning.color_cue import (
    REAL_RED_THRESHOLD,
    SYNTHETIC_RED_THRESHOLD,
    copy_painted_pixels,
    without_color,
)
from flextraj_backend.conditioning.masks import (
    foreground_mask,
    foreground_score,
    inside_dilated,
    segment_ids,
)
from flextraj_backend.conditioning.painting import draw_tracks
from flextraj_backend.conditioning.sparsity import foreground_region, nested_region
from flextraj_backend.conditioning.synthetic import (
    HALF_WIDTH,
    background_fraction,
    background_tracks,
    blank_other_frames,
    keep_parts,
    pose_tracks,
    stamp_over,
    stamp_under,
)
from flextraj_backend.conditioning.track_merging import late_points, merge_tracks
from flextraj_backend.conditioning.unaligned import (
    ForegroundScaling,
    HorizontalShift,
    ScaleAxis,
    draw_misalignment,
    scale_about_track,
)

GOLDEN = Path(os.environ.get("FLEXTRAJ_GOLDEN_DIR") or Path(__file__).parents[1] / "golden")
AXES = {"x": ScaleAxis.X, "y": ScaleAxis.Y, "xy": ScaleAxis.BOTH}


class Case:
    """One golden file; remembers which arrays were used, so that none is forgotten."""

    def __init__(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as archive:
            self._arrays = {name: archive[name] for name in archive.files}
        self._used: set[str] = set()
        self.name = path.stem

    def __getitem__(self, name: str) -> NDArray[Any]:
        self._used.add(name)
        return self._arrays[name]

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def number(self, name: str) -> Any:
        return self[name].item()

    @property
    def raster(self) -> tuple[int, int]:
        return self.number("height"), self.number("width")

    def expect(self, name: str, actual: Any) -> None:
        np.testing.assert_array_equal(np.asarray(actual), self[name], err_msg=f"{self.name}: {name}")

    def unused(self) -> set[str]:
        return set(self._arrays) - self._used


class ReplayedChoices:
    """Draws what the reference drew: NumPy's legacy generator, and a recorded axis.

    The reference shuffles the SegIDs once, with the same generator, while it colours a single track set.
    """

    def __init__(
        self, seed: int, shuffled_segments: int | None = None, axis: ScaleAxis = ScaleAxis.X
    ) -> None:
        self._legacy = np.random.RandomState(seed)
        if shuffled_segments is not None:
            self._legacy.shuffle(np.arange(-1, shuffled_segments))
        self._axis = axis
        self.permutation = self._legacy.permutation
        self.choice = self._legacy.choice

    def integers(self, low: int, high: int | None = None) -> int:
        return list(ScaleAxis).index(self._axis) if high is None else self._legacy.randint(low, high)


def replay(*arguments: Any, **named: Any) -> np.random.Generator:
    return cast(np.random.Generator, ReplayedChoices(*arguments, **named))


@pytest.fixture
def golden() -> Iterator[Callable[[str], Case]]:
    opened: list[Case] = []

    def open_case(name: str) -> Case:
        opened.append(Case(GOLDEN / f"{name}.npz"))
        return opened[-1]

    yield open_case
    assert opened
    for case in opened:
        assert not case.unused(), f"{case.name}: arrays that no assertion looks at"


def names(pattern: str) -> list[str]:
    return sorted(path.stem for path in GOLDEN.glob(f"{pattern}.npz"))


TESTED = [
    "render_bbox",
    "render_dilate",
    "render_double",
    "render_foreground",
    "render_full_resolution",
    "render_many",
    "render_no_depth",
    "render_pose",
    "render_red_ramp",
    "render_segid",
    "render_shift",
    "render_spatial_random",
    "render_stamp",
    "render_synthetic",
    "render_temporal",
]
FAMILIES = ("render_dense_s*", "render_real_*", "render_unaligned_scale*", "render_unaligned_translate*")


def test_no_golden_case_is_left_out() -> None:
    covered = {*TESTED, *(name for family in FAMILIES for name in names(family))}
    assert len(covered) == 29
    assert set(names("render_*")) == covered


@pytest.mark.parametrize(
    "name",
    [*names("render_dense_s*"), "render_many", "render_no_depth", "render_full_resolution"],
)
def test_id_video_of_a_single_set_is_the_reference_one(golden: Callable[[str], Case], name: str) -> None:
    case = golden(name)
    count = case.number("num_segments")
    if "masks" in case:
        found = segment_ids(case["tracks"][0], case["masks"])
        forced = (case["seg_ids"] == -1) & (name == "render_dense_s2")
        np.testing.assert_array_equal(np.where(forced, -1, found), case["seg_ids"])
    case.expect("id_colors", id_colors(case["seg_ids"], count))
    size = case.number("rect_size")
    video = draw_tracks(case["tracks"], case["visibility"], case["id_colors"], size, *case.raster)
    case.expect("id_video", video)
    if "id_colors_large" in case:
        large = id_colors(case["seg_ids"], count, spacing=TrajIdSpacing.SPREAD)
        case.expect("id_colors_large", large)
        if "id_video_large" in case:
            video = draw_tracks(case["tracks"], case["visibility"], large, size, *case.raster)
            case.expect("id_video_large", video)


def test_red_values_are_the_reference_ones(golden: Callable[[str], Case]) -> None:
    case = golden("render_red_ramp")
    for count in case["segment_counts"].tolist():
        case.expect(f"single_{count}", red_ramp(count, TrackLayout.SINGLE))
        case.expect(f"double_{count}", red_ramp(count, TrackLayout.DOUBLE))


def test_stamp_covers_the_reference_pixels_at_borders_and_between_pixels(
    golden: Callable[[str], Case],
) -> None:
    case = golden("render_stamp")
    tracks = case["points"][:, None]  # one point a frame
    white = np.full((1, 3), 255, np.uint8)
    for size in (1, 2, 3, 6):
        video = draw_tracks(tracks, np.ones(tracks.shape[:2], bool), white, size, *case.raster)
        case.expect(f"painted_size{size}", video[..., 0] > 0)


def test_points_get_the_segment_they_lie_on(golden: Callable[[str], Case]) -> None:
    case = golden("render_segid")
    case.expect("tie_seg_ids", segment_ids(case["tie_points"], case["tie_masks"]))
    case.expect("seg_ids_first", segment_ids(case["tracks"][0], case["masks_first"]))
    case.expect("seg_ids_last", segment_ids(case["tracks"][-1], case["masks_last"]))


def test_two_track_sets_merge_and_are_coloured_together(golden: Callable[[str], Case]) -> None:
    case = golden("render_double")
    keep = late_points(case["tracks_1"])
    case.expect("keep_2", keep)
    second, second_visible = case["tracks_2"][:, keep], case["visibility_2"][:, keep]
    tracks, visible = merge_tracks(case["tracks_1"], second, case["visibility_1"], second_visible)
    case.expect("merged_tracks", tracks)
    case.expect("merged_visibility", visible)
    first_ids = segment_ids(case["tracks_1"][0], case["masks_first"])
    second_ids = segment_ids(second[-1], case["masks_last"])
    seg_ids = np.concatenate([first_ids, second_ids])
    case.expect("seg_ids", seg_ids)
    count = case.number("num_segments")
    colors = id_colors(seg_ids, count, TrackLayout.DOUBLE)
    case.expect("id_colors", colors)
    case.expect("id_colors_large", id_colors(seg_ids, count, TrackLayout.DOUBLE, TrajIdSpacing.SPREAD))
    video = draw_tracks(tracks, visible, colors, case.number("rect_size"), *case.raster)
    case.expect("id_video", video)
    case.expect("color_video", copy_painted_pixels(case["frames"], video, REAL_RED_THRESHOLD))


@pytest.mark.parametrize("name", names("render_real_*"))
def test_real_clip_renders_as_in_the_reference(golden: Callable[[str], Case], name: str) -> None:
    case = golden(name)
    tracks, count, scale = case["tracks"], case.number("num_segments"), case.number("spatial_scale")
    first, last = segment_ids(tracks[0], case["masks_first"]), segment_ids(tracks[-1], case["masks_last"])
    reverse = case.number("reverse")
    seg_ids = last if reverse else first
    masks = case["masks_last"] if reverse else case["masks_first"]
    case.expect("seg_ids", seg_ids)
    case.expect("id_colors", id_colors(seg_ids, count))
    choices = replay(case.number("numpy_seed"), count)
    mode = case.number("spatial_mode")
    if mode == "random":
        points = random_points(len(seg_ids), scale, choices)
        half_width = stamp_half_width(StampRule.REAL_VIDEO, len(seg_ids), scale, 720, 480)
    else:
        assert mode == "region"
        if "small_masks" in case:
            parts = segment_ids(tracks[0], case["small_masks"])
            points = nested_region(seg_ids, parts, scale, choices)
        else:
            points = foreground_region(seg_ids, masks, scale)
        half_width = stamp_half_width(StampRule.REAL_VIDEO, len(seg_ids), 1.0, 720, 480)
    case.expect("rect_size", half_width)
    visible = sparsify(case["visibility"], np.arange(len(tracks)), points)
    case.expect("visibility_out", visible)
    video = draw_tracks(tracks, visible, case["id_colors"], half_width, *case.raster)
    case.expect("id_video", video)
    case.expect("color_video", copy_painted_pixels(case["frames"], video, REAL_RED_THRESHOLD))
    case.expect("color_video_off", without_color(video))


def test_random_sparsity_keeps_the_recorded_points(golden: Callable[[str], Case]) -> None:
    case = golden("render_spatial_random")
    for row in case["cases"]:
        count, scale, seed = int(row[0]), float(row[1]), int(row[2])
        kept = np.flatnonzero(random_points(count, scale, replay(seed)))
        case.expect(f"keep_N{count}_scale{scale:g}_seed{seed}", kept)


def test_temporal_sparsity_keeps_the_reference_frames(golden: Callable[[str], Case]) -> None:
    case = golden("render_temporal")
    for frame_count in case["frame_counts"].tolist():
        for scale in case["frame_scales"].tolist():
            case.expect(f"frames_T{frame_count}_scale{scale:g}", kept_frames(frame_count, scale))
    tracks, every_point = case["tracks"], np.ones(case["tracks"].shape[1], bool)
    seg_ids = segment_ids(tracks[0], case["masks"])
    case.expect("seg_ids", seg_ids)
    colors = id_colors(seg_ids, case.number("num_segments"))
    for scale in case["scales"].tolist():
        visible = sparsify(case["visibility"], kept_frames(len(tracks), scale), every_point)
        video = draw_tracks(tracks, visible, colors, case.number("rect_size"), *case.raster)
        case.expect(f"id_video_{scale:g}", video)


def test_foreground_and_region_sparsity_choose_the_reference_masks(golden: Callable[[str], Case]) -> None:
    case = golden("render_foreground")
    masks = case["masks"]
    scores = [foreground_score(mask) for mask in masks]
    np.testing.assert_allclose([(s.score, s.area) for s in scores], case["scores"], rtol=0, atol=1e-12)
    best = foreground_mask(masks)
    case.expect("best_index", best)
    np.testing.assert_allclose(scores[best].area, case["best_area"], rtol=0, atol=1e-12)
    alone = case.number("single_mask_index")
    assert foreground_mask(masks[alone : alone + 1]) == 0
    np.testing.assert_allclose(scores[alone].area, case["single_mask_area"], rtol=0, atol=1e-12)
    seg_ids = segment_ids(case["points"], masks)
    case.expect("seg_ids", seg_ids)
    for ratio in case["ratios"].tolist():
        case.expect(f"region_keep_{ratio:g}", foreground_region(seg_ids, masks, ratio))


def test_dilated_mask_holds_the_reference_points(golden: Callable[[str], Case]) -> None:
    case = golden("render_dilate")
    for box in (7, 10):
        case.expect(f"inside_{box}", inside_dilated(case["points"], case["mask"], box))


def test_scaling_about_a_track_moves_the_others_as_in_the_reference(golden: Callable[[str], Case]) -> None:
    case = golden("render_shift")
    for index, (axis, reference, scale) in enumerate(
        zip(case["axis"].tolist(), case["reference_index"].tolist(), case["scale_xy"].tolist(), strict=True)
    ):
        on_x, on_y = AXES[axis].value
        assert (scale[0] != 1) <= on_x and (scale[1] != 1) <= on_y
        moved = scale_about_track(case["tracks"], case["inside"], reference, tuple(scale))
        np.testing.assert_allclose(moved, case[f"out_{index}"], rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", names("render_unaligned_scale*"))
def test_large_foreground_is_scaled_as_in_the_reference(golden: Callable[[str], Case], name: str) -> None:
    case = golden(name)
    tracks, masks = case["tracks"], case["masks"]
    axis = AXES[case.number("axis")]
    recorded = case["shift_scale"]
    scale = tuple(recorded.tolist()) if recorded.ndim else recorded.item()
    count = case.number("num_segments")
    choice = draw_misalignment(tracks, masks, scale, replay(case.number("numpy_seed"), count, axis))
    assert isinstance(choice, ForegroundScaling)
    case.expect("inside", choice.inside)
    case.expect("reference_index", choice.reference)
    case.expect("kept_background", choice.background)
    moved, visible = choice.apply(tracks, case["visibility"])
    np.testing.assert_allclose(moved, case["tracks_out"], rtol=0, atol=1e-3)
    case.expect("visibility_out", visible)
    colors = id_colors(segment_ids(tracks[0], masks), count)
    case.expect("id_colors", colors)
    size = case.number("rect_size")
    case.expect("id_video", draw_tracks(moved, visible, colors, size, *case.raster))
    case.expect("id_video", draw_tracks(case["tracks_out"], visible, colors, size, *case.raster))


@pytest.mark.parametrize("name", names("render_unaligned_translate*"))
def test_small_foreground_shifts_the_whole_clip(golden: Callable[[str], Case], name: str) -> None:
    case = golden(name)
    tracks, masks, count = case["tracks"], case["masks"], case.number("num_segments")
    generator = replay(case.number("numpy_seed"), count)
    choice = draw_misalignment(tracks, masks, case.number("shift_scale"), generator)
    assert isinstance(choice, HorizontalShift)
    case.expect("dx", choice.dx)
    moved, visible = choice.apply(tracks, case["visibility"])
    np.testing.assert_allclose(moved, case["tracks_out"], rtol=0, atol=1e-3)
    case.expect("visibility_out", visible)
    colors = id_colors(segment_ids(tracks[0], masks), count)
    case.expect("id_colors", colors)
    case.expect("id_video", draw_tracks(moved, visible, colors, case.number("rect_size"), *case.raster))


def test_actor_takes_the_place_of_another(golden: Callable[[str], Case]) -> None:
    case = golden("render_bbox")
    for index in range(4):
        target, moving = case[f"target_{index}"], case[f"moving_{index}"]
        shift = centering_shift(target, moving)
        case.expect(f"valid_{index}", shift is not None)
        case.expect(f"delta_{index}", (0, 0) if shift is None else (shift.dx, shift.dy))
        case.expect(f"moved_{index}", moving if shift is None else move_picture(moving, shift))
    for index in range(3):
        shift = PixelShift(*case[f"video_delta_{index}"].tolist())
        video, masks = move_actor(case["video_canvas"], case["video_mask"][:, 0], shift)
        case.expect(f"video_canvas_{index}", video)
        case.expect(f"video_mask_{index}", masks[:, None])


def test_synthetic_clip_composes_as_in_the_reference(golden: Callable[[str], Case]) -> None:
    case = golden("render_synthetic")
    tracks, visible = case["tracks"], case["visibility"]
    character, canvas = case["character"], case["character_id_video"]
    case.expect("rect_size", HALF_WIDTH)
    assert case.raster == canvas.shape[1:3]
    seed = case.number("numpy_seed")

    def expect_videos(kind: str, video: NDArray[np.uint8]) -> None:
        case.expect(f"{kind}_id_video", video)
        color = copy_painted_pixels(case["frames"], video, SYNTHETIC_RED_THRESHOLD)
        case.expect(f"{kind}_color_video", color)

    expect_videos("direct", canvas)
    fraction = background_fraction(tracks.shape[1])
    background = background_tracks(tracks, visible, character[0], fraction, replay(seed, 1))
    case.expect("aligned_tracks", background.tracks)
    case.expect("aligned_visibility", background.visible)
    case.expect("aligned_colors", background.colors)
    aligned = stamp_over(canvas, background)
    expect_videos("aligned", aligned)
    frames = kept_frames(len(tracks), case.number("temporal_scale"))
    expect_videos("temporal", blank_other_frames(aligned, frames))
    kept = keep_parts(canvas, case["small_masks"], case["dropout_keep"])
    expect_videos("dropout", stamp_over(kept, background))

    shift = centering_shift(character[0], case["other_character"][0])
    assert shift is not None
    case.expect("unaligned_delta", (shift.dx, shift.dy))
    moved, masks = move_actor(case["other_id_video"], case["other_character"], shift)
    both = character[0] | masks[0]
    background = background_tracks(tracks, visible, both, 0.01, replay(seed, 1))
    case.expect("unaligned_tracks", background.tracks)
    case.expect("unaligned_visibility", background.visible)
    case.expect("unaligned_colors", background.colors)
    expect_videos("unaligned", stamp_under(moved, masks, background))


def test_pose_is_merged_with_the_background_as_in_the_reference(golden: Callable[[str], Case]) -> None:
    case = golden("render_pose")
    person = np.zeros(case.raster, bool)
    top, bottom, left, right = case["person_mask_box"].tolist()
    person[top:bottom, left:right] = True
    case.expect("rect_size", HALF_WIDTH)
    case.expect("num_keypoints", case["keypoints"].shape[1])
    generator = replay(case.number("numpy_seed"))
    merged = pose_tracks(case["keypoints"], case["tracks"], case["visibility"], person, generator)
    np.testing.assert_allclose(merged.tracks, case["merged_tracks"], rtol=0, atol=1e-6)
    case.expect("merged_visibility", merged.visible)
    case.expect("id_colors", merged.colors)
