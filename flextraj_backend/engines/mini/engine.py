"""The `mini` engine: the whole method on a model so small that a processor runs it.

It goes the way of the diffusion engines (windows, caches, memory plan, record) at the one raster that the
model was trained at. Shots of other sizes are shrunk to it, and its frames are enlarged to the shot.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from blender_addon.core.errors import ErrorCode
from blender_addon.core.request import RenderRequest
from blender_addon.core.trajectories import TrajectoryMeta, TrajectorySet
from flextraj_backend.conditioning.render import render_conditioning
from flextraj_backend.conditioning.requested import conditioning_settings
from flextraj_backend.engines.base import (
    Availability,
    Cancelled,
    EngineError,
    EngineInputs,
    EngineOutput,
    Estimate,
    IsCancelled,
    Limits,
    Progress,
    ReportProgress,
)
from flextraj_backend.engines.diffusion.engine import DiffusionEngine
from flextraj_backend.engines.diffusion.profiles import MAX_SHOT_FRAMES, MINI
from flextraj_backend.engines.mini.model_raster import ModelRaster
from flextraj_backend.engines.mini.weights import damaged, installed_mini, locate_mini

LIMITS = Limits(min_frames=2, max_frames=MAX_SHOT_FRAMES, side_multiple=2, max_side=2048)
_MIN_SIDE = 16
_ENLARGING_SECONDS = 1e-8
"""For each pixel of the finished video."""


class MiniEngine:
    """The bundled small model. Same inputs, seed and machine: same video."""

    def __init__(self) -> None:
        self._model = DiffusionEngine(MINI, installed_mini)

    @property
    def name(self) -> str:
        return self._model.name

    @property
    def title(self) -> str:
        return self._model.title

    @property
    def reads(self) -> frozenset[str]:
        return self._model.reads

    def availability(self) -> Availability:
        return self._model.availability()

    def limits(self) -> Limits:
        return LIMITS

    def prepare(self, request: RenderRequest, trajectories: TrajectorySet) -> Estimate:
        raster = _model_raster(trajectories.meta)
        estimate = self._model.prepare(request, raster.trajectories(trajectories))
        pixels = trajectories.frame_count * trajectories.meta.width * trajectories.meta.height
        return replace(
            estimate,
            seconds=estimate.seconds + _ENLARGING_SECONDS * pixels,
            memory_bytes=estimate.memory_bytes + 3 * pixels,
            note=f"{estimate.note} A small demonstration model that computes {_text(raster)}.",
        )

    def render(
        self, inputs: EngineInputs, report_progress: ReportProgress, cancelled: IsCancelled
    ) -> EngineOutput:
        """Generate at the model's raster and enlarge; long shots window by window.

        Raises:
            EngineError: it cannot be made; the sentence says what to change.
            Cancelled: soon after `cancelled()` turned True.
        """
        raster = _model_raster(inputs.trajectories.meta)
        try:
            output = self._model.render(_at_model_raster(inputs, raster), report_progress, cancelled)
        except EngineError as error:
            if error.code is ErrorCode.WEIGHTS:
                raise damaged(locate_mini(), error) from error
            raise
        frames = np.empty((len(output.frames), *inputs.photo.shape), np.uint8)
        for index, frame in enumerate(raster.enlarged(output.frames)):
            if cancelled():
                raise Cancelled
            report_progress(Progress("enlarging", index, len(frames)))
            frames[index] = frame
        left, top, width, height = raster.content
        return EngineOutput(
            frames,
            f"mini model, {_text(raster)}",
            (
                f"This is a small demonstration model that computes {_text(raster)}: it shows how the "
                "control acts, not how good a picture can be.",
                *output.warnings,
            ),
            {
                **output.record,
                "raster": {
                    "width": raster.width,
                    "height": raster.height,
                    "shot": {"left": left, "top": top, "width": width, "height": height},
                },
            },
        )


def _model_raster(meta: TrajectoryMeta) -> ModelRaster:
    """The raster that the weights' configuration names, for a shot. Raises FlexTrajError."""
    if min(meta.width, meta.height) < _MIN_SIDE or max(meta.width, meta.height) > LIMITS.max_side:
        raise EngineError(
            f"The mini model makes pictures of {_MIN_SIDE} to {LIMITS.max_side} px a side, this shot has "
            f"{meta.width}x{meta.height}: change the resolution.",
            ErrorCode.SIZE,
        )
    size = installed_mini().sizes.fixed_size
    assert size is not None  # `installed_mini` refuses a model without
    height, width = size
    return ModelRaster(width, height, meta.width, meta.height)


def _at_model_raster(inputs: EngineInputs, raster: ModelRaster) -> EngineInputs:
    """The job as the model sees it; the conditioning videos are painted anew, not shrunk."""
    trajectories, fit = raster.trajectories(inputs.trajectories), raster.fit(inputs.fit)
    return replace(
        inputs,
        trajectories=trajectories,
        photo=raster.photo(inputs.photo),
        fit=fit,
        conditioning=render_conditioning(trajectories, conditioning_settings(inputs.request), fit),
        mask=None if inputs.mask is None else raster.mask(inputs.mask),
        subject_mask=None if inputs.subject_mask is None else raster.mask(inputs.subject_mask),
    )


def _text(raster: ModelRaster) -> str:
    return f"{raster.width}x{raster.height} px"
