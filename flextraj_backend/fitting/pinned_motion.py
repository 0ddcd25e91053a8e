"""Moves groups of segments that have a fit of their own.

Their projected positions are moved so that the rig's fit then takes them where the pins say. So everything
after the fit (conditioning videos, engines) knows one fit only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from blender_addon.core.placement import Affine, apply, compose, inverse
from blender_addon.core.trajectories import TrajectorySet
from flextraj_backend.fitting.silhouettes import warp_mask


def with_group_fits(trajectories: TrajectorySet, fit: Affine, fits: Mapping[int, Affine]) -> TrajectorySet:
    """Move the points and silhouettes of pinned groups so that `fit` takes them to their own places.

    Depth and visibility stay. Background segments stay even where they share the number of a group.
    """
    if not fits:
        return trajectories
    positions = trajectories.positions.copy()
    silhouette = None if trajectories.silhouette is None else trajectories.silhouette.copy()
    for index, segment in enumerate(trajectories.meta.segments):
        if segment.background or segment.group not in fits:
            continue
        move = compose(inverse(fit), fits[segment.group])
        members = trajectories.seg_id == index
        positions[:, members, :2] = apply(move, positions[:, members, :2])
        if silhouette is not None:
            silhouette[index] = warp_mask(silhouette[index], move)
    return replace(trajectories, positions=positions, silhouette=silhouette)
