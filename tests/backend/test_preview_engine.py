"""The preview engine on small shots whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import cv2
import ellipsoid_shots as shots
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from blender_addon.core.camera_track import Projection
from blender_addon.core.errors import FlexTrajError
from blender_addon.core.request import FitMode, RenderRequest
from blender_addon.core.trajectories import Segment, TrajectorySet
from flextraj_backend.engines.base import (
    Cancelled,
    ConditioningVideos,
    EngineError,
    EngineInputs,
    EngineOutput,
    Progress,
)
from flextraj_backend.engines.preview import engine as preview
from flextraj_backend.engines.preview.engine import PreviewEngine
from flextraj_backend.fitting.motion_fit import fit_motion

REQUEST = RenderRequest("0" * 64, "0" * 64)
NOTHING = ConditioningVideos(np.zeros((1, 2, 2, 3), np.uint8), np.zeros((1, 2, 2, 3), np.uint8))
TURN = shots.moving((0, 0, 4), (0.4, 0.1, 4), degrees=40)
LIFT = shots.moving((0, 0.45, 4), (0, -0.25, 4))


def inputs_of(
    trajectories: TrajectorySet,
    photo: NDArray[np.uint8],
    mask: NDArray[np.bool_] | None,
    fit: NDArray[np.float64] | None = None,
) -> EngineInputs:
    return EngineInputs(
        REQUEST, trajectories, photo, np.eye(2, 3) if fit is None else fit, NOTHING, mask, mask
    )


def run(inputs: EngineInputs) -> EngineOutput:
    return PreviewEngine().render(inputs, lambda _: None, lambda: False)


def render(shot: shots.Shot) -> EngineOutput:
    return run(inputs_of(shot.trajectories, shot.photo, shot.mask))


def is_subject(frame: NDArray[np.uint8], channel: int = 0) -> NDArray[np.bool_]:
    """Pixels nearer to the first ellipsoid's colour than to the bright backdrop."""
    others = [c for c in range(3) if c != channel]
    return frame[..., others].max(axis=-1) < 135


