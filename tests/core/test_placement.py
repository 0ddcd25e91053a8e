"""Affines of the plane: what would stand in the wrong place on the photo if they were wrong."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from blender_addon.core.camera import CameraSettings, SensorFit
from blender_addon.core.camera_track import Projection
from blender_addon.core.placement import (
    Affine,
    apply,
    as_affine,
    as_numbers,
    compose,
    cover,
    identity,
    inverse,
    least_squares_similarity,
    mirror,
    on_raster,
    pinned,
    scale_of,
    shifted,
    turned_about,
)

coordinates = st.floats(-2000, 2000)
points = st.lists(st.tuples(coordinates, coordinates), min_size=2, max_size=8).map(np.array)
sides = st.integers(16, 3000)


@st.composite
def similarities(draw: st.DrawFn) -> Affine:
    shift = np.array([draw(coordinates), draw(coordinates)])
    turned = turned_about(identity(), np.zeros(2), draw(st.floats(0.1, 10)), draw(st.floats(-3, 3)))
    return shifted(turned, shift)


@given(similarities(), similarities(), points)
def test_affines_compose_and_invert(first: Affine, second: Affine, where: np.ndarray) -> None:
    assert np.allclose(apply(compose(first, second), where), apply(first, apply(second, where)), atol=1e-5)
    assert np.allclose(apply(inverse(first), apply(first, where)), where, atol=1e-5)
    assert np.array_equal(as_affine(as_numbers(first)), first)


@given(similarities(), points)
def test_pins_that_agree_are_met_exactly(move: Affine, where: np.ndarray) -> None:
    assume(np.ptp(where, axis=0).max() > 1)
    found = least_squares_similarity(where, apply(move, where))
    assert np.allclose(apply(found, where), apply(move, where), atol=1e-4)


@given(points, points)
def test_pins_never_mirror_the_rig_and_keep_the_middle(source: np.ndarray, target: np.ndarray) -> None:
    count = min(len(source), len(target))
    found = least_squares_similarity(source[:count], target[:count])
    assert np.linalg.det(found[:, :2]) > 0
    middle = apply(found, source[:count].mean(axis=0))
    assert np.allclose(middle, target[:count].mean(axis=0), atol=1e-5)


def test_the_similarity_is_the_best_one() -> None:
    rng = np.random.default_rng(1)
    source, target = rng.normal(size=(6, 2)) * 50, rng.normal(size=(6, 2)) * 50
    found = least_squares_similarity(source, target)

    def error(affine: Affine) -> float:
        return float(((apply(affine, source) - target) ** 2).sum())

    for _ in range(50):
        other = turned_about(found, rng.normal(size=2), 1 + 0.05 * rng.normal(), 0.05 * rng.normal())
        assert error(found) <= error(shifted(other, rng.normal(size=2))) + 1e-9


@given(similarities(), coordinates, coordinates, coordinates, coordinates)
def test_one_pin_only_shifts(fit: Affine, x: float, y: float, u: float, v: float) -> None:
    found = pinned(fit, np.array([[x, y]]), np.array([[u, v]]))
    assert np.allclose(apply(found, np.array([x, y])), [u, v], atol=1e-6)
    assert np.allclose(found[:, :2], fit[:, :2])


def test_pins_in_one_place_shift_instead_of_shrinking_the_rig_to_nothing() -> None:
    points = np.array([[10.0, 20.0], [30.0, 40.0]])
    found = pinned(identity(), points, np.array([[5.0, 5.0], [5.0, 5.0]]))
    assert np.allclose(found, [[1, 0, -15], [0, 1, -25]])


def test_pins_of_a_mirrored_rig_stay_mirrored() -> None:
    points = np.array([[10.0, 20.0], [30.0, 40.0]])
    found = pinned(mirror(100), points, np.array([[80.0, 20.0], [60.0, 40.0]]))
    assert np.linalg.det(found[:, :2]) < 0


@given(sides, sides, sides, sides)
def test_a_photo_covers_the_raster_and_is_not_squeezed(w: int, h: int, width: int, height: int) -> None:
    found = cover((w, h), (width, height))
    corners = apply(found, np.array([[0, 0], [w, h]]))
    assert (corners[0] <= 1e-6).all() and (corners[1] >= np.array([width, height]) - 1e-6).all()
    assert np.allclose(corners.sum(axis=0), [width, height])
    assert found[0, 0] == found[1, 1]
    assert np.isclose(corners[0], 0, atol=1e-6).any()


@given(similarities(), sides, sides, sides, sides, st.floats(-0.3, 0.3), st.sampled_from(SensorFit))
def test_another_size_of_video_leaves_the_rig_where_it_is_on_the_photo(
    fit: Affine, w0: int, h0: int, w1: int, h1: int, shift: float, sensor: SensorFit
) -> None:
    camera = CameraSettings(Projection.PERSPECTIVE, shift_x=shift, sensor_fit=sensor)
    photo, before, after = (1200, 800), (w0, h0), (w1, h1)
    found = on_raster(fit, camera, photo, before, after)
    plane = np.array([[0.0, 0.0], [0.3, -0.2], [-0.1, 0.4]])  # in front of the camera, at distance 1

    def on_photo(matrix: Affine, raster: tuple[int, int]) -> np.ndarray:
        focal, principal = camera.intrinsics(*raster)
        return apply(inverse(cover(photo, raster)), apply(matrix, principal + plane * focal))

    assert np.allclose(on_photo(fit, before), on_photo(found, after), atol=1e-3 * max(1, scale_of(fit)))


def test_turning_keeps_the_center() -> None:
    center = np.array([30.0, 40.0])
    found = turned_about(identity(), center, 2.0, 0.7)
    assert np.allclose(apply(found, center), center)
    assert np.isclose(scale_of(found), 2.0)
