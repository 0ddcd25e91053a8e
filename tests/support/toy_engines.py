"""Toy weights laid out as the user's, and inputs of jobs on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tiny_pipelines import build_tiny, write_tiny_adapter

from blender_addon.core.model_options import ModelOptions
from blender_addon.core.request import RenderRequest
from blender_addon.core.trajectories import Segment, TrajectoryMeta, TrajectorySet
from flextraj_backend.engines.base import ConditioningVideos, EngineInputs, Progress
from flextraj_backend.models.backbone import Backbone

WIDTH, HEIGHT, FRAMES = 96, 64, 9
STEPS = 3
_ANY_ASSET = "0" * 64


def install_toy_weights(folder: Path, *backbones: Backbone) -> Path:
    """Fill a folder as FLEXTRAJ_WEIGHTS_DIR names it: base models and controls. Returns it."""
    for backbone in backbones:
        base = build_tiny(backbone, folder / backbone.value / "base")
        write_tiny_adapter(backbone, base, folder / backbone.value / f"flextraj_{backbone}.safetensors")
    (folder / "loras").mkdir(parents=True, exist_ok=True)
    return folder


def shot(
    frames: int = FRAMES, *, width: int = WIDTH, height: int = HEIGHT, aligned: bool = True
) -> TrajectorySet:
    """Some points that drift to the right."""
    rng = np.random.default_rng(0)
    start = rng.uniform([10, 10, 1], [width // 2, height - 10, 5], (12, 3))  # (N, 3)
    drift = np.linspace([0, 0, 0], [width // 3, 0, 0], frames)  # (T, 3)
    return TrajectorySet(
        positions=(start[None] + drift[:, None]).astype(np.float32),
        visible=np.ones((frames, 12), bool),
        seg_id=np.zeros(12, np.uint16),
        traj_id=np.arange(12, dtype=np.uint16),
        silhouette=np.ones((1, height, width), bool),
        meta=TrajectoryMeta(
            width, height, 16.0, tuple(map(float, range(frames))), (Segment(0, "Box"),), aligned=aligned
        ),
    )


def request(backbone: Backbone, model: ModelOptions | None = None, **settings: Any) -> RenderRequest:
    """A request of few steps."""
    settings = {"prompt": "a red ball moving right", "steps": STEPS} | settings
    return RenderRequest(
        _ANY_ASSET, _ANY_ASSET, engine=backbone.value, model=model or ModelOptions(), **settings
    )


def job_inputs(job: RenderRequest, trajectories: TrajectorySet) -> EngineInputs:
    """Inputs with an ID video of squares that follow the points, and no colour cue."""
    ids = id_video(trajectories)
    rng = np.random.default_rng(1)
    meta = trajectories.meta
    photo = rng.integers(0, 256, (meta.height, meta.width, 3), dtype=np.uint8)
    return EngineInputs(job, trajectories, photo, np.eye(2, 3), ConditioningVideos(ids, np.zeros_like(ids)))


def id_video(trajectories: TrajectorySet) -> NDArray[np.uint8]:
    """(T, H, W, 3) uint8: each point as a square of its own colour."""
    meta = trajectories.meta
    video = np.zeros((trajectories.frame_count, meta.height, meta.width, 3), np.uint8)
    for frame, points in zip(video, trajectories.positions, strict=True):
        for number, (x, y, _) in enumerate(points):
            frame[int(y) - 2 : int(y) + 2, int(x) - 2 : int(x) + 2] = (
                40 + 15 * number,
                255 - 15 * number,
                80,
            )
    return video


class Watcher:
    """Notes the progress of a job; says that it is cancelled from a certain report on."""

    def __init__(self, cancel_at: Progress | None = None) -> None:
        self.seen: list[Progress] = []
        self._cancel_at = cancel_at

    def report(self, progress: Progress) -> None:
        self.seen.append(progress)

    def cancelled(self) -> bool:
        return self._cancel_at is not None and self._cancel_at in self.seen

    @property
    def phases(self) -> list[str]:
        """Names of the phases in order, without repetitions in a row."""
        names = [progress.phase for progress in self.seen]
        return [name for name, before in zip(names, ["", *names], strict=False) if name != before]
