"""Metrics of generated videos: known motions get known figures, nobody wins by standing still or hiding."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blender_addon.core.errors import FlexTrajError
from blender_addon.core.trajectory_file import write_trajectories
from flextraj_backend import cli
from flextraj_backend.bench.moving_textures import TexturedClip, blurred, textured_clip
from flextraj_backend.evaluation.consistency import consistency
from flextraj_backend.evaluation.frechet import frechet_distance
from flextraj_backend.evaluation.mask_iou import mask_iou
from flextraj_backend.evaluation.placement_file import Placement, place, read_placement
from flextraj_backend.evaluation.point_tracking import TrackedPoints, track_points
from flextraj_backend.evaluation.report import as_document, at_raster, evaluate_clip, evaluate_video
from flextraj_backend.evaluation.traj_err import trajectory_error
from flextraj_backend.evaluation.traj_sim import compare_objects, trajectory_similarity
from flextraj_backend.evaluation.video_features import video_features
from flextraj_backend.synthesis.clip import ClipRecord, SyntheticClip
from flextraj_backend.video_io import write_video


@pytest.fixture(scope="module")
def clips() -> list[TexturedClip]:
    return [textured_clip(np.random.default_rng(seed)) for seed in range(3)]


def still(frames: np.ndarray) -> np.ndarray:
    return np.repeat(frames[:1], len(frames), axis=0)


def seen(tracks: np.ndarray) -> np.ndarray:
    return np.ones(tracks.shape[:2], dtype=np.bool_)


def test_points_of_small_and_blurred_videos_are_followed(clips: list[TexturedClip]) -> None:
    for clip in clips:
        exact = clip.trajectories
        always = exact.select_points(exact.visible.all(axis=0))
        target = always.positions[..., :2]
        for frames in (clip.frames, blurred(clip.frames, 1.0)):
            tracks = track_points(frames, target[0])
            error = np.linalg.norm(tracks.positions - target, axis=2)
            assert tracks.tracked.mean() > 0.85
            assert np.median(error[tracks.tracked]) < 0.3


def test_a_video_that_is_softer_than_its_photo_is_not_taken_for_one_that_moves_wrong(
    clips: list[TexturedClip],
) -> None:
    for clip in clips:
        soft = np.concatenate([clip.frames[:1], blurred(clip.frames, 1.5)[1:]])
        errors = []
        for frames in (clip.frames, soft, still(clip.frames)):
            tracks = track_points(frames, clip.trajectories.positions[0, :, :2])
            target, visible = clip.trajectories.positions[..., :2], clip.trajectories.visible
            meta = clip.trajectories.meta
            errors.append(trajectory_error(tracks, target, visible, meta.width, meta.height).mean)
        exact, softened, unmoved = errors
        assert softened < exact + 0.25 * (unmoved - exact)


def test_a_points_track_does_not_depend_on_the_other_points(clips: list[TexturedClip]) -> None:
    queries = clips[0].trajectories.positions[0, :, :2]
    together = track_points(clips[0].frames, queries)
    alone = track_points(clips[0].frames, queries[:7])
    np.testing.assert_allclose(alone.positions, together.positions[:, :7], atol=1e-3)


def test_a_point_that_leaves_the_picture_is_lost_and_keeps_its_place() -> None:
    texture = np.random.default_rng(0).integers(0, 255, (48, 200, 3), dtype=np.uint8)
    texture = blurred(texture[None], 2.0)[0]
    frames = np.stack([texture[:, 5 * t : 5 * t + 72] for t in range(9)])  # everything moves 5 px to the left
    tracks = track_points(frames, np.array([[17.0, 24.0], [60.0, 24.0]]))
    assert tracks.tracked[3, 0]
    assert not tracks.tracked[4:, 0].any()
    assert tracks.tracked[:, 1].all()
    np.testing.assert_allclose(tracks.positions[8, 1], (20, 24), atol=0.3)
    np.testing.assert_array_equal(tracks.positions[8, 0], tracks.positions[4, 0])


def test_queries_of_another_shape_are_refused(clips: list[TexturedClip]) -> None:
    with pytest.raises(FlexTrajError):
        track_points(clips[0].frames, np.zeros((3, 3)))
    with pytest.raises(FlexTrajError):
        track_points(clips[0].frames[..., :2], np.zeros((3, 2)))


def test_traj_err_is_the_distance_in_shares_of_the_sides() -> None:
    target = np.zeros((3, 2, 2)) + 50
    moved = target.copy()
    moved[1:, 0] += (3, 0)  # 3 % of a width of 100
    moved[1:, 1] += (0, 1)  # 2 % of a height of 50
    score = trajectory_error(
        TrackedPoints(moved.astype(np.float32), seen(moved)), target, seen(moved), 100, 50
    )
    assert score.mean == pytest.approx(0.025)
    assert (score.pck_1, score.pck_5) == (0, 1)
    assert (score.points, score.samples, score.lost) == (2, 4, 0)


def test_losing_points_does_not_make_a_video_better() -> None:
    target = np.zeros((4, 1, 2)) + np.arange(4)[:, None, None] * 10
    held = np.zeros((4, 1, 2), dtype=np.float32)
    tracked = seen(held)
    tracked[1:] = False
    score = trajectory_error(TrackedPoints(held, tracked), target, seen(held), 100, 100)
    assert score.lost == 1
    assert score.mean == pytest.approx(np.sqrt(2) * 0.2)
    assert np.isnan(score.mean_tracked)


def test_samples_that_are_hidden_or_in_the_first_frame_do_not_count() -> None:
    target = np.zeros((3, 2, 2))
    scored = np.array([[True, True], [True, False], [False, False]])
    tracks = TrackedPoints(np.ones((3, 2, 2), np.float32), seen(target))
    assert trajectory_error(tracks, target, scored, 1, 1).samples == 1
    assert np.isnan(trajectory_error(tracks, target, np.zeros_like(scored), 1, 1).mean)
    with pytest.raises(FlexTrajError):
        trajectory_error(tracks, target[:2], scored, 1, 1)


def wave(rng: np.random.Generator, points: int = 300) -> np.ndarray:
    """(T, N, 2): a body that walks to the right while its upper part swings."""
    start = rng.uniform((0, 0), (20, 40), (points, 2))
    time = np.arange(12)[:, None]
    swing = 6 * np.sin(time * 0.9) * (1 - start[:, 1] / 40)
    return np.stack([start[:, 0] + 1.5 * time + swing, start[:, 1] + 2 * np.cos(time) - 2], axis=-1)


@given(st.integers(0, 1000), st.floats(0.3, 3), st.floats(-200, 200), st.floats(-200, 200))
@settings(max_examples=20, deadline=None)
def test_the_same_motion_elsewhere_and_at_another_size_is_fully_similar(
    seed: int, scale: float, x: float, y: float
) -> None:
    motion = wave(np.random.default_rng(seed))
    moved = motion * scale + (x, y)
    score = compare_objects(1, (motion, seen(motion)), (moved, seen(moved)))
    assert score.similarity == pytest.approx(1)
    assert score.local == pytest.approx(1)
    assert score.speed == pytest.approx(1)


def test_other_points_of_the_same_motion_are_similar() -> None:
    one, other = wave(np.random.default_rng(1), 300), wave(np.random.default_rng(2), 150)
    assert compare_objects(1, (one, seen(one)), (other, seen(other))).similarity > 0.98


def test_a_turning_body_is_similar_to_a_larger_one_that_turns() -> None:
    start = np.random.default_rng(0).uniform(-10, 10, (400, 2))
    turned = np.stack(
        [start @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) for a in np.arange(9) * 0.1]
    )
    larger = turned * 2 + 70
    score = compare_objects(1, (turned, seen(turned)), (larger, seen(larger)))
    assert score.similarity == pytest.approx(1)
    back = turned * (-1, 1)  # turns the other way
    assert compare_objects(1, (turned, seen(turned)), (back, seen(back))).similarity < 0


def test_opposite_shuffled_and_missing_motion_is_not_similar() -> None:
    motion = wave(np.random.default_rng(3))
    opposite = 2 * motion[:1] - motion
    score = compare_objects(1, (motion, seen(motion)), (opposite, seen(opposite)))
    assert score.similarity == pytest.approx(-1)
    order = np.r_[0, np.random.default_rng(0).permutation(np.arange(1, 12))]
    sway = motion - 1.5 * np.arange(12)[:, None, None] * (1, 0)
    shuffled = sway[order]
    assert compare_objects(1, (sway, seen(sway)), (shuffled, seen(sway))).similarity < 0.7
    frozen = np.repeat(motion[:1], 12, axis=0)
    assert compare_objects(1, (frozen, seen(motion)), (motion, seen(motion))).similarity == 0
    assert compare_objects(1, (frozen, seen(motion)), (frozen, seen(motion))).similarity == 1


def test_objects_are_matched_by_their_id(clips: list[TexturedClip]) -> None:
    driving = clips[0].trajectories
    tracks = TrackedPoints(driving.positions[..., :2].copy(), driving.visible.copy())
    ids = driving.seg_id + 1
    right = trajectory_similarity(tracks, ids, driving)
    assert right.similarity == pytest.approx(1, abs=1e-6)
    assert len(right.objects) == 2  # the background is none of the objects
    swapped = np.choose(driving.seg_id, (2, 1, 3))
    assert trajectory_similarity(tracks, swapped, driving).similarity < 0.9
    with pytest.raises(FlexTrajError, match="SegID"):
        trajectory_similarity(tracks, ids + 40, driving)


@given(st.integers(0, 100), st.integers(2, 30), st.integers(2, 30), st.integers(1, 12))
@settings(max_examples=25, deadline=None)
def test_the_frechet_distance_is_symmetric_and_zero_for_the_same_set(
    seed: int, n: int, m: int, d: int
) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(n, d)), rng.normal(2, 3, size=(m, d))
    there, back = frechet_distance(a, b), frechet_distance(b, a)
    assert there.distance == pytest.approx(back.distance, rel=1e-9, abs=1e-9)
    assert frechet_distance(a, a).distance == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, a + 2).distance == pytest.approx(4 * d)
    assert there.rank_deficient == (min(n, m) <= d)


def test_the_frechet_distance_agrees_with_the_matrix_root() -> None:
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6)), rng.normal(size=(150, 6)) * 2 + 1
    root = np.trace(np.real(np.asarray(sqrtm(np.cov(a.T) @ np.cov(b.T)))))
    wanted = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T)) + np.trace(np.cov(b.T)) - 2 * root
    assert frechet_distance(a, b).distance == pytest.approx(wanted, rel=1e-6)


def test_a_distance_of_one_video_is_refused() -> None:
    with pytest.raises(FlexTrajError, match="two videos"):
        frechet_distance(np.zeros((1, 4)), np.zeros((5, 4)))


def test_features_tell_a_still_from_its_motion(clips: list[TexturedClip]) -> None:
    moving = video_features(clips[0].frames)
    assert np.linalg.norm(moving - video_features(still(clips[0].frames))) > 1e-2
    assert np.isfinite(video_features(clips[0].frames[:2])).all()
    np.testing.assert_array_equal(moving, video_features(clips[0].frames))


def test_consistency_never_stands_without_the_motion(clips: list[TexturedClip]) -> None:
    frozen, moving = consistency(still(clips[0].frames)), consistency(clips[0].frames)
    assert frozen.cosine == pytest.approx(1)
    assert frozen.motion_magnitude < 1e-3 < 5e-3 < moving.motion_magnitude
    jumping = np.stack([clips[index % 3].frames[0] for index in range(9)])
    assert consistency(jumping).cosine < moving.cosine < 1


def test_masks_follow_the_right_video_better_than_a_still(clips: list[TexturedClip]) -> None:
    for clip in clips:
        right = mask_iou(clip.frames, clip.segments, (1, 2))
        assert right > 0.6
        assert right > mask_iou(still(clip.frames), clip.segments, (1, 2)) + 0.1


def test_the_asked_for_video_beats_a_still_and_another_video(clips: list[TexturedClip]) -> None:
    for clip, other in zip(clips, clips[1:] + clips[:1], strict=True):
        right, frozen, wrong = (
            evaluate_video(frames, clip.trajectories)
            for frames in (clip.frames, still(clip.frames), np.r_[clip.frames[:1], other.frames[1:]])
        )
        assert right.traj_err_subjects is not None and frozen.traj_err_subjects is not None
        assert wrong.traj_err_subjects is not None
        assert right.traj_sim is not None and frozen.traj_sim is not None
        assert 3 * right.traj_err_subjects.mean < frozen.traj_err_subjects.mean
        assert 3 * right.traj_err_subjects.mean < wrong.traj_err_subjects.mean
        assert right.traj_sim.similarity > 0.9 > 0.5 > frozen.traj_sim.similarity


def test_a_sparse_condition_is_scored_by_itself(clips: list[TexturedClip]) -> None:
    exact = clips[0].trajectories
    kept = np.zeros(exact.visible.shape, dtype=np.bool_)
    kept[4] = True
    scores = evaluate_video(clips[0].frames, exact, conditioned=kept)
    assert scores.traj_err_conditioned is not None
    assert scores.traj_err_conditioned.samples == (exact.visible[4] & exact.visible[0]).sum()


def test_a_synthetic_clip_gets_every_figure_as_json(clips: list[TexturedClip]) -> None:
    clip = clips[1]
    record = ClipRecord(0, "g", (), (), "static", "noise", "none", "raster", "test")
    whole = SyntheticClip("clip1", clip.frames, clip.trajectories, clip.segments, (), "", record)
    scores = evaluate_clip(clip.frames, whole)
    document = json.loads(json.dumps(as_document([scores]), allow_nan=False))
    assert document["videos"][0]["scores"]["reference_difference"] == 0
    assert document["mean"]["mask IoU"] > 0.5
    assert document["mean"]["conditioned"] is None


def test_trajectories_of_another_size_are_scaled_and_of_another_shape_refused(
    clips: list[TexturedClip],
) -> None:
    exact = clips[0].trajectories
    large = replace(
        exact,
        positions=exact.positions * np.array([10, 10, 1], np.float32),
        meta=replace(exact.meta, width=720, height=480),
    )
    np.testing.assert_allclose(at_raster(large, 72, 48).positions, exact.positions, rtol=1e-5)
    with pytest.raises(FlexTrajError, match="aspect ratio"):
        at_raster(exact, 48, 48)
    with pytest.raises(FlexTrajError, match="frames"):
        evaluate_video(clips[0].frames[:5], exact)


def test_a_fit_moves_the_points_as_the_render_did(clips: list[TexturedClip], tmp_path: Path) -> None:
    exact = clips[0].trajectories
    shift = [[1.0, 0.0, 3.0], [0.0, 1.0, -2.0]]
    turned = [[1.0, 0.0, 30.0], [0.0, 1.0, 0.0]]
    path = tmp_path / "sidecar.json"
    path.write_text(json.dumps({"fit": {"matrix": shift, "pinned": [{"group": 1, "matrix": turned}]}}))
    placed = place(exact, read_placement(path))
    moved = placed.positions[0] - exact.positions[0]
    np.testing.assert_allclose(moved[exact.seg_id == 0, 0], 3, atol=1e-4)
    np.testing.assert_allclose(moved[exact.seg_id == 0, 1], -2, atol=1e-4)
    np.testing.assert_allclose(moved[exact.seg_id == 1, 0], 30, atol=1e-4)
    outside = place(exact, Placement(np.array([[1.0, 0, 1000], [0, 1, 0]])))
    assert not outside.visible.any()
    path.write_text("[1, 2]")
    with pytest.raises(FlexTrajError, match="no fit"):
        read_placement(path)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.main(["evaluate", *arguments])
    return int(caught.value.code or 0)


def test_the_command_measures_a_video_and_a_folder(
    clips: list[TexturedClip], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index, clip in enumerate(clips[:2]):
        write_video(tmp_path / f"v{index}.mp4", clip.frames, 8, crf=8)
        write_trajectories(clip.trajectories, tmp_path / f"v{index}.npz")
    first, shot, figures = tmp_path / "v0.mp4", tmp_path / "v0.npz", tmp_path / "figures.json"
    assert run(str(first), "--trajectories", str(shot)) == 0
    assert run(str(tmp_path), "--reference", str(tmp_path), "--json", str(figures)) == 0
    output = capsys.readouterr().out
    assert "mean" in output and "no learned weights" in output
    document = json.loads(figures.read_text())
    assert len(document["videos"]) == 2
    assert document["frechet"]["rank_deficient"] is True
    assert document["frechet"]["distance"] == pytest.approx(0, abs=1e-6)


def test_mistakes_of_the_command_are_sentences(
    clips: list[TexturedClip], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = write_video(tmp_path / "v.mp4", clips[0].frames[:5], 8)
    shot = write_trajectories(clips[0].trajectories, tmp_path / "s.npz")
    for arguments, words in (
        ([str(video)], "--trajectories"),
        ([str(video), "--trajectories", str(shot)], "5 frames"),
        ([str(tmp_path)], "no video"),
        ([str(tmp_path / "none.mp4"), "--trajectories", str(shot)], "cannot be read"),
    ):
        assert run(*arguments) == 2
        assert words in capsys.readouterr().err
