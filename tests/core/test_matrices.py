"""Small matrices: what would be lost if a camera were inverted or a scaled surface measured wrongly."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from blender_addon.core.matrices import affine_inverse, cofactors
from blender_addon.core.sampling import triangle_areas

SEED = st.integers(0, 2**32 - 1)


@given(SEED)
def test_a_camera_below_scaled_parents_is_inverted_exactly(seed):
    rng = np.random.default_rng(seed)
    matrix = np.eye(4)
    matrix[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0] @ np.diag(rng.uniform(0.1, 10, 3))
    matrix[:3, 3] = rng.normal(size=3) * 100
    np.testing.assert_allclose(affine_inverse(matrix) @ matrix, np.eye(4), atol=1e-9)


@given(SEED)
def test_cofactors_turn_a_cross_product_into_that_of_the_images(seed):
    rng = np.random.default_rng(seed)
    linear, u, v = rng.normal(size=(3, 3)), rng.normal(size=3), rng.normal(size=3)
    np.testing.assert_allclose(
        cofactors(linear) @ np.cross(u, v), np.cross(linear @ u, linear @ v), atol=1e-9
    )


@given(SEED)
def test_areas_under_a_scale_are_those_of_the_scaled_vertices(seed):
    rng = np.random.default_rng(seed)
    vertices, triangles = rng.normal(size=(20, 3)), rng.integers(0, 20, (30, 3))
    linear = rng.normal(size=(3, 3)) @ np.diag([1.0, 1.0, rng.choice([0.0, 6.0])])
    scaled = vertices @ linear.T
    np.testing.assert_allclose(
        triangle_areas(vertices, triangles, linear), triangle_areas(scaled, triangles), atol=1e-9
    )
