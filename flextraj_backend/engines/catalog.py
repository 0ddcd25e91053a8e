"""What each engine can do on this machine, as the server and `flextraj engines` tell it."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from blender_addon.client.messages import EngineInfo
from blender_addon.core.errors import FlexTrajError
from blender_addon.core.request import RenderRequest
from blender_addon.core.trajectories import Segment, TrajectoryMeta, TrajectorySet
from flextraj_backend.engines.base import Engine, Estimate, Limits
from flextraj_backend.engines.registry import engines

NOMINAL_FRAMES, NOMINAL_WIDTH, NOMINAL_HEIGHT, NOMINAL_POINTS = 49, 720, 480, 2500
"""The job that the estimates are for; an engine that cannot make this size gets the nearest that it can."""
_ANY_ASSET = "0" * 64


def engine_infos() -> tuple[EngineInfo, ...]:
    """All engines, also those that cannot run here."""
    return tuple(_describe(item) for item in engines())


def _describe(engine: Engine) -> EngineInfo:
    availability, limits = engine.availability(), engine.limits()
    estimate = _nominal_estimate(engine, limits) if availability.available else None
    return EngineInfo(
        name=engine.name,
        title=engine.title,
        available=availability.available,
        reason=availability.reason,
        reason_code=None if availability.available else availability.code,
        **asdict(limits),
        seconds=None if estimate is None else estimate.seconds,
        memory_bytes=None if estimate is None else estimate.memory_bytes,
        vram_bytes=None if estimate is None else estimate.vram_bytes,
        note="" if estimate is None else estimate.note,
    )


def _nominal_estimate(engine: Engine, limits: Limits) -> Estimate | None:
    """Estimate of the nominal job; None where the engine cannot make just that one."""
    try:
        request = RenderRequest(trajectories=_ANY_ASSET, image=_ANY_ASSET, engine=engine.name)
        return engine.prepare(request, _nominal_trajectories(*_nominal_size(limits)))
    except FlexTrajError:
        return None


def _nominal_size(limits: Limits) -> tuple[int, int]:
    """Width and height nearest to the nominal ones that an engine can make."""
    if limits.fixed_width:
        return limits.fixed_width, limits.fixed_height
    step = limits.side_multiple
    return max(round(NOMINAL_WIDTH / step), 1) * step, max(round(NOMINAL_HEIGHT / step), 1) * step


def _nominal_trajectories(width: int, height: int) -> TrajectorySet:
    shape = (NOMINAL_FRAMES, NOMINAL_POINTS)
    frames = tuple(map(float, range(NOMINAL_FRAMES)))
    return TrajectorySet(
        positions=np.ones((*shape, 3), np.float32),
        visible=np.ones(shape, np.bool_),
        seg_id=np.zeros(NOMINAL_POINTS, np.uint16),
        traj_id=np.arange(NOMINAL_POINTS, dtype=np.uint16),
        silhouette=np.ones((1, height, width), np.bool_),
        meta=TrajectoryMeta(width, height, 16.0, frames, (Segment(0, "subject"),), aligned=True),
    )
