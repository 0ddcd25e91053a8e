"""How much of the photo's subject the rig covers where it stands."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from .mask_canvas import resample_mask
from .placement import Affine, compose
from .pose_match import shrunk

OVERLAP_SIDE = 240
"""Longer side of the picture that is compared, in pixels: it is done anew while the rig is dragged."""


def rig_overlap(parts: Iterable[tuple[NDArray[np.bool_], Affine]], subject: NDArray[np.bool_]) -> float:
    """Intersection over union of the rig's outline and the subject, 0 to 1; 0 where both are empty.

    Args:
        parts: silhouettes (H, W) of the rig, each with its fit (2, 3) to pixels of the photo.
        subject: (H, W) bool, at the raster of the photo.
    """
    small = shrunk(subject, OVERLAP_SIDE)
    height, width = small.shape
    shrink = np.diag([width / subject.shape[1], height / subject.shape[0]])
    rig = np.zeros_like(small)
    for silhouette, fit in parts:
        rig |= resample_mask(
            silhouette, compose(np.column_stack([shrink, np.zeros(2)]), fit), (width, height)
        )
    return np.count_nonzero(rig & small) / max(np.count_nonzero(rig | small), 1)
