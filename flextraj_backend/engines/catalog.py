"""What each engine can do on this machine, as the server and `flextraj engines` tell it."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from blender_addon.client.estimates import EstimateAnswer, EstimateQuestion
from blender_addon.client.messages import EngineInfo
from blender_addon.core.errors import FlexTrajError
from blender_addon.core.request import RenderRequest
from blender_addon.core.trajectories import Segment, TrajectoryMeta, TrajectorySet
from flextraj_backend.engines.base import Engine, Estimate, Limits
from flextraj_backend.engines.registry import engine, engines
from flextraj_backend.models.weights import lora_names

NOMINAL_FRAMES, NOMINAL_WIDTH, NOMINAL_HEIGHT = 49, 720, 480
"""The job that the estimates are for; an engine that cannot make this size gets the nearest that it can."""
_ANY_ASSET = "0" * 64


def engine_infos() -> tuple[EngineInfo, ...]:
    """All engines, also those that cannot run here."""
    return tuple(_describe(item) for item in engines())


def _describe(described: Engine) -> EngineInfo:
    availability, limits = described.availability(), described.limits()
    estimate = _nominal_estimate(described, limits) if availability.available else None
    return EngineInfo(
        name=described.name,
        title=described.title,
        available=availability.available,
        reason=availability.reason,
        reason_code=None if availability.available else availability.code,
        **asdict(limits),
        seconds=None if estimate is None else estimate.seconds,
        memory_bytes=None if estimate is None else estimate.memory_bytes,
        vram_bytes=None if estimate is None else estimate.vram_bytes,
        note="" if estimate is None else estimate.note,
        reads=tuple(sorted(described.reads)),
        loras=lora_names() if "model" in described.reads else (),
    )


def answer_estimate(question: EstimateQuestion) -> EstimateAnswer:
    """What a job would take on this machine, or why it cannot be made; nothing is loaded."""
    try:
        asked = engine(question.request.engine)
        availability = asked.availability()
        if not availability.available:
            return EstimateAnswer(refusal=availability.reason, refusal_code=availability.code)
        shape = nominal_trajectories(question.frames, question.width, question.height, question.aligned)
        found = asked.prepare(question.request, shape)
    except FlexTrajError as error:
        return EstimateAnswer(refusal=error.message, refusal_code=error.code)
    return EstimateAnswer(found.seconds, found.memory_bytes, found.vram_bytes, found.note)


def _nominal_estimate(asked: Engine, limits: Limits) -> Estimate | None:
    """Estimate of the nominal job; None where the engine cannot make just that one."""
    try:
        request = RenderRequest(trajectories=_ANY_ASSET, image=_ANY_ASSET, engine=asked.name)
        return asked.prepare(request, nominal_trajectories(NOMINAL_FRAMES, *_nominal_size(limits)))
    except FlexTrajError:
        return None


def _nominal_size(limits: Limits) -> tuple[int, int]:
    """Width and height nearest to the nominal ones that an engine can make."""
    if limits.fixed_width:
        return limits.fixed_width, limits.fixed_height
    step = limits.side_multiple
    return max(round(NOMINAL_WIDTH / step), 1) * step, max(round(NOMINAL_HEIGHT / step), 1) * step


def nominal_trajectories(frames: int, width: int, height: int, aligned: bool = True) -> TrajectorySet:
    """The smallest set of a job's shape: engines estimate by frames, size and alignment alone."""
    return TrajectorySet(
        positions=np.ones((frames, 1, 3), np.float32),
        visible=np.ones((frames, 1), np.bool_),
        seg_id=np.zeros(1, np.uint16),
        traj_id=np.zeros(1, np.uint16),
        meta=TrajectoryMeta(
            width, height, 16.0, tuple(map(float, range(frames))), (Segment(0, "subject"),), aligned=aligned
        ),
    )