def overlap(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    return float((first & second).sum() / (first | second).sum())


def test_the_video_starts_with_the_photo_itself():
    shot = shots.shot([TURN])
    output = render(shot)
    assert output.frames.shape == (5, shots.HEIGHT, shots.WIDTH, 3)
    assert np.array_equal(output.frames[0], shot.photo)


def test_a_still_rig_leaves_the_photo_as_it_is():
    shot = shots.shot([shots.moving((0, 0, 4), (0, 0, 4))], frames=6)
    output = render(shot)
    difference = np.abs(output.frames[1:].astype(int) - shot.photo)
    assert np.abs(difference).mean() < 1.5
    inner = cv2.erode(shot.mask.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    assert difference[:, inner].mean() < 3


def test_the_same_job_gives_the_same_bytes_for_any_number_of_threads(monkeypatch: pytest.MonkeyPatch):
    shot = shots.shot([TURN])
    first = render(shot)
    monkeypatch.setattr(preview, "MAX_THREADS", 1)
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        second = render(shot)
    finally:
        cv2.setNumThreads(threads)
    assert np.array_equal(first.frames, second.frames)
    assert first.warnings == second.warnings


def test_the_subject_covers_what_the_turning_rig_covers():
    shot = shots.shot([TURN], frames=7)
    output = render(shot)
    overlaps = [
        overlap(is_subject(frame), true[0]) for frame, true in zip(output.frames, shot.truth, strict=True)
    ]
    assert np.mean(overlaps) > 0.93
    assert min(overlaps) > 0.89


def test_the_photo_moves_with_the_rig_to_the_pixel():
    shot = shots.shot([shots.moving((-0.2, 0, 4), (0.2, 0, 4))], frames=6, bend=0.01)
    output = render(shot)
    shift = round(0.4 / 4 * shots.FOCAL)
    moved = np.roll(shot.photo, shift, axis=1)
    inner = cv2.erode(shot.truth[-1, 0].astype(np.uint8), np.ones((13, 13), np.uint8)) > 0
    difference = np.abs(output.frames[-1].astype(int) - moved)[inner]
    assert difference.mean() < 6
    unmoved = np.abs(output.frames[-1].astype(int) - shot.photo)[inner]
    assert difference.mean() < unmoved.mean() / 3


def test_the_place_where_the_subject_stood_shows_background():
    shot = shots.shot([shots.moving((-0.7, 0, 4), (0.7, 0, 4))], frames=6)
    output = render(shot)
    left = shot.truth[0, 0] & ~cv2.dilate(shot.truth[-1, 0].astype(np.uint8), np.ones((9, 9))).astype(bool)
    difference = np.abs(output.frames[-1][left].astype(int) - shots.backdrop()[left])
    assert difference.mean() < 12


def test_of_two_crossing_subjects_the_nearer_one_stays_on_top():
    near, far = shots.moving((-0.6, 0, 3.2), (0.0, 0, 3.2)), shots.moving((0.9, 0, 5), (0.0, 0, 5))
    shot = shots.shot([near, far], frames=6, radii=(0.35, 0.8, 0.3))
    last = render(shot).frames[-1].astype(int)
    near_inside = cv2.erode(shot.truth[-1, 0].astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    assert (last[near_inside][:, 0] > last[near_inside][:, 2]).mean() > 0.98
    behind = shot.truth[-1, 1] & ~cv2.dilate(shot.truth[-1, 0].astype(np.uint8), np.ones((7, 7))).astype(bool)
    if behind.any():
        assert (last[behind][:, 2] > last[behind][:, 0]).mean() > 0.9


def test_hair_beside_a_bare_rig_moves_along_with_the_nearest_part():
    shot = shots.shot([shots.moving((-0.3, 0.1, 4), (0.3, 0.1, 4))], frames=6)
    hair = cv2.dilate(shot.mask.astype(np.uint8), np.ones((15, 15), np.uint8)) > 0
    photo = shot.photo.copy()
    photo[hair & ~shot.mask] = (40, 30, 20)
    frames = run(inputs_of(shot.trajectories, photo, hair)).frames
    moved = np.roll(hair, round(0.6 / 4 * shots.FOCAL), axis=1)
    assert overlap(is_subject(frames[-1]), moved) > 0.9


def test_a_subject_cut_by_the_frame_leaves_no_gap_when_it_rises():
    shot = shots.shot([LIFT], frames=6, radii=(0.6, 1.0, 0.45))
    assert shot.mask[-1].sum() > 20
    frames = render(shot).frames
    columns = slice(shots.WIDTH // 2 - 8, shots.WIDTH // 2 + 8)
    assert is_subject(frames[-1])[-12:, columns].mean() > 0.95


def test_a_blockout_box_carries_its_part_of_the_photo():
    shot = shots.shot([shots.moving((-0.3, 0, 4), (0.3, 0, 4))], frames=6, bend=0.0)
    frames = render(shot).frames
    assert overlap(is_subject(frames[-1]), shot.truth[-1, 0]) > 0.9


def test_connected_blockout_boxes_stay_connected():
    head = shots.moving((0, -0.55, 4), (0.15, -0.55, 4))
    torso = shots.moving((0, 0.35, 4), (0, 0.35, 4))
    shot = shots.shot([head, torso], frames=6, radii=(0.45, 0.5, 0.4), groups=(0, 0), bend=0.0)
    frames = render(shot).frames
    count, _, stats, _ = cv2.connectedComponentsWithStats(
        (np.abs(frames[-1].astype(int) - shots.backdrop()).sum(axis=-1) > 120).astype(np.uint8)
    )
    assert sorted(stats[1:count, cv2.CC_STAT_AREA])[-1] > 0.95 * stats[1:count, cv2.CC_STAT_AREA].sum()


def test_the_label_says_whether_rig_and_photo_line_up():
    shot = shots.shot([TURN], frames=2)
    assert render(shot).label == "draft"
    unaligned = replace(shot.trajectories, meta=replace(shot.trajectories.meta, aligned=False))
    assert run(inputs_of(unaligned, shot.photo, shot.mask)).label == "motion draft"


def test_a_set_without_a_camera_renders_and_says_that_the_focal_length_was_guessed():
    shot = shots.shot([TURN], frames=3)
    blind = replace(shot.trajectories, meta=replace(shot.trajectories.meta, camera=None))
    output = run(inputs_of(blind, shot.photo, shot.mask))
    assert any("focal length was guessed" in warning for warning in output.warnings)
    assert overlap(is_subject(output.frames[-1]), shot.truth[-1, 0]) > 0.85


def test_an_orthographic_camera_renders():
    shot = shots.shot([shots.moving((-0.3, 0, 4), (0.3, 0, 4))], frames=4)
    camera = replace(shots.still_camera(4, Projection.ORTHOGRAPHIC), focal=np.full((4, 2), shots.FOCAL / 4))
    flat = replace(shot.trajectories, meta=replace(shot.trajectories.meta, camera=camera))
    assert (
        overlap(is_subject(run(inputs_of(flat, shot.photo, shot.mask)).frames[-1]), shot.truth[-1, 0]) > 0.9
    )


def test_the_background_moves_with_its_points():
    frames, count, shift = 4, 80, 12.0
    rng = np.random.default_rng(1)
    start = np.concatenate([rng.uniform([10, 10], [140, 110], (count, 2)), np.full((count, 1), 5.0)], axis=1)
    motion = np.linspace([0, 0, 0], [shift, 0, 0], frames)
    base = shots.shot([TURN], frames=frames, points=count).trajectories
    ground = replace(
        base,
        positions=(start + motion[:, None]).astype(np.float32),
        visible=np.ones((frames, count), bool),
        silhouette=None,
        meta=replace(base.meta, segments=(replace(base.meta.segments[0], background=True),)),
    )
    photo = cv2.GaussianBlur(rng.integers(0, 255, (shots.HEIGHT, shots.WIDTH, 3)).astype(np.uint8), (0, 0), 3)
    photo = photo.astype(np.uint8)
    output = run(inputs_of(ground, photo, None))
    moved = np.roll(photo, int(shift), axis=1)[:, int(shift) + 4 : -4]
    assert np.abs(output.frames[-1][:, int(shift) + 4 : -4].astype(int) - moved).mean() < 2


def test_progress_names_its_phases_and_never_runs_backwards():
    shot = shots.shot([TURN], frames=4)
    seen: list[Progress] = []
    PreviewEngine().render(inputs_of(shot.trajectories, shot.photo, shot.mask), seen.append, lambda: False)
    assert list(dict.fromkeys(p.phase for p in seen)) == ["fitting", "background", "rendering"]
    for phase in ("fitting", "background", "rendering"):
        steps = [p.step for p in seen if p.phase == phase]
        assert steps == sorted(steps)
    assert all(0 <= p.step <= p.steps for p in seen)


@pytest.mark.parametrize("checks", [0, 3, 8, 16])
def test_cancel_stops_the_job_at_the_next_check(checks: int):
    shot = shots.shot([TURN], frames=12)
    asked = 0

    def cancelled() -> bool:
        nonlocal asked
        asked += 1
        return asked > checks

    with pytest.raises(Cancelled):
        PreviewEngine().render(inputs_of(shot.trajectories, shot.photo, shot.mask), lambda _: None, cancelled)
    assert asked == checks + 1


def _wrong(kind: str) -> EngineInputs:
    shot = shots.shot([TURN], frames=2)
    trajectories, photo, mask = shot.trajectories, shot.photo, shot.mask
    if kind == "photo size":
        return inputs_of(trajectories, photo[:-10], mask)
    if kind == "mask size":
        return inputs_of(trajectories, photo, mask[:, :-10])
    if kind == "empty mask":
        return inputs_of(trajectories, photo, np.zeros_like(mask))
    if kind == "nothing visible":
        return inputs_of(replace(trajectories, visible=np.zeros_like(trajectories.visible)), photo, mask)
    if kind == "fit outside":
        return inputs_of(trajectories, photo, mask, np.array([[1.0, 0, 5000], [0, 1.0, 0]]))
    if kind == "behind the camera":
        positions = trajectories.positions.copy()
        positions[1, :, 2] = -1
        return inputs_of(replace(trajectories, positions=positions), photo, mask)
    if kind == "fit flat":
        return inputs_of(trajectories, photo, mask, np.zeros((2, 3)))
    raise AssertionError(kind)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("photo size", "The photo has shape (110, 160, 3), but the shot is 160x120 px"),
        ("mask size", "The subject mask is 150x120 px, but the photo is 160x120"),
        ("empty mask", "The subject mask is empty: paint the subject white."),
        ("nothing visible", "No trajectory point is visible on the first frame"),
        ("fit outside", "The fitted motion lies outside the photo"),
        ("fit flat", "cannot be inverted"),
        ("behind the camera", "Every point of the subject passes behind the camera"),
    ],
)
def test_bad_input_gets_a_sentence_that_says_what_to_do(kind: str, sentence: str):
    with pytest.raises(EngineError) as caught:
        run(_wrong(kind))
    assert sentence in caught.value.message
    assert caught.value.message.endswith(".")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_strange_trajectories_give_a_video_or_a_sentence(data: st.DataObject):
    frames, count = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 12))
    rng = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    spread = data.draw(st.sampled_from([0.0, 5.0, 100.0, 1e4, 1e12]))
    segments = data.draw(st.integers(1, 3))
    positions = rng.normal(20, spread + 1e-3, (frames, count, 3))
    positions[..., 2] = np.abs(positions[..., 2]) * data.draw(st.sampled_from([1e-6, 1.0, 1e6]))
    meta = shots.shot([TURN], frames=frames).trajectories.meta
    strange = TrajectorySet(
        positions=positions.astype(np.float32),
        visible=rng.random((frames, count)) < data.draw(st.sampled_from([0.1, 0.6, 1.0])),
        seg_id=rng.integers(0, segments, count).astype(np.uint16),
        traj_id=np.arange(count, dtype=np.uint16),
        silhouette=rng.random((segments, 48, 64)) < 0.3 if data.draw(st.booleans()) else None,
        meta=replace(
            meta,
            width=64,
            height=48,
            segments=tuple(
                Segment(i, f"Part {i}", group=i % 2, background=data.draw(st.booleans()))
                for i in range(segments)
            ),
            camera=data.draw(st.sampled_from([None, meta.camera])),
            aligned=data.draw(st.booleans()),
        ),
    )
    photo = rng.integers(0, 256, (48, 64, 3)).astype(np.uint8)
    mask = rng.random((48, 64)) < 0.4 if data.draw(st.booleans()) else None
    try:
        placed = fit_motion(strange, photo, mask, REQUEST)
        inputs = EngineInputs(REQUEST, strange, photo, placed.matrix, NOTHING, mask, placed.subject_mask)
        with np.errstate(over="ignore"):
            output = run(inputs)
    except FlexTrajError as error:
        assert error.message.endswith(".")
        return
    assert output.frames.shape == (frames, 48, 64, 3)
    assert np.array_equal(output.frames[0], photo)


