"""Painted density: what an animator would lose if points did not follow the paint."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.sampling import sample_weighted_surface, sample_weighted_vertices

SEED = st.integers(0, 2**32 - 1)


def painted_surface(seed: int, triangles: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Areas (M,) and corner weights (M, 3), many of them zero, at least one not."""
    rng = np.random.default_rng(seed)
    areas = rng.random(triangles) + 0.01
    weights = rng.random((triangles, 3)) * (rng.random((triangles, 1)) < 0.5)
    weights[rng.integers(triangles)] = 1.0
    return areas, weights


@given(SEED, st.integers(1, 3000), st.integers(1, 60))
def test_every_triangle_gets_points_in_proportion_to_area_times_weight(seed, count, triangles):
    areas, weights = painted_surface(seed, triangles)
    samples = sample_weighted_surface(areas, weights, count, np.random.default_rng(seed), "Body")
    mass = areas * weights.mean(axis=1)
    found = np.bincount(samples.triangle, minlength=triangles)
    assert found.sum() == count
    assert (np.abs(found - count * mass / mass.sum()) < 2 + 1e-6).all()


@given(SEED, st.integers(1, 500), st.integers(1, 60))
def test_where_the_weight_is_zero_there_is_no_point(seed, count, triangles):
    areas, weights = painted_surface(seed, triangles)
    samples = sample_weighted_surface(areas, weights, count, np.random.default_rng(seed), "Body")
    assert (weights[samples.triangle].max(axis=1) > 0).all()
    assert (samples.barycentric >= -1e-6).all()
    np.testing.assert_allclose(samples.barycentric.sum(axis=0), 1, atol=1e-6)


@given(SEED, st.integers(1, 300), st.integers(1, 20))
def test_the_same_seed_and_paint_give_the_same_trajectories(seed, count, triangles):
    areas, weights = painted_surface(seed, triangles)
    first, second = (
        sample_weighted_surface(areas, weights, count, np.random.default_rng(seed), "Body") for _ in range(2)
    )
    np.testing.assert_array_equal(first.triangle, second.triangle)
    np.testing.assert_array_equal(first.barycentric, second.barycentric)
    assert (np.diff(first.triangle) >= 0).all()


@given(SEED, st.floats(0.1, 100))
def test_only_the_proportions_of_the_paint_count(seed, factor):
    areas, weights = painted_surface(seed, 12)
    first, second = (
        sample_weighted_surface(areas, scaled, 200, np.random.default_rng(seed), "Body")
        for scaled in (weights, weights * factor)
    )
    assert np.mean(first.triangle == second.triangle) > 0.98  # a rounding may carry a point across an edge


def test_points_fall_off_inside_a_triangle_as_the_weight_does():
    weights = np.array([[1.0, 0.25, 0.0]])
    samples = sample_weighted_surface(np.ones(1), weights, 80_000, np.random.default_rng(0), "Body")
    barycentric = samples.barycentric.astype(np.float64)
    # For a density of w.b on a triangle: E[b_i] = (w_i + sum(w)) / (4 sum(w)).
    expected = (weights[0] + weights.sum()) / (4 * weights.sum())
    np.testing.assert_allclose(barycentric.mean(axis=1), expected, atol=3e-3)
    # And of a corner's own third of it: E[b^2] = 3/10, of the others 1/10.
    seconds = (0.3 * weights[0] + 0.1 * (weights.sum() - weights[0])) / weights.sum()
    np.testing.assert_allclose((barycentric**2).mean(axis=1), seconds, atol=3e-3)


def test_even_paint_spreads_points_as_no_paint_does():
    samples = sample_weighted_surface(
        np.ones(1), np.full((1, 3), 0.4), 60_000, np.random.default_rng(0), "Body"
    )
    first, second, _ = samples.barycentric.astype(np.float64)
    assert first.mean() == pytest.approx(1 / 3, abs=3e-3)
    assert (first**2).mean() == pytest.approx(1 / 6, abs=3e-3)
    assert (first * second).mean() == pytest.approx(1 / 12, abs=3e-3)


def test_a_surface_without_paint_is_refused_by_name():
    with pytest.raises(FlexTrajError, match="'Body' would get no points") as caught:
        sample_weighted_surface(np.ones(4), np.zeros((4, 3)), 10, np.random.default_rng(0), "Body")
    assert caught.value.code is ErrorCode.GEOMETRY
    with pytest.raises(FlexTrajError, match="'Body' would get no points"):
        sample_weighted_vertices(np.zeros(4), 2, np.random.default_rng(0), "Body")


def test_broken_vertices_are_still_called_broken():
    with pytest.raises(FlexTrajError, match="infinite positions"):
        sample_weighted_surface(
            np.array([1.0, np.inf]), np.ones((2, 3)), 10, np.random.default_rng(0), "Body"
        )


@given(SEED, st.integers(1, 200), st.none() | st.integers(1, 300))
def test_vertices_are_chosen_once_each_and_only_where_painted(seed, vertices, count):
    rng = np.random.default_rng(seed)
    weights = rng.random(vertices) * (rng.random(vertices) < 0.5)
    weights[rng.integers(vertices)] = 1.0
    chosen = sample_weighted_vertices(weights, count, np.random.default_rng(seed), "Body")
    assert (np.diff(chosen) > 0).all()
    assert (weights[chosen] > 0).all()
    painted = np.count_nonzero(weights)
    assert len(chosen) == (painted if count is None else min(count, painted))


def test_heavier_vertices_are_chosen_more_often():
    weights = np.array([1.0, 0.0, 4.0])
    rng = np.random.default_rng(0)
    chosen = [int(sample_weighted_vertices(weights, 1, rng, "Body")[0]) for _ in range(4000)]
    assert np.bincount(chosen, minlength=3) / 4000 == pytest.approx([0.2, 0.0, 0.8], abs=0.02)
