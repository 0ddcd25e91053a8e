"""Control granularity of annotated video: whole regions stay visible (conventions 1.8)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flextraj_backend.conditioning.masks import foreground_score


def foreground_region(
    seg_ids: NDArray[np.integer], masks: NDArray[np.bool_], fraction: float
) -> NDArray[np.bool_]:
    """Keep the points of the segments that look most like foreground.

    Segments are taken by descending foreground score until their summed area reaches `fraction` of the
    picture. Unassigned points are dropped.

    Args:
        seg_ids: (N,) index into `masks`, -1 = none.
        masks: (S, H, W).

    Returns:
        (N,) bool.
    """
    scores = [foreground_score(mask) for mask in masks]
    chosen: list[int] = []
    area = 0.0
    for index in sorted(range(len(masks)), key=lambda i: -scores[i].score):
        if area >= fraction:
            break
        chosen.append(index)
        area += scores[index].area
    return np.isin(seg_ids, chosen)


def nested_region(
    seg_ids: NDArray[np.integer],
    part_ids: NDArray[np.integer],
    fraction: float,
    generator: np.random.Generator,
) -> NDArray[np.bool_]:
    """Keep whole parts of every segment: of each, the first floor(n * fraction) points after shuffling its
    parts.

    Args:
        seg_ids: (N,) segment of each point, -1 counts as a segment.
        part_ids: (N,) finer part of each point, -1 counts as a part.

    Returns:
        (N,) bool.
    """
    keep = np.zeros(len(seg_ids), bool)
    for seg_id in np.unique(seg_ids):
        members = np.flatnonzero(seg_ids == seg_id)
        parts = [members[part_ids[members] == part] for part in np.unique(part_ids[members])]
        order = generator.permutation(len(parts))
        shuffled = np.concatenate([parts[index] for index in order])
        keep[shuffled[: int(len(members) * fraction)]] = True
    return keep
