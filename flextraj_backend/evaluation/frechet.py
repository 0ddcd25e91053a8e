"""Fréchet distance between two sets of features, NumPy only.

d^2 = |m_a - m_b|^2 + tr(C_a) + tr(C_b) - 2 tr((C_a C_b)^(1/2)), with means m and covariances C. With centred
features X (N, D) and C = X^T X / (N - 1), the last trace is the sum of the singular values of
X_a X_b^T / sqrt((N_a - 1)(N_b - 1)); it needs no root of a covariance, so fewer samples than dimensions do no
harm to the arithmetic. The estimate is still biased then: `FrechetDistance.rank_deficient` says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blender_addon.core.errors import RequestError


@dataclass(frozen=True)
class FrechetDistance:
    """Squared Fréchet distance, as FID and FVD report it.

    Attributes:
        distance: at least 0; comparable only between the same features and similar numbers of samples.
        samples_a, samples_b, dimensions: sizes of the sets of features.
        rank_deficient: a set has too few samples for a covariance of full rank: read differences, not values.
    """

    distance: float
    samples_a: int
    samples_b: int
    dimensions: int
    rank_deficient: bool


def frechet_distance(features_a: NDArray[np.floating], features_b: NDArray[np.floating]) -> FrechetDistance:
    """Compare (N, D) with (M, D) features, at least two samples each. Raises RequestError."""
    if features_a.ndim != 2 or features_b.ndim != 2 or features_a.shape[1] != features_b.shape[1]:
        raise RequestError("A Fréchet distance needs two sets of features of the same length.")
    if min(len(features_a), len(features_b)) < 2:
        raise RequestError("A Fréchet distance needs at least two videos on each side: give more.")
    a, b = features_a.astype(np.float64), features_b.astype(np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise RequestError("The features contain a number that is not finite: check the videos.")
    mean_a, mean_b = a.mean(axis=0), b.mean(axis=0)
    centred_a = (a - mean_a) / np.sqrt(len(a) - 1)
    centred_b = (b - mean_b) / np.sqrt(len(b) - 1)
    cross = np.linalg.svd(centred_a @ centred_b.T, compute_uv=False).sum()
    squared = ((mean_a - mean_b) ** 2).sum() + (centred_a**2).sum() + (centred_b**2).sum() - 2 * cross
    dimensions = a.shape[1]
    return FrechetDistance(
        distance=float(max(squared, 0.0)),
        samples_a=len(a),
        samples_b=len(b),
        dimensions=dimensions,
        rank_deficient=min(len(a), len(b)) <= dimensions,
    )
