"""Parts of the preview engine against exact answers."""

from __future__ import annotations

from dataclasses import replace

import ellipsoid_shots as shots
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flextraj_backend.engines.preview.background_fill import diffuse, fill_background
from flextraj_backend.engines.preview.background_motion import background_homographies, warp_background
from flextraj_backend.engines.preview.binding import ALIGNED, BLOCKOUT, UNALIGNED, BindingStyle, bind
from flextraj_backend.engines.preview.canvas import cut_out
from flextraj_backend.engines.preview.deformation import move_pixels, set_in_motion
from flextraj_backend.engines.preview.gradient_solve import grid_edges, smooth_vertex_motion
from flextraj_backend.engines.preview.neighbours import nearest
from flextraj_backend.engines.preview.rotations import limit_tilt, local_rotations
from flextraj_backend.engines.preview.splatting import EMPTY, fill_cracks, splat
from flextraj_backend.engines.preview.tracks import (
    SubjectTracks,
    affinity_graph,
    pair_strain,
    rigid_groups,
    subject_tracks,
)


def tracks_of(shot: shots.Shot) -> SubjectTracks:
    tracks = subject_tracks(shot.trajectories, np.random.default_rng(0))
    assert tracks is not None
    return tracks


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), points=st.integers(1, 60), count=st.integers(1, 12))
def test_nearest_neighbours_are_the_nearest_ones(seed: int, points: int, count: int):
    rng = np.random.default_rng(seed)
    queries, candidates = rng.normal(size=(17, 3)), rng.normal(size=(points, 3))
    indices, distances = nearest(queries, candidates, count)
    exact = np.sort(np.linalg.norm(queries[:, None] - candidates, axis=-1), axis=1)[:, :count]
    assert np.allclose(distances, exact, atol=1e-5)
    assert np.allclose(np.linalg.norm(queries[:, None] - candidates[indices], axis=-1), exact, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000))
def test_the_nearest_point_ends_on_top(seed: int):
    rng = np.random.default_rng(seed)
    targets = rng.uniform(-2, 9, (200, 2)).astype(np.float32)
    depth = rng.permutation(200).astype(np.float32)  # distinct, 0 is not in front of the camera
    image = splat(targets, depth, np.arange(200), 8, 6)
    for y in range(6):
        for x in range(8):
            here = np.flatnonzero((np.floor(targets) == [x, y]).all(axis=1) & (depth > 0))
            assert image[y, x] == (here[depth[here].argmin()] if here.size else EMPTY)


def test_cracks_between_splats_close_with_the_nearer_side():
    image = np.zeros((9, 9), np.int32)
    image[:, 5:] = 1
    image[:, 4] = EMPTY
    filled = fill_cracks(image, np.array([5.0, 2.0], np.float32))
    assert (filled[:, 4] == 1).all()
    assert (filled[:, :4] == 0).all()


def test_local_rotations_follow_a_turning_object_through_half_a_turn():
    shot = shots.shot([shots.moving((0, 0, 4), (0.3, 0, 4), degrees=170)], frames=12, bend=0.0)
    tracks = tracks_of(shot)
    rotations = local_rotations(tracks, affinity_graph(tracks))
    for frame in range(12):
        expected = shots.turn(170 * frame / 11)
        assert np.abs(rotations[frame] - expected).max() < 0.02


def test_limbs_that_move_apart_have_strain_and_a_rigid_body_has_none():
    apart = shots.shot(
        [shots.moving((-0.5, 0, 4), (-1.0, 0, 4)), shots.moving((0.5, 0, 4), (1.0, 0, 4))], bend=0
    )
    tracks = tracks_of(apart)
    first, second = np.array([0, 0]), np.array([1, 500])
    strain, rest = pair_strain(tracks, first, second)
    assert strain[0] < 1e-4
    assert strain[1] > 0.3
    assert np.allclose(rest, np.linalg.norm(tracks.points[0, first] - tracks.points[0, second], axis=1))


def test_boxes_count_as_blockout_and_bending_bodies_do_not():
    rng = np.random.default_rng(0)
    motion = shots.moving((0, 0, 4), (0.3, 0, 4), degrees=60)
    assert rigid_groups(tracks_of(shots.shot([motion], bend=0.0)), rng) == {0}
    assert rigid_groups(tracks_of(shots.shot([motion], bend=0.05)), rng) == frozenset()


@pytest.mark.parametrize("style", [ALIGNED, UNALIGNED, BLOCKOUT], ids=["aligned", "unaligned", "blockout"])
def test_every_pixel_of_a_rigid_subject_moves_rigidly(style: BindingStyle):
    shot = shots.shot([shots.moving((-0.2, 0, 4), (0.3, 0.1, 3.5), degrees=25)], frames=3, bend=0.0)
    tracks = tracks_of(shot)
    rotations = local_rotations(tracks, affinity_graph(tracks))
    picture = cut_out(shot.photo, shot.mask, 0, 0, 1)
    shell = bind(tracks, picture, np.eye(2, 3), style, 6, 2)
    assert shell is not None
    motion = move_pixels(set_in_motion(shell, tracks, rotations), tracks, rotations, np.eye(2, 3), 2)
    space = (shell.rest - [-0.2, 0, 4]) @ shots.turn(25).T + [0.3, 0.1, 3.5]
    exact = space[:, :2] / space[:, 2:] * shots.FOCAL + [shots.WIDTH / 2, shots.HEIGHT / 2]
    assert np.abs(motion.targets - exact).max() < 0.5


