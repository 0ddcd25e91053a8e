"""Groups of segments that the user pinned to the photo leave the fit of the rig for one of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .errors import ErrorCode, FlexTrajError
from .placement import Affine, apply, compose, inverse, pinned
from .request import FitPin
from .trajectories import TrajectorySet


def group_fits(trajectories: TrajectorySet, fit: Affine, pins: Sequence[FitPin]) -> dict[int, Affine]:
    """The fit of every group that has pins, (2, 3) from rig pixels to photo pixels.

    Args:
        fit: of the whole rig.

    Raises:
        FlexTrajError: a pin names a point that the set does not have, or one of the background.
    """
    segment_of_id = {segment.id: index for index, segment in enumerate(trajectories.meta.segments)}
    held: dict[int, list[tuple[NDArray[np.float32], tuple[float, float]]]] = {}
    for pin in pins:
        index = segment_of_id.get(pin.segment)
        found = np.flatnonzero((trajectories.seg_id == index) & (trajectories.traj_id == pin.point))
        if index is None or len(found) == 0:
            raise FlexTrajError(
                f"A pin holds point {pin.point} of segment {pin.segment}, which the shot does not have: "
                "remove the pins and set them again.",
                ErrorCode.REQUEST,
            )
        segment = trajectories.meta.segments[index]
        if segment.background:
            raise FlexTrajError(
                f"A pin holds '{segment.name}', which is a prop or ground and moves with the camera: "
                "remove that pin.",
                ErrorCode.REQUEST,
            )
        place = trajectories.positions[0, found[0], :2]
        held.setdefault(segment.group, []).append((place, (pin.x, pin.y)))
    return {
        group: pinned(fit, np.array([rig for rig, _ in pairs]), np.array([photo for _, photo in pairs]))
        for group, pairs in held.items()
    }


def group_moves(trajectories: TrajectorySet, fit: Affine, fits: Mapping[int, Affine]) -> dict[int, Affine]:
    """How the segments of groups with a fit of their own are moved before `fit` takes all of them.

    Returns:
        (2, 3) by index of the segment. Background segments stay even where they share a group's number.
    """
    return {
        index: compose(inverse(fit), fits[segment.group])
        for index, segment in enumerate(trajectories.meta.segments)
        if not segment.background and segment.group in fits
    }


def moved_positions(trajectories: TrajectorySet, moves: Mapping[int, Affine]) -> NDArray[np.float32]:
    """The positions of a set (T, N, 3) with some segments moved in the picture; depth stays."""
    positions = trajectories.positions.copy()
    for index, move in moves.items():
        members = trajectories.seg_id == index
        positions[:, members, :2] = apply(move, positions[:, members, :2])
    return positions
