"""Where the motion stands on the photo: affines of the plane, cover cropping, mirroring, pins.

An affine is (2, 3) float64 and maps pixels to pixels, origin at the top left corner, pixel centres at +0.5.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .camera import CameraSettings

Affine = NDArray[np.float64]
FitNumbers = tuple[float, float, float, float, float, float]
"""A (2, 3) affine, row-major, as requests carry it."""

_COINCIDENT = 1e-6
"""Pinned points nearer to each other than this (in pixels) say nothing about scale and rotation."""


def identity() -> Affine:
    """The affine that moves nothing."""
    return np.eye(2, 3)


def as_affine(numbers: FitNumbers | None) -> Affine:
    """Read a request's fit matrix; None is the identity."""
    return identity() if numbers is None else np.asarray(numbers, dtype=np.float64).reshape(2, 3)


def as_numbers(affine: Affine) -> FitNumbers:
    """Write an affine as a request's fit matrix."""
    a, b, c, d, e, f = (float(value) for value in affine.reshape(-1))
    return a, b, c, d, e, f


def apply(affine: Affine, points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Map points (..., 2)."""
    return np.asarray(points, np.float64) @ affine[:, :2].T + affine[:, 2]


def compose(outer: Affine, inner: Affine) -> Affine:
    """The affine that applies `inner` first."""
    return np.column_stack([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2] + outer[:, 2]])


def inverse(affine: Affine) -> Affine:
    """The affine back; it must be invertible."""
    linear = np.linalg.inv(affine[:, :2])
    return np.column_stack([linear, -linear @ affine[:, 2]])


def scale_of(affine: Affine) -> float:
    """How much an affine enlarges, as the root of the change of area."""
    return float(np.sqrt(abs(np.linalg.det(affine[:, :2]))))


def shifted(affine: Affine, shift: NDArray[np.floating]) -> Affine:
    """The affine, moved by (2,) afterwards."""
    return np.column_stack([affine[:, :2], affine[:, 2] + shift])


def turned_about(affine: Affine, center: NDArray[np.floating], scale: float, angle: float) -> Affine:
    """The affine, then scaled and turned about a point of the photo.

    Args:
        center: (2,) pixels of the photo.
        scale: factor.
        angle: radians, clockwise on the screen because y runs down.
    """
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[cosine, -sine], [sine, cosine]])
    return compose(np.column_stack([linear, center - linear @ center]), affine)


def mirror(width: float) -> Affine:
    """Swap left and right of a raster."""
    return np.array([[-1.0, 0.0, width], [0.0, 1.0, 0.0]])


def cover(picture: tuple[float, float], raster: tuple[float, float]) -> Affine:
    """From pixels of a picture to those of a raster that it covers, centred: never squeezed.

    Args:
        picture, raster: width and height.
    """
    scale = max(raster[0] / picture[0], raster[1] / picture[1])
    return np.array(
        [
            [scale, 0.0, (raster[0] - scale * picture[0]) / 2],
            [0.0, scale, (raster[1] - scale * picture[1]) / 2],
        ]
    )


def on_raster(
    fit: Affine,
    camera: CameraSettings,
    photo: tuple[int, int],
    before: tuple[int, int],
    after: tuple[int, int],
) -> Affine:
    """Write a fit that was made at one raster for another one: the rig stays where it is on the photo.

    Args:
        fit: from rig pixels to photo pixels, both of the raster `before`.
        camera: what projects the rig.
        photo: width and height of the photo, which covers either raster.
        before, after: width and height.
    """
    if before == after:
        return fit
    focal_before, principal_before = camera.intrinsics(*before)
    focal_after, principal_after = camera.intrinsics(*after)
    ratio = focal_before / focal_after
    rig = np.column_stack([np.diag(ratio), principal_before - ratio * principal_after])
    place = compose(cover(photo, after), inverse(cover(photo, before)))
    return compose(place, compose(fit, rig))


def least_squares_similarity(source: NDArray[np.floating], target: NDArray[np.floating]) -> Affine:
    """The rotation, scale and shift that bring points nearest to others, without mirroring (Umeyama 1991).

    Args:
        source, target: (P, 2) with P >= 1. One point, or points in one place, give a shift.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    center, goal = source.mean(axis=0), target.mean(axis=0)
    spread, wanted = source - center, target - goal
    power = float((spread**2).sum())
    if power <= len(source) * _COINCIDENT**2:
        return shifted(identity(), goal - center)
    cosine = float((spread * wanted).sum()) / power
    sine = float((spread[:, 0] * wanted[:, 1] - spread[:, 1] * wanted[:, 0]).sum()) / power
    if np.hypot(cosine, sine) < _COINCIDENT:
        # All targets in one place would shrink the rig to nothing.
        return shifted(identity(), goal - center)
    linear = np.array([[cosine, -sine], [sine, cosine]])
    return np.column_stack([linear, goal - linear @ center])


def pinned(fit: Affine, points: NDArray[np.floating], places: NDArray[np.floating]) -> Affine:
    """The fit of a part of the rig whose points were pinned to places of the photo.

    Args:
        fit: of the whole rig.
        points: (P, 2) rig pixels, P >= 1.
        places: (P, 2) photo pixels.
    """
    return compose(least_squares_similarity(apply(fit, points), places), fit)