def test_a_motion_beside_the_subject_is_refused_because_the_preview_cannot_carry_it_over():
    shot = shots.shot([TURN], frames=2)
    unaligned = replace(shot.trajectories, meta=replace(shot.trajectories.meta, aligned=False))
    elsewhere = np.zeros_like(shot.mask)
    elsewhere[:8, :8] = True
    inputs = inputs_of(unaligned, shot.photo, elsewhere)
    inputs = replace(inputs, request=replace(REQUEST, fit=FitMode.NONE))
    with pytest.raises(EngineError, match="cannot carry the motion over by itself"):
        run(inputs)
    output = run(replace(inputs, mask=shot.mask, subject_mask=shot.mask))
    assert len(output.frames) == 2


def test_a_size_or_length_that_cannot_be_made_is_refused_before_any_work():
    shot = shots.shot([TURN], frames=2)
    meta = shot.trajectories.meta
    odd = replace(shot.trajectories, silhouette=None, meta=replace(meta, width=161))
    huge = replace(shot.trajectories, silhouette=None, meta=replace(meta, width=4000))
    long = shot.trajectories.select_frames(np.zeros(1001, int))
    for wrong, words in ((odd, "even width"), (huge, "2048"), (long, "at most 1000 frames")):
        with pytest.raises(EngineError, match=words):
            PreviewEngine().prepare(REQUEST, wrong)


def test_the_estimate_grows_with_the_work():
    shot = shots.shot([TURN], frames=8)
    short = PreviewEngine().prepare(REQUEST, shot.trajectories.select_frames(np.arange(2)))
    long = PreviewEngine().prepare(REQUEST, shot.trajectories)
    assert 0 < short.seconds < long.seconds
    assert short.memory_bytes < long.memory_bytes


def test_sparse_control_is_not_pretended_to_change_the_draft() -> None:
    shot = shots.shot([TURN], frames=3)
    inputs = inputs_of(shot.trajectories, shot.photo, shot.mask)
    sparse = run(replace(inputs, request=replace(REQUEST, keep_points=0.1)))
    assert any("follows every point" in warning for warning in sparse.warnings)
    np.testing.assert_array_equal(sparse.frames, run(inputs).frames)
