"""ID colours: which segment and which trajectory a painted pixel belongs to.

Red codes the SegID, green and blue the TrajID within its segment (green = high byte, blue = low byte).
Numbers are those of the FlexTraj reference (conventions 1.3 and 1.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, StrEnum

import numpy as np
from numpy.typing import NDArray

from .errors import ErrorCode, FlexTrajError
from .trajectories import TrajectorySet

UNASSIGNED = -1
"""SegID of a point that lies on no segment."""
MAX_CONTROLLED_SEGMENTS = 254
"""With more, the reds of two segments coincide and that of unassigned points becomes 0, so they vanish."""
_TRAJ_ID_COUNT = 1 << 16


class TrackLayout(Enum):
    """How many track sets a clip has; each layout has its own red ramp and range of spread TrajIDs."""

    SINGLE = (0, 2, 4900)
    """One set, tracked forward. Unassigned points are dark red."""
    DOUBLE = (1, 1, 25536)
    """Forward and reversed set together. Unassigned points are black."""

    def __init__(self, ramp_start: int, extra_steps: int, spread_range: int) -> None:
        self.ramp_start = ramp_start
        self.extra_steps = extra_steps
        self.spread_range = spread_range


class TrajIdSpacing(StrEnum):
    """How the TrajIDs of a segment are spaced."""

    CONSECUTIVE = "consecutive"
    """0, 1, 2, ...: neighbours differ in blue by 1."""
    SPREAD = "spread"
    """Spread over a fixed range, so that few points differ clearly ('large colour distance')."""


def red_ramp(segment_count: int, layout: TrackLayout = TrackLayout.SINGLE) -> NDArray[np.uint8]:
    """Red values of a clip: (S + 1,) uint8, entry 0 for unassigned points, entry s + 1 for segment s.

    The ramp is a float linspace, truncated; an integer division would differ by one for some S.
    """
    steps = segment_count + layout.extra_steps
    ramp = np.linspace(layout.ramp_start, 255, steps).astype(np.uint8)[1:]  # the first step is not used
    if layout is TrackLayout.DOUBLE:
        return np.concatenate([np.zeros(1, np.uint8), ramp])
    return ramp


def number_within_segments(seg_ids: NDArray[np.integer]) -> NDArray[np.int64]:
    """Number the points of every segment 0, 1, 2, ... in array order. Unassigned points count as one segment.

    Args:
        seg_ids: (N,) SegIDs.

    Returns:
        (N,) int64.
    """
    order = np.argsort(seg_ids, kind="stable")
    ordered = seg_ids[order]
    first_of_segment = np.searchsorted(ordered, ordered, side="left")
    numbers = np.empty(len(seg_ids), np.int64)
    numbers[order] = np.arange(len(seg_ids)) - first_of_segment
    return numbers


def id_colors(
    seg_ids: NDArray[np.integer],
    segment_count: int,
    layout: TrackLayout = TrackLayout.SINGLE,
    spacing: TrajIdSpacing = TrajIdSpacing.CONSECUTIVE,
) -> NDArray[np.uint8]:
    """Colours of points whose TrajIDs follow from their order in the array, as in real-video annotation.

    Args:
        seg_ids: (N,) SegIDs, -1 = on no segment.
        segment_count: S, the number of segments of the clip (also those without a point).

    Returns:
        (N, 3) uint8 RGB.
    """
    numbers = number_within_segments(seg_ids)
    if spacing is TrajIdSpacing.SPREAD:
        numbers = _spread(seg_ids, numbers, layout.spread_range)
    colors = _compose(red_ramp(segment_count, layout)[seg_ids + 1], numbers)
    if layout is TrackLayout.DOUBLE:
        colors[seg_ids == UNASSIGNED] = 0
    return colors


def trajectory_colors(trajectories: TrajectorySet) -> NDArray[np.uint8]:
    """Colours of a trajectory set: (N, 3) uint8 RGB.

    They depend on each point's stable ids and on `meta.segments` alone, never on which other points are
    present, so a sparsified set keeps the colours of the full one. For a set whose TrajIDs count up in
    array order they equal `id_colors`. Controlled segments take the red ramp in their order; all background
    segments are unassigned, as in the reference. Several background segments share one red, therefore their
    TrajIDs are interleaved (TrajID * number of background segments + rank); beyond 65,536 they wrap.

    Raises:
        FlexTrajError: there are more controlled segments than the red channel can tell apart.
    """
    segments = trajectories.meta.segments
    is_background = np.array([segment.background for segment in segments])
    controlled = int(np.count_nonzero(~is_background))
    if controlled > MAX_CONTROLLED_SEGMENTS:
        raise FlexTrajError(
            f"The trajectory set has {controlled} controlled segments, but an ID video can tell "
            f"{MAX_CONTROLLED_SEGMENTS} apart: sample by collection or mark props as background.",
            ErrorCode.TRAJECTORIES,
        )
    red_entry = np.where(is_background, 0, np.cumsum(~is_background))  # (S,)
    background_rank = np.cumsum(is_background) - 1
    stride = np.where(is_background, np.count_nonzero(is_background), 1)
    offset = np.where(is_background, background_rank, 0)
    seg = trajectories.seg_id
    numbers = trajectories.traj_id.astype(np.int64) * stride[seg] + offset[seg]
    return _compose(red_ramp(controlled)[red_entry[seg]], numbers % _TRAJ_ID_COUNT)


def segment_colors(background: Sequence[bool], point_count: int) -> NDArray[np.uint8]:
    """Mean colour of each segment in an ID video, by which a user knows it again: (S, 3) uint8.

    Args:
        background: for each segment, in the order of `meta.segments`, whether it is background.
        point_count: points on each segment.
    """
    is_background = np.array(background, dtype=bool)
    # More controlled segments than that are refused when they are painted; here the last ones look alike.
    controlled = min(int(np.count_nonzero(~is_background)), MAX_CONTROLLED_SEGMENTS)
    entry = np.where(is_background, 0, np.minimum(np.cumsum(~is_background), controlled))  # (S,)
    stride = np.where(is_background, np.count_nonzero(is_background), 1)
    numbers = np.minimum(np.maximum(point_count, 1) * stride, _TRAJ_ID_COUNT)  # TrajIDs run from 0 to there
    high, low = numbers // 256, numbers % 256
    green = (128 * high * (high - 1) + low * high) / numbers
    blue = (high * (255 * 128) + low * (low - 1) / 2) / numbers
    return np.stack([red_ramp(controlled)[entry], green, blue], axis=-1).round().astype(np.uint8)


def _spread(seg_ids: NDArray[np.integer], numbers: NDArray[np.int64], spread_range: int) -> NDArray[np.int64]:
    spread = np.empty_like(numbers)
    for seg_id in np.unique(seg_ids):
        members = seg_ids == seg_id
        steps = np.linspace(0, spread_range, np.count_nonzero(members)).astype(np.int64)
        spread[members] = steps[numbers[members]]
    return spread


def _compose(red: NDArray[np.uint8], numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
    return np.stack([red, numbers // 256 % 256, numbers % 256], axis=-1).astype(np.uint8)
