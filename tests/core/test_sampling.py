"""Points on surfaces: what would be lost if they were spread, bound or projected wrongly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.sampling import (
    check_point_count,
    sample_surface,
    sample_vertices,
    surface_point_count,
    triangle_areas,
)
from blender_addon.core.tracking import (
    PlacedMesh,
    bind_to_triangles,
    bind_to_vertices,
    join_bindings,
    project_points,
    world_points,
)
from blender_addon.core.triangulation import triangulate_quads

SEED = st.integers(0, 2**32 - 1)


def test_areas_are_those_of_the_cross_product():
    rng = np.random.default_rng(1)
    vertices, triangles = rng.normal(size=(20, 3)), rng.integers(0, 20, (40, 3))
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    expected = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    np.testing.assert_allclose(triangle_areas(vertices, triangles), expected, atol=1e-12)


@given(SEED, st.integers(1, 3000), st.integers(1, 60))
def test_every_triangle_gets_its_share_of_points_within_one_stratum(seed, count, triangles):
    rng = np.random.default_rng(seed)
    areas = rng.random(triangles) * (rng.random(triangles) < 0.7)
    areas[rng.integers(triangles)] = 1.0
    samples = sample_surface(areas, count, rng, "Cube")
    found = np.bincount(samples.triangle, minlength=triangles)
    assert found.sum() == count
    assert (np.diff(samples.triangle) >= 0).all()
    assert not found[areas == 0].any()
    assert (np.abs(found - count * areas / areas.sum()) < 2 + 1e-6).all()
    assert (samples.barycentric >= 0).all()
    np.testing.assert_allclose(samples.barycentric.sum(axis=0), 1, atol=1e-6)


def test_points_are_uniform_inside_a_triangle():
    samples = sample_surface(np.ones(1), 60_000, np.random.default_rng(0), "Cube")
    # A uniform point of a triangle has E[b] = 1/3, E[b^2] = 1/6 and E[b c] = 1/12.
    first, second, third = samples.barycentric.astype(np.float64)
    for weight in (first, second, third):
        assert weight.mean() == pytest.approx(1 / 3, abs=3e-3)
        assert (weight**2).mean() == pytest.approx(1 / 6, abs=3e-3)
    assert (first * second).mean() == pytest.approx(1 / 12, abs=2e-3)
    assert (second * third).mean() == pytest.approx(1 / 12, abs=2e-3)


def test_the_same_seed_gives_the_same_points_and_another_seed_others():
    areas = np.arange(1.0, 9.0)
    one, two, other = (sample_surface(areas, 99, np.random.default_rng(s), "Cube") for s in (5, 5, 6))
    assert np.array_equal(one.triangle, two.triangle)
    assert np.array_equal(one.barycentric, two.barycentric)
    assert not np.array_equal(one.barycentric, other.barycentric)


@pytest.mark.parametrize("areas", [np.zeros(4), np.zeros(0)])
def test_a_mesh_without_area_is_refused_by_name(areas):
    with pytest.raises(FlexTrajError, match="'Cube' has no surface to sample, its area is zero") as caught:
        sample_surface(areas, 5, np.random.default_rng(0), "Cube")
    assert caught.value.code is ErrorCode.GEOMETRY


def test_an_infinite_mesh_is_refused_by_name():
    with pytest.raises(FlexTrajError, match="'Cube' has vertices at infinite positions"):
        sample_surface(np.array([1.0, np.inf]), 5, np.random.default_rng(0), "Cube")


def test_more_points_than_trajectory_ids_are_refused():
    check_point_count(65_536, "Cube")
    with pytest.raises(FlexTrajError, match="'Cube' would get 65537 points, but a segment can hold 65536"):
        check_point_count(65_537, "Cube")


def test_vertices_are_never_chosen_twice():
    chosen = sample_vertices(np.arange(100, 200), 30, np.random.default_rng(0))
    assert len(np.unique(chosen)) == 30
    assert (np.diff(chosen) > 0).all()
    assert np.array_equal(sample_vertices(np.arange(5), None, np.random.default_rng(0)), np.arange(5))
    assert np.array_equal(sample_vertices(np.arange(5), 9, np.random.default_rng(0)), np.arange(5))


def test_density_counts_points_per_area_and_a_small_part_keeps_one():
    assert surface_point_count(12.5, None, 10) == 125
    assert surface_point_count(1e-6, None, 10) == 1
    assert surface_point_count(12.5, 7, 10) == 7


def _random_scene(seed: int):
    """Return two meshes with their matrices, a binding of points on both, and the points in float64."""
    rng = np.random.default_rng(seed)
    meshes, bindings, expected, start = [], [], [], 0
    for index in range(2):
        vertices = rng.normal(size=(30, 3)).astype(np.float32)
        matrix = np.eye(4)
        matrix[:3] = rng.normal(size=(3, 4))
        triangles, triangle = rng.integers(0, 30, (50, 3)), rng.integers(0, 50, 40_000)
        weights = rng.dirichlet([1, 1, 1], 40_000).T.astype(np.float32)
        meshes.append(PlacedMesh(vertices, matrix))
        bindings.append(bind_to_triangles(index, triangles, triangle, weights, start))
        world = vertices.astype(np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
        expected.append(np.einsum("kn,nkc->nc", weights, world[triangles[triangle]]))
        start += len(vertices)
    return meshes, join_bindings(bindings), np.concatenate(expected)


def test_points_follow_their_own_mesh():
    meshes, binding, expected = _random_scene(3)
    np.testing.assert_allclose(world_points(meshes, binding), expected, atol=1e-5)


def test_projection_divides_after_interpolating():
    meshes, binding, expected = _random_scene(4)
    matrix = np.array([[700.0, 0, 360, 10], [0, -700, 240, 20], [0, 0, 1, 9], [0, 0, 1, 9]])
    homogeneous = expected @ matrix[:, :3].T + matrix[:, 3]
    projected = project_points(meshes, binding, matrix)
    front = homogeneous[:, 3] > 0.5
    assert front.mean() > 0.5
    pixels = homogeneous[front, :2] / homogeneous[front, 3:]
    np.testing.assert_allclose(projected[front, :2], pixels, atol=1e-2, rtol=1e-4)
    np.testing.assert_allclose(projected[:, 2], homogeneous[:, 2], atol=1e-4)


def test_a_point_in_the_plane_of_the_camera_stays_finite():
    mesh = PlacedMesh(np.array([[1, 2, 0]], dtype=np.float32), np.eye(4))
    matrix = np.array([[700.0, 0, 360, 0], [0, -700, 240, 0], [0, 0, 1, 0], [0, 0, 1, 0]])
    projected = project_points([mesh], bind_to_vertices(0, np.array([0])), matrix)
    assert np.isfinite(projected).all()
    assert abs(projected[0, 0]) > 1e6


def test_quads_are_cut_along_the_diagonal_that_does_not_fold_over():
    # A square, an arrow head whose first corner reflexes across the first diagonal, and a triangle.
    positions = np.array(
        [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [4, 0, 0], [5, 5, 0], [4, 1, 0], [3, 5, 0]], np.float32
    )
    arrow = [5, 6, 7, 4]
    corners = np.array([0, 1, 2, 3, *arrow, 0, 1, 2], dtype=np.int32)
    found = triangulate_quads(positions, corners, np.array([0, 4, 8], dtype=np.int32))
    assert found is not None
    triangles = corners[found]
    assert triangles.tolist()[:2] == [[0, 1, 2], [0, 2, 3]]
    assert triangles.tolist()[-1] == [0, 1, 2]
    areas = triangle_areas(positions, triangles[2:4])
    outline = positions[arrow]
    x, y = outline[:, 0], outline[:, 1]
    shoelace = abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2
    assert areas.sum() == pytest.approx(shoelace)


def test_faces_of_five_corners_are_left_to_blender():
    corners = np.arange(5, dtype=np.int32)
    positions = np.zeros((5, 3), dtype=np.float32)
    assert triangulate_quads(positions, corners, np.array([0], dtype=np.int32)) is None
    none = triangulate_quads(np.zeros((1, 3), np.float32), np.zeros(0, np.int32), np.zeros(0, np.int32))
    assert none is not None
    assert none.shape == (0, 3)
