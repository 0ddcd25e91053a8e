"""The automatic camera: a subject out of the picture would give a shot without its motion."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from blender_addon.core.framing import extreme_points, framing_location, framing_rotation


@given(
    st.integers(0, 2**32 - 1), st.integers(1, 40), st.floats(-0.5, 0.5), st.floats(0.1, 2), st.floats(0.1, 2)
)
def test_every_point_is_in_the_picture_and_the_camera_is_as_near_as_can_be(seed, count, elevation, w, h):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(count, 3)) * rng.random(3) * 20 + rng.normal(size=3) * 30
    rotation = framing_rotation(elevation)
    half_extent = np.array([w, h])
    location = framing_location(points, rotation, half_extent, margin=0.1)
    x, y, back = ((points - location) @ rotation).T
    depth = -back
    assert (depth > 0).all()
    used = np.maximum(np.abs(x) / (depth * w), np.abs(y) / (depth * h))
    assert used.max() <= 0.8 + 1e-6
    if count > 3 and depth.min() > 2e-3:  # nearer, the camera would stand in the points
        assert used.max() > 0.8 - 1e-6
    deciding = extreme_points(points, rotation, half_extent * 0.8)
    np.testing.assert_allclose(
        framing_location(deciding, rotation, half_extent, margin=0.1), location, atol=1e-6
    )


def test_a_single_point_does_not_put_the_camera_into_itself():
    point = np.array([[1.0, 2.0, 3.0]])
    rotation = framing_rotation(0.1)
    location = framing_location(point, rotation, np.array([0.36, 0.24]))
    assert ((point - location) @ rotation)[0, 2] < 0


def test_the_camera_stands_in_front_of_a_character():
    rotation = framing_rotation(0.1)
    assert np.linalg.det(rotation) > 0.999
    looks_along = -rotation[:, 2]
    assert looks_along[1] > 0.9
    assert looks_along[2] < 0
