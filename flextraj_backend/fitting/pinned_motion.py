"""Moves groups of segments that have a fit of their own.

Their projected positions are moved so that the rig's fit then takes them where the pins say. So everything
after the fit (conditioning videos, engines) knows one fit only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from blender_addon.core.pinned_groups import group_moves, moved_positions
from blender_addon.core.placement import Affine
from blender_addon.core.trajectories import TrajectorySet
from flextraj_backend.fitting.silhouettes import warp_mask


def with_group_fits(trajectories: TrajectorySet, fit: Affine, fits: Mapping[int, Affine]) -> TrajectorySet:
    """Move the points and silhouettes of pinned groups so that `fit` takes them to their own places.

    Depth and visibility stay. Background segments stay even where they share the number of a group.
    """
    if not fits:
        return trajectories
    moves = group_moves(trajectories, fit, fits)
    silhouette = None if trajectories.silhouette is None else trajectories.silhouette.copy()
    if silhouette is not None:
        for index, move in moves.items():
            silhouette[index] = warp_mask(silhouette[index], move)
    return replace(trajectories, positions=moved_positions(trajectories, moves), silhouette=silhouette)
