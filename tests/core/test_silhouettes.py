"""Silhouettes: exact pixels of simple shapes, and agreement with visibility at every pixel centre."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blender_addon.core.camera import CameraFrame
from blender_addon.core.camera_track import Projection
from blender_addon.core.rasterizer import OccluderMesh
from blender_addon.core.silhouettes import NO_SEGMENT, segment_silhouettes
from blender_addon.core.visibility import visible_points

WIDTH, HEIGHT = 72, 48


def _camera(projection: Projection = Projection.PERSPECTIVE) -> CameraFrame:
    focal = 40.0 if projection is Projection.PERSPECTIVE else 10.0
    return CameraFrame(
        projection,
        np.array([focal, focal]),
        np.array([WIDTH / 2, HEIGHT / 2]),
        np.eye(4),
        WIDTH,
        HEIGHT,
        0.1,
        100.0,
    )


def _rectangle(left: float, right: float, bottom: float, top: float, depth: float) -> OccluderMesh:
    vertices = np.array(
        [(left, bottom, -depth), (right, bottom, -depth), (right, top, -depth), (left, top, -depth)]
    )
    return OccluderMesh(vertices, np.array([(0, 1, 2), (0, 2, 3)], dtype=np.int32))


@pytest.mark.parametrize("projection", Projection)
def test_a_rectangle_covers_exactly_the_pixels_whose_centres_it_covers(projection) -> None:
    """At depth 4 a unit is 10 pixels in both projections."""
    masks = segment_silhouettes(_camera(projection), [_rectangle(-2.04, 1.06, -1.0, 0.3, 4.0)], [0], 1)
    expected = np.zeros((1, HEIGHT, WIDTH), dtype=bool)
    # x from 15.6 to 46.6, y from 21.0 to 34.0 pixels
    expected[0, 21:34, 16:47] = True
    np.testing.assert_array_equal(masks, expected)


def test_the_nearer_segment_wins_and_other_surfaces_cut_holes() -> None:
    near, far = _rectangle(-1, 0, -1, 1, 4.0), _rectangle(-1, 1, -1, 1, 6.0)
    blocker = _rectangle(0.2, 0.4, -1, 1, 3.0)
    masks = segment_silhouettes(_camera(), [far, near, blocker], [0, 1, NO_SEGMENT], 3)
    assert not (masks[0] & masks[1]).any()
    assert not masks[2].any()
    alone = segment_silhouettes(_camera(), [near], [1], 2)[1]
    np.testing.assert_array_equal(masks[1], alone)
    hole = segment_silhouettes(_camera(), [blocker], [0], 1)[0]
    assert hole.any()
    assert not (masks[0] & hole).any()
    assert (masks[0] | hole | masks[1])[20:28, 30:42].all()


def test_the_parts_of_one_mesh_may_belong_to_different_segments() -> None:
    square = _rectangle(-1, 1, -1, 1, 4.0)
    whole = segment_silhouettes(_camera(), [square], [0], 1)[0]
    halves = segment_silhouettes(_camera(), [square], [np.array([1, 0])], 2)
    np.testing.assert_array_equal(halves[0] | halves[1], whole)
    assert not (halves[0] & halves[1]).any()
    assert halves[0].sum() > 100 < halves[1].sum()
    part = segment_silhouettes(_camera(), [square], [np.array([NO_SEGMENT, 0])], 1)[0]
    np.testing.assert_array_equal(part, halves[0])


def test_the_ground_under_the_camera_fills_the_picture_up_to_the_horizon() -> None:
    ground = OccluderMesh(
        np.array([(-9e3, -1, -9e3), (9e3, -1, -9e3), (9e3, -1, 9e3), (-9e3, -1, 9e3)], dtype=np.float64),
        np.array([(0, 1, 2), (0, 2, 3)], dtype=np.int32),
    )
    rows = segment_silhouettes(_camera(), [ground], [0], 1)[0].all(axis=1)
    # It renders from the far clip plane (depth 100, 0.4 pixels under the horizon) to the lower border.
    np.testing.assert_array_equal(rows, np.arange(HEIGHT) >= HEIGHT / 2)


def test_what_lies_outside_the_clip_planes_is_not_drawn() -> None:
    near, far = _rectangle(-1, 1, -1, 1, 0.09), _rectangle(-90, 90, -90, 90, 101.0)
    between = _rectangle(-9, 9, -9, 9, 99.0)
    masks = segment_silhouettes(_camera(), [near, far, between], [0, 1, 2], 3)
    assert not masks[:2].any()
    assert masks[2].any()


def test_a_scene_without_meshes_has_empty_silhouettes() -> None:
    masks = segment_silhouettes(_camera(), [], [], 2)
    assert masks.shape == (2, HEIGHT, WIDTH)
    assert masks.dtype == np.bool_
    assert not masks.any()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    projection=st.sampled_from(Projection),
    size=st.floats(0.05, 3.0),
)
def test_a_silhouette_shows_a_surface_exactly_where_its_points_are_visible(seed, projection, size) -> None:
    """Through each pixel's centre, the point of the drawn segment that lies there must be visible."""
    rng = np.random.default_rng(seed)
    camera = _camera(projection)
    planes = rng.uniform((-2, -2, -6), (2, 2, 1), (12, 1, 3)) + rng.normal(0, size, (12, 3, 3))
    meshes = [OccluderMesh(corners, np.array([(0, 1, 2)], dtype=np.int32)) for corners in planes]
    masks = segment_silhouettes(camera, meshes, list(range(12)), 12)
    assert (masks.sum(axis=0) <= 1).all()
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].reshape(2, -1)
    offset = np.stack([columns + 0.5 - WIDTH / 2, HEIGHT / 2 - rows - 0.5], axis=1) / camera.focal
    for mesh, mask in zip(meshes, masks.reshape(12, -1), strict=True):
        a, b, c = mesh.vertices
        normal = np.cross(b - a, c - a)
        with np.errstate(divide="ignore", invalid="ignore"):
            if projection is Projection.PERSPECTIVE:
                rays = np.column_stack([offset, np.full(len(offset), -1.0)])
                points = rays * ((a @ normal) / (rays @ normal))[:, None]
            else:
                height = (a @ normal - offset @ normal[:2]) / normal[2]
                points = np.column_stack([offset, height])
        weights = np.linalg.lstsq(np.stack([b - a, c - a], axis=1), (points - a).T, rcond=None)[0]
        inner = np.minimum(weights.min(axis=0), 1 - weights.sum(axis=0))
        depth = -points[:, 2]
        on_it = (inner > 1e-6) & (depth > camera.clip_start * 1.001) & (depth < camera.clip_end * 0.999)
        seen = np.zeros(len(points), dtype=bool)
        seen[on_it] = visible_points(camera, points[on_it], meshes)
        # What is drawn is visible; what is visible is drawn, but for the tolerance where surfaces cross.
        assert seen[mask & on_it].all()
        assert not mask[(inner < -1e-6) | (depth < camera.clip_start * 0.999)].any()
        assert (seen & ~mask).sum() <= 0.01 * max(seen.sum(), 200)
