"""From a trajectory set to its two conditioning videos."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from blender_addon.core.conditioning import (
    ConditioningSettings,
    Coverage,
    StampedFrames,
    cue_colors,
    frames_kept,
    points_kept,
)
from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.id_coding import trajectory_colors
from blender_addon.core.stamping import FrameCover, pack_colors
from blender_addon.core.trajectories import TrajectorySet
from flextraj_backend.conditioning.painting import paint
from flextraj_backend.conditioning.surface import SurfaceCover
from flextraj_backend.engines.base import ConditioningVideos


def render_conditioning(
    trajectories: TrajectorySet,
    settings: ConditioningSettings,
    fit: NDArray[np.float64] | None = None,
    on_frame: Callable[[int], None] | None = None,
) -> ConditioningVideos:
    """Render the ID video and the colour video of a set, nearest point on top.

    Colours are those of the full set whatever is kept. Dropped frames are black in both videos. Without
    `color` in the set, or with the colour cue off, the colour video is black.

    Args:
        fit: (2, 3) affine from pixels of the set to pixels of the photo, or None: as projected. Points that
            the set calls hidden stay hidden.
        on_frame: called with the number of frames done.

    Raises:
        FlexTrajError: the fit is not an invertible (2, 3) matrix of finite numbers, there are too many
            segments, or a kept frame is not one of the set's.
    """
    if fit is not None:
        fit = _checked_fit(fit)
    return paint_frames(trajectories, settings, _frame_cover(trajectories, settings, fit), on_frame)


def paint_frames(
    trajectories: TrajectorySet,
    settings: ConditioningSettings,
    frame_cover: Callable[[int], FrameCover],
    on_frame: Callable[[int], None] | None = None,
) -> ConditioningVideos:
    """Paint both videos of a set where `frame_cover` says which point is on top of each pixel of a frame.

    Raises:
        FlexTrajError: there are too many segments, or a kept frame is not one of the set's.
    """
    meta = trajectories.meta
    frame_count = trajectories.frame_count
    id_palette = pack_colors(trajectory_colors(trajectories))
    ids = np.zeros((frame_count, meta.height, meta.width, 3), np.uint8)
    color = np.zeros_like(ids)
    for done, frame in enumerate(frames_kept(frame_count, settings).tolist(), start=1):
        cover = frame_cover(frame)
        paint(cover, ids[frame], id_palette)
        cue = cue_colors(trajectories, settings, frame)
        if cue is not None:
            paint(cover, color[frame], pack_colors(cue))
        if on_frame is not None:
            on_frame(done)
    return ConditioningVideos(ids=ids, color=color)


def _checked_fit(fit: NDArray[np.float64]) -> NDArray[np.float64]:
    matrix = np.asarray(fit, np.float64)
    if matrix.shape != (2, 3) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:, :2])) < 1e-9:
        raise FlexTrajError(
            "The fit must be an invertible 2x3 matrix of finite numbers: fit the motion to the photo again.",
            ErrorCode.REQUEST,
        )
    return matrix


def _frame_cover(
    trajectories: TrajectorySet, settings: ConditioningSettings, fit: NDArray[np.float64] | None
) -> Callable[[int], FrameCover]:
    if settings.coverage is not Coverage.SURFACE:
        return StampedFrames(trajectories, settings, fit).frame
    cover = SurfaceCover(trajectories, points_kept(trajectories, settings), fit)
    if any(segment.background for segment in trajectories.meta.segments):
        return SurfaceOverStamps(trajectories, settings, fit, cover).frame
    return cover.frame


class SurfaceOverStamps:
    """The surface of the subjects, and stamps of the background's points below it.

    So the models were trained: the authors' rendered clips show characters whole and their surroundings as
    single points (conventions 1.10).
    """

    def __init__(
        self,
        trajectories: TrajectorySet,
        settings: ConditioningSettings,
        fit: NDArray[np.float64] | None,
        cover: SurfaceCover,
    ) -> None:
        meta = trajectories.meta
        is_background = np.array([segment.background for segment in meta.segments])[
            trajectories.seg_id
        ]  # (N,)
        apart = replace(trajectories, visible=trajectories.visible & is_background)
        self._cover = cover
        self._stamps = StampedFrames(apart, settings, fit)
        self._is_dropped = np.concatenate([[False], is_background])
        """Of each label of the surface."""
        self._raster = (meta.height, meta.width)

    def frame(self, index: int) -> FrameCover:
        """Cover of the frame with this index."""
        surface, stamps = self._cover.frame(index), self._stamps.frame(index)
        # The background's surface still hides what is behind it.
        label = np.where(self._is_dropped[surface.label], 0, surface.label)
        below = np.zeros(self._raster, label.dtype)
        names = np.concatenate([[0], stamps.points + 1])
        below[stamps.rows, stamps.columns] = names[stamps.label]
        return replace(surface, label=np.where(label > 0, label, below))