def test_the_gradient_solve_equals_a_dense_solve():
    head, torso = shots.moving((0, -0.5, 4), (0.2, -0.5, 4), 30), shots.moving((0, 0.4, 4), (0, 0.4, 4))
    shot = shots.shot([head, torso], frames=2, radii=(0.4, 0.5, 0.4), groups=(0, 0), bend=0.0)
    tracks = tracks_of(shot)
    shell = bind(tracks, cut_out(shot.photo, shot.mask, 0, 0, 1), np.eye(2, 3), BLOCKOUT, 8, 2)
    assert shell is not None
    count = len(shell.vertex_rest)
    rng = np.random.default_rng(0)
    positions = (shell.vertex_rest + rng.normal(0, 0.1, (1, count, 3))).astype(np.float32)
    turns = np.tile(shots.turn(20), (1, count, 1, 1)).astype(np.float32)
    solved = smooth_vertex_motion(shell, positions, turns)[0]
    matrix = np.eye(count) * BLOCKOUT.smoothing
    right = BLOCKOUT.smoothing * positions[0].astype(np.float64)
    for i, j in grid_edges(shell.grid.lookup):
        matrix[[i, j], [i, j]] += 1
        matrix[i, j] -= 1
        matrix[j, i] -= 1
        edge = shots.turn(20) @ (shell.vertex_rest[i] - shell.vertex_rest[j])
        right[i] += edge
        right[j] -= edge
    assert np.allclose(solved, np.linalg.solve(matrix, right), atol=1e-3)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 1000), holes=st.integers(1, 4))
def test_the_background_fill_leaves_pixels_outside_the_hole_untouched(seed: int, holes: int):
    rng = np.random.default_rng(seed)
    photo = rng.integers(0, 256, (48, 64, 3)).astype(np.uint8)
    hole = np.zeros((48, 64), bool)
    for _ in range(holes):
        y, x = rng.integers(0, 40), rng.integers(0, 54)
        hole[y : y + rng.integers(2, 20), x : x + rng.integers(2, 20)] = True
    filled = fill_background(photo, hole, 3.0, np.random.default_rng(0))
    assert np.array_equal(filled[~hole], photo[~hole])
    assert np.array_equal(filled, fill_background(photo, hole, 3.0, np.random.default_rng(0)))


def test_the_background_fill_continues_a_gradient_and_a_stripe():
    y, x = np.mgrid[:96, :128]
    photo = np.stack([60 + x, 80 + y, np.where(x // 8 % 2, 200, 60)], axis=-1).astype(np.uint8)
    hole = np.zeros((96, 128), bool)
    hole[30:66, 44:84] = True
    broken = photo.copy()
    broken[hole] = 0
    filled = fill_background(broken, hole, 2.0, np.random.default_rng(0)).astype(int)
    error = np.abs(filled - photo)[36:60, 50:78]
    assert error[..., :2].mean() < 14
    assert error[..., 2].mean() < 45


@pytest.mark.parametrize("kind", ["none", "all", "one pixel"])
def test_extreme_holes_do_not_break_the_fill(kind: str):
    photo = np.full((32, 48, 3), 90, np.uint8)
    hole = np.full((32, 48), kind == "all")
    if kind == "one pixel":
        hole[5, 5] = True
    assert np.array_equal(fill_background(photo, hole, 3.0, np.random.default_rng(0)), photo)


def test_diffusion_keeps_what_is_known_and_stays_within_its_range():
    rng = np.random.default_rng(3)
    picture = rng.uniform(50, 200, (40, 40, 3)).astype(np.float32)
    hole = np.zeros((40, 40), bool)
    hole[10:30, 12:28] = True
    filled = diffuse(picture, hole)
    assert np.array_equal(filled[~hole], picture[~hole])
    assert filled[hole].min() >= 49
    assert filled[hole].max() <= 201


def test_background_points_with_outliers_still_give_the_cameras_motion():
    rng = np.random.default_rng(0)
    base = shots.shot([shots.moving((0, 0, 4), (0, 0, 4))], frames=2, points=200).trajectories
    start = np.concatenate([rng.uniform(5, 115, (200, 2)), np.full((200, 1), 5.0)], axis=1)
    end = start.copy()
    end[:, 0] = start[:, 0] * 1.05 + 4
    end[:, 1] = start[:, 1] * 1.05 - 3
    end[:20, :2] += rng.uniform(10, 30, (20, 2))
    segment = replace(base.meta.segments[0], background=True)
    ground = replace(
        base,
        positions=np.stack([start, end]).astype(np.float32),
        visible=np.ones((2, 200), bool),
        meta=replace(base.meta, segments=(segment,)),
    )
    homographies, lost = background_homographies(ground, np.eye(2, 3))
    assert lost == 0
    moved = np.array([60.0, 60.0, 1.0]) @ homographies[1].T
    assert np.allclose(moved[:2] / moved[2], [67.0, 60.0], atol=0.1)


def test_a_still_background_is_not_resampled():
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    assert np.array_equal(warp_background(picture, np.eye(3)), picture)


@pytest.mark.parametrize("degrees", [-170, -80, -20, 0, 10, 60, 120, 179])
def test_a_limb_turned_edge_on_still_shows_its_picture(degrees: int):
    limit = np.radians(50)
    spin = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
    turned = (shots.turn(degrees) @ spin)[None].astype(np.float32)
    limited = limit_tilt(turned, limit)[0]
    assert np.allclose(limited @ limited.T, np.eye(3), atol=1e-5)
    tilt = np.sign(degrees) * limit * np.tanh(np.radians(abs(degrees)) / limit)
    assert np.allclose(limited, shots.turn(float(np.degrees(tilt))) @ spin, atol=1e-4)
    assert limited[2, 2] > np.cos(limit) - 1e-5
