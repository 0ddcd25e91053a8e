"""Exact visibility against a brute-force ray caster and against scenes whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from blender_addon.core.camera import CameraFrame
from blender_addon.core.camera_track import Projection
from blender_addon.core.rasterizer import OccluderMesh
from blender_addon.core.visibility import RELATIVE_TOLERANCE, visible_points

WIDTH, HEIGHT = 72, 48


def _camera(
    projection: Projection = Projection.PERSPECTIVE,
    scale: float = 1.0,
    position: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> CameraFrame:
    """Looks along -Z; a square of 2 units at depth 2 spans 40 pixels. `scale` scales the whole scene."""
    pose = np.eye(4)
    pose[:3, 3] = position
    focal = 40.0 if projection is Projection.PERSPECTIVE else 20.0 / scale
    return CameraFrame(
        projection,
        np.array([focal, focal]),
        np.array([WIDTH / 2, HEIGHT / 2]),
        pose,
        WIDTH,
        HEIGHT,
        0.1 * scale,
        100.0 * scale,
    )


def _square(depth: float, half: float = 1.0) -> OccluderMesh:
    vertices = np.array([(-half, -half, 0), (half, -half, 0), (half, half, 0), (-half, half, 0)])
    return OccluderMesh(vertices - (0.0, 0.0, depth), np.array([(0, 1, 2), (0, 2, 3)], dtype=np.int32))


def _cast_rays(
    camera: CameraFrame, points: NDArray[np.float64], mesh: OccluderMesh
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Moeller-Trumbore for every point and triangle: visible (N,), and clear of every borderline (N,)."""
    pixels = camera.world_to_pixels(points)
    eye = camera.camera_to_world[:3, 3]
    forward = -camera.camera_to_world[:3, 2]
    inside = (pixels[:, 0] >= 0) & (pixels[:, 0] < WIDTH) & (pixels[:, 1] >= 0) & (pixels[:, 1] < HEIGHT)
    inside &= (pixels[:, 2] >= camera.clip_start) & (pixels[:, 2] <= camera.clip_end)
    visible, clear = inside.copy(), np.ones(len(points), dtype=bool)
    a, b, c = (mesh.vertices[mesh.triangles[:, k]] for k in range(3))
    for index in np.flatnonzero(inside):
        depth = pixels[index, 2]
        origin = eye if camera.projection is Projection.PERSPECTIVE else points[index] - forward * depth
        direction = points[index] - origin
        normal = np.cross(direction, c - a)
        determinant = np.einsum("mk,mk->m", b - a, normal)
        with np.errstate(divide="ignore", invalid="ignore"):
            u = np.einsum("mk,mk->m", origin - a, normal) / determinant
            across = np.cross(origin - a, b - a)
            v = across @ direction / determinant
            share = np.einsum("mk,mk->m", c - a, across) / determinant  # of the way to the point
        inner = np.minimum(np.minimum(u, v), 1 - u - v)
        reached = share * depth
        slack = np.minimum(
            np.abs(share - (1 - RELATIVE_TOLERANCE)), np.abs(reached - camera.clip_start) / depth
        )
        visible[index] = not np.any(
            (inner >= 0) & (share < 1 - RELATIVE_TOLERANCE) & (reached >= camera.clip_start)
        )
        doubtful = (np.abs(inner) < 1e-6) | ((inner > 0) & (slack < 1e-6)) | ~np.isfinite(inner)
        clear[index] = not doubtful.any()
    return visible, clear


def _points_on(mesh: OccluderMesh, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    chosen = mesh.vertices[mesh.triangles[rng.integers(len(mesh.triangles), size=count)]]  # (N, 3, 3)
    return np.einsum("nk,nkd->nd", rng.dirichlet(np.ones(3), size=count), chosen)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    projection=st.sampled_from(Projection),
    size=st.floats(0.02, 3.0),
    triangle_count=st.integers(1, 60),
)
def test_points_are_seen_exactly_where_a_ray_reaches_them(seed, projection, size, triangle_count) -> None:
    """Triangles of every size around the camera: many cross its near plane, reach behind it, or intersect."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform((-2, -2, -6), (2, 2, 2), (triangle_count, 1, 3))
    corners = centres + rng.normal(0, size, (triangle_count, 3, 3))
    mesh = OccluderMesh(corners.reshape(-1, 3), np.arange(triangle_count * 3, dtype=np.int32).reshape(-1, 3))
    points = np.concatenate([_points_on(mesh, 60, rng), rng.uniform((-3, -2, -6), (3, 2, 1), (60, 3))])
    camera = _camera(projection)
    expected, clear = _cast_rays(camera, points, mesh)
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(visible_points(camera, points, [mesh])[clear], expected[clear])


def test_without_anything_in_the_way_all_points_of_the_picture_are_seen() -> None:
    points = np.array([(0, 0, -2), (1.7, 1.1, -2), (1.9, 0, -2), (0, -1.3, -2), (0, 0, 2), (0, 0, -0.05)])
    expected = [True, True, False, False, False, False]
    np.testing.assert_array_equal(visible_points(_camera(), points, []), expected)


def test_points_beyond_the_far_clip_plane_are_not_seen_because_they_do_not_render() -> None:
    points = np.array([(0, 0, -99.0), (0, 0, -101.0)])
    np.testing.assert_array_equal(visible_points(_camera(), points, []), [True, False])


@pytest.mark.parametrize("projection", Projection)
def test_a_square_hides_what_is_behind_it_and_nothing_else(projection) -> None:
    points = np.array(
        [(0.3, 0.2, -4.0), (0.3, 0.2, -1.0), (0.3, 0.2, -2.0), (-1.4, 0.2, -2.5), (0.0, 0.0, -9.0)]
    )
    seen = visible_points(_camera(projection), points, [_square(2.0)])
    np.testing.assert_array_equal(seen, [False, True, True, True, False])


@pytest.mark.parametrize("projection", Projection)
def test_surfaces_do_not_leak_along_the_edge_between_two_triangles(projection) -> None:
    """Every point lies behind the square's diagonal, or behind one of the edges of a fan."""
    along = np.linspace(-0.95, 0.95, 381)
    camera = _camera(projection)
    reach = 2.0 if projection is Projection.PERSPECTIVE else 1.0
    behind = np.stack([along * reach, along * reach, np.full_like(along, -4.0)], axis=1)
    assert not visible_points(camera, behind, [_square(2.0)]).any()
    angles = np.linspace(0, 2 * np.pi, 17)[:-1]
    rim = np.stack([np.cos(angles), np.sin(angles), np.full_like(angles, -2.0)], axis=1)
    fan = OccluderMesh(
        np.concatenate([[(0.0, 0.0, -2.0)], rim]),
        np.array([(0, k + 1, (k + 1) % 16 + 1) for k in range(16)], dtype=np.int32),
    )
    spokes = (np.linspace(0, 0.999, 101)[:, None, None] * rim[None]).reshape(-1, 3) * (reach, reach, 0)
    assert not visible_points(camera, spokes - (0.0, 0.0, 4.0), [fan]).any()


