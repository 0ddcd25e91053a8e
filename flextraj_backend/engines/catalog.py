"""What each engine can do on this machine, as the server and `flextraj engines` tell it."""

from __future__ import annotations

import numpy as np

from blender_addon.client.messages import EngineInfo
from blender_addon.core.errors import FlexTrajError
from blender_addon.core.request import RenderRequest
from blender_addon.core.trajectories import Segment, TrajectoryMeta, TrajectorySet
from flextraj_backend.engines.base import Engine, Estimate
from flextraj_backend.engines.registry import engines

NOMINAL_FRAMES, NOMINAL_WIDTH, NOMINAL_HEIGHT, NOMINAL_POINTS = 49, 720, 480, 2500
"""The job that the estimates are for."""
_ANY_ASSET = "0" * 64


def engine_infos() -> tuple[EngineInfo, ...]:
    """All engines, also those that cannot run here."""
    return tuple(_describe(item) for item in engines())


def _describe(engine: Engine) -> EngineInfo:
    availability, limits = engine.availability(), engine.limits()
    estimate = _nominal_estimate(engine) if availability.available else None
    return EngineInfo(
        name=engine.name,
        title=engine.title,
        available=availability.available,
        reason=availability.reason,
        min_frames=limits.min_frames,
        max_frames=limits.max_frames,
        frame_step=limits.frame_step,
        frame_offset=limits.frame_offset,
        side_multiple=limits.side_multiple,
        max_side=limits.max_side,
        seconds=None if estimate is None else estimate.seconds,
        memory_bytes=None if estimate is None else estimate.memory_bytes,
        vram_bytes=None if estimate is None else estimate.vram_bytes,
    )


def _nominal_estimate(engine: Engine) -> Estimate | None:
    """Estimate of the nominal job; None where the engine cannot make just that one."""
    try:
        request = RenderRequest(trajectories=_ANY_ASSET, image=_ANY_ASSET, engine=engine.name)
        return engine.prepare(request, _nominal_trajectories())
    except FlexTrajError:
        return None


def _nominal_trajectories() -> TrajectorySet:
    shape = (NOMINAL_FRAMES, NOMINAL_POINTS)
    frames = tuple(map(float, range(NOMINAL_FRAMES)))
    return TrajectorySet(
        positions=np.ones((*shape, 3), np.float32),
        visible=np.ones(shape, np.bool_),
        seg_id=np.zeros(NOMINAL_POINTS, np.uint16),
        traj_id=np.arange(NOMINAL_POINTS, dtype=np.uint16),
        silhouette=np.ones((1, NOMINAL_HEIGHT, NOMINAL_WIDTH), np.bool_),
        meta=TrajectoryMeta(NOMINAL_WIDTH, NOMINAL_HEIGHT, 16.0, frames, (Segment(0, "subject"),)),
    )
