"""How a request's conditioning videos are painted."""

from __future__ import annotations

from blender_addon.core.conditioning import ColorCue, ConditioningSettings, Coverage
from blender_addon.core.request import RenderRequest


def conditioning_settings(request: RenderRequest) -> ConditioningSettings:
    """The settings of both videos, whatever raster they are painted at."""
    return ConditioningSettings(
        keep_points=request.keep_points,
        keep_frames=request.keep_frames,
        frames=request.kept_frames,
        seed=request.seed,
        coverage=Coverage.SURFACE if request.surface else Coverage.STAMPS,
        color_cue=ColorCue.TRAJECTORY_COLORS if request.color_cue else ColorCue.OFF,
    )
