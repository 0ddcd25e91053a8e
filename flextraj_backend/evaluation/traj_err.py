"""TrajErr-LK: how far the points of a video are from where they were asked to be.

The paper publishes no formula for its TrajErr; this one is ours and its figures are not the paper's:
mean over the scored samples (point i, frame t) of ||(p_tracked - p_target) / (width, height)||_2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blender_addon.core.errors import RequestError
from flextraj_backend.evaluation.point_tracking import TrackedPoints

PCK_THRESHOLDS = (0.01, 0.02, 0.05)


@dataclass(frozen=True)
class TrajErr:
    """Error of followed points against asked-for points, in shares of the picture's sides.

    A sample is a point in a frame after the first, where the asked-for point is visible.

    Attributes:
        mean: over all samples; a lost point counts with the last position where it was seen, so that a video
            cannot gain by losing points. NaN where there is no sample.
        mean_tracked: over the samples whose point was followed; NaN where there is none.
        pck_1, pck_2, pck_5: share of all samples nearer than 1, 2 and 5 % (lost ones as in `mean`).
        lost: share of the samples whose point was lost.
        points: points with at least one sample.
        samples: number of samples.
    """

    mean: float
    mean_tracked: float
    pck_1: float
    pck_2: float
    pck_5: float
    lost: float
    points: int
    samples: int


def trajectory_error(
    tracks: TrackedPoints,
    target: NDArray[np.floating],
    scored: NDArray[np.bool_],
    width: int,
    height: int,
) -> TrajErr:
    """Compare followed points with asked-for points.

    Args:
        tracks: T frames of N points, which start at `target[0]`.
        target: (T, N, 2) asked-for positions in pixels.
        scored: (T, N) bool: samples that count, such as those visible in the target or those kept by a sparse
            condition; the first frame never counts.
        width, height: raster in pixels.

    Raises:
        RequestError: the arrays differ in shape.
    """
    if tracks.positions.shape != target.shape or scored.shape != target.shape[:2]:
        raise RequestError(
            f"Tracks of shape {tracks.positions.shape} cannot be compared with targets of shape "
            f"{target.shape} and scores of shape {scored.shape}: give the same frames and points."
        )
    counted = scored.copy()
    counted[0] = False
    if not counted.any():
        nan = float("nan")
        return TrajErr(nan, nan, nan, nan, nan, nan, 0, 0)
    error = np.linalg.norm((tracks.positions - target) / (width, height), axis=2)[counted]  # (samples,)
    followed = tracks.tracked[counted]
    pck_1, pck_2, pck_5 = (float((error < threshold).mean()) for threshold in PCK_THRESHOLDS)
    return TrajErr(
        mean=float(error.mean()),
        mean_tracked=float(error[followed].mean()) if followed.any() else float("nan"),
        pck_1=pck_1,
        pck_2=pck_2,
        pck_5=pck_5,
        lost=float(1 - followed.mean()),
        points=int(counted.any(axis=0).sum()),
        samples=int(counted.sum()),
    )