def test_the_ground_under_the_camera_hides_what_lies_below_it() -> None:
    """The ground passes through the plane of the camera: dropping its triangles would show the cellar."""
    ground = OccluderMesh(
        np.array([(-50, -0.5, -50), (50, -0.5, -50), (50, -0.5, 50), (-50, -0.5, 50)], dtype=np.float64),
        np.array([(0, 1, 2), (0, 2, 3)], dtype=np.int32),
    )
    rng = np.random.default_rng(0)
    above = rng.uniform((-0.5, -0.45, -8), (0.5, 0.5, -2), (200, 3))
    cellar = above * (1, 0, 1) - (0.0, 0.7, 0.0)
    seen_without = visible_points(_camera(), cellar, [])
    assert seen_without.sum() > 100
    assert not visible_points(_camera(), cellar, [ground]).any()
    np.testing.assert_array_equal(
        visible_points(_camera(), above, [ground]), visible_points(_camera(), above, [])
    )


def test_a_surface_nearer_than_the_near_clip_plane_hides_nothing() -> None:
    points = np.array([(0.0, 0.0, -3.0)])
    assert visible_points(_camera(), points, [_square(0.09)]).all()
    assert not visible_points(_camera(), points, [_square(0.11)]).any()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_the_far_side_of_a_thin_shell_stays_hidden_at_any_scene_scale(scale) -> None:
    front, back = _square(5.0 * scale, 2.0 * scale), _square(5.005 * scale, 2.0 * scale)
    rng = np.random.default_rng(3)
    on_front, on_back = (_points_on(mesh, 300, rng) for mesh in (front, back))
    camera = _camera(scale=scale)
    single = [OccluderMesh(m.vertices.astype(np.float32), m.triangles) for m in (front, back)]
    assert visible_points(camera, on_front.astype(np.float32), single).mean() > 0.95
    np.testing.assert_array_equal(
        visible_points(camera, on_front.astype(np.float32), single), visible_points(camera, on_front, [])
    )
    assert not visible_points(camera, on_back.astype(np.float32), single).any()


def test_a_character_far_from_the_origin_does_not_hide_itself_by_rounding() -> None:
    """At 20,000 units single precision steps are 0.002, more than the tolerance at depth 2."""
    offset = (20_000.0, -15_000.0, 8_000.0)
    rng = np.random.default_rng(4)
    slope = OccluderMesh(
        (_square(2.0).vertices + _square(2.0).vertices[:, :1] * (0, 0, 0.6) + offset).astype(np.float32),
        _square(2.0).triangles,
    )
    points = _points_on(slope, 500, rng).astype(np.float32)
    camera = _camera(position=offset)
    assert visible_points(camera, points, [slope]).mean() == visible_points(camera, points, []).mean() > 0.5


def test_a_vertex_that_is_not_a_number_hides_nothing_and_breaks_nothing() -> None:
    good = _square(2.0)
    vertices = np.concatenate([good.vertices, [(np.nan, 0, -1), (np.inf, 0, -1), (0, 0, -1)]])
    mesh = OccluderMesh(vertices, np.array([(0, 1, 2), (0, 2, 3), (4, 5, 6), (0, 5, 6)], dtype=np.int32))
    points = np.array([(0.0, 0.0, -4.0), (0.0, 0.0, -1.5), (np.nan, 0.0, -3.0)])
    np.testing.assert_array_equal(visible_points(_camera(), points, [mesh]), [False, True, False])


def test_a_shot_without_points_or_with_an_empty_mesh_is_no_special_case() -> None:
    empty = OccluderMesh(np.empty((0, 3)), np.empty((0, 3), dtype=np.int32))
    assert visible_points(_camera(), np.empty((0, 3)), [_square(2.0)]).shape == (0,)
    assert visible_points(_camera(), np.array([(0.0, 0.0, -2.0)]), [empty]).all()


def test_many_large_surfaces_give_the_same_answer_as_one_by_one() -> None:
    """More pairs than are tested at once: the batches must not lose any."""
    rng = np.random.default_rng(6)
    layers = [_square(depth, 3.0) for depth in np.linspace(2.0, 6.0, 120)]
    points = np.concatenate([_points_on(layer, 200, rng) for layer in layers])
    together = visible_points(_camera(), points, layers)
    separate = np.all([visible_points(_camera(), points, [layer]) for layer in layers], axis=0)
    np.testing.assert_array_equal(together, separate)
    assert 0 < together.sum() < len(points) / 50
