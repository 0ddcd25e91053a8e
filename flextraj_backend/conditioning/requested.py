"""How a request's conditioning videos are painted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from blender_addon.core.conditioning import ColorCue, ConditioningSettings, Coverage
from blender_addon.core.request import RenderRequest
from blender_addon.core.trajectories import TrajectorySet
from flextraj_backend.conditioning.photo_colors import with_photo_colors


def conditioning_settings(request: RenderRequest) -> ConditioningSettings:
    """The settings of both videos, whatever raster they are painted at."""
    return ConditioningSettings(
        keep_points=request.keep_points,
        keep_frames=request.keep_frames,
        frames=request.kept_frames,
        seed=request.seed,
        coverage=Coverage.SURFACE if request.surface else Coverage.STAMPS,
        color_cue=_color_cue(request),
    )


def colored_as_requested(
    request: RenderRequest,
    trajectories: TrajectorySet,
    photo: NDArray[np.uint8],
    fit: NDArray[np.float64],
) -> TrajectorySet:
    """The set with the colours of the request's colour cue.

    Args:
        photo: (H, W, 3) uint8 RGB at the raster of the set.
        fit: (2, 3) affine from pixels of the set to pixels of the photo.
    """
    if _color_cue(request) is not ColorCue.PHOTO_COLORS:
        return trajectories
    return with_photo_colors(trajectories, photo, fit)


def _color_cue(request: RenderRequest) -> ColorCue:
    if not request.color_cue:
        return ColorCue.OFF
    return ColorCue.PHOTO_COLORS if request.photo_colors else ColorCue.TRAJECTORY_COLORS
