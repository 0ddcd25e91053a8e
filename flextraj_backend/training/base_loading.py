"""The frozen base model with a control that is still to be trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from blender_addon.core.errors import ErrorCode, FlexTrajError, RequestError
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.base_model import read_base_model
from flextraj_backend.models.checkpoint_layout import base_shape
from flextraj_backend.models.cogvideox_pipeline import FlexTrajCogVideoXPipeline
from flextraj_backend.models.controlled_pipeline import ControlledPipeline
from flextraj_backend.models.pipeline_inputs import ClipShape, check_clip
from flextraj_backend.models.wan_pipeline import FlexTrajWanPipeline
from flextraj_backend.models.weights import locate_weights
from flextraj_backend.training.controlnet_pipeline import (
    ControlNetCogVideoXPipeline,
    ControlNetWanPipeline,
)
from flextraj_backend.training.train_settings import FuseStart, Injection, TrainPrecision, TrainSettings

_PIPELINES: dict[tuple[Backbone, Injection], type[ControlledPipeline]] = {
    (Backbone.COGVIDEOX, Injection.CONCAT): FlexTrajCogVideoXPipeline,
    (Backbone.WAN, Injection.CONCAT): FlexTrajWanPipeline,
    (Backbone.COGVIDEOX, Injection.CONTROLNET): ControlNetCogVideoXPipeline,
    (Backbone.WAN, Injection.CONTROLNET): ControlNetWanPipeline,
}

DTYPES = {
    TrainPrecision.BF16: torch.bfloat16,
    TrainPrecision.FP32: torch.float32,
    TrainPrecision.FP16: torch.float16,
}


@dataclass(frozen=True, eq=False)
class TrainingBase:
    """A pipeline whose transformer has an untrained control; nothing else is trainable."""

    folder: Path
    pipeline: Any

    @property
    def backbone(self) -> Backbone:
        return self.pipeline.backbone

    @property
    def transformer(self) -> Any:
        return self.pipeline.transformer


def find_base(name: str) -> tuple[Path, Backbone]:
    """The folder of a base model, and what it is.

    Args:
        name: a folder in diffusers' layout, or an engine whose weights are installed.

    Raises:
        FlexTrajError: there is none, or it is incomplete.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        if name in tuple(Backbone):
            location = locate_weights(Backbone(name))
            return location.base, Backbone(name)
        raise RequestError(
            f"The base model '{name}' is neither a folder nor one of {', '.join(Backbone)}: "
            "give the folder of a CogVideoX or Wan model in diffusers' layout.",
            ErrorCode.WEIGHTS,
        )
    backbone = base_shape(folder).backbone
    read_base_model(folder, backbone)
    return folder, backbone


def load_base(settings: TrainSettings, device: torch.device) -> TrainingBase:
    """Load a base model, freeze it and add the control with fresh weights drawn from the seed.

    On a GPU the frozen weights have the number format that is computed in; on a CPU they stay in float32,
    which costs nothing there and keeps norms exact. What is trained is float32 everywhere.

    Raises:
        FlexTrajError: the weights cannot be loaded, or carry no control.
    """
    folder, backbone = find_base(settings.base)
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()
    frozen = torch.float32 if device.type == "cpu" else DTYPES[settings.precision]
    try:
        pipeline: Any = _PIPELINES[backbone, settings.injection].from_pretrained(
            folder, local_files_only=True, dtype=frozen
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        first_line = str(error).strip().partition("\n")[0].rstrip(".")[:200]
        raise FlexTrajError(
            f"The base model in {folder} cannot be loaded ({first_line}): check the folder.",
            ErrorCode.WEIGHTS,
        ) from error
    pipeline.set_progress_bar_config(disable=True)
    for part in (pipeline.vae, pipeline.text_encoder, pipeline.transformer):
        part.requires_grad_(False)
    _add_control(pipeline.transformer, settings)
    if settings.gradient_checkpointing:
        pipeline.transformer.enable_gradient_checkpointing()
    pipeline.transformer.train()
    pipeline.to(device)
    return TrainingBase(folder, pipeline)


def _add_control(transformer: Any, settings: TrainSettings) -> None:
    # The LoRA's first matrices are drawn from the global generator; the user's state is put back.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        if settings.injection is Injection.CONTROLNET:
            _add_control_blocks(transformer, settings.control_blocks)
        else:
            transformer.add_control(settings.rank, settings.alpha)
        if settings.fuse_start is FuseStart.IDENTITY:
            torch.nn.init.eye_(transformer.fuse_linear.weight)
    # accelerate shards the blocks of these classes, and refuses a name that no block has.
    present = {type(module).__name__ for module in transformer.modules()}
    transformer._no_split_modules = [name for name in transformer._no_split_modules if name in present]
    for _, parameter in transformer.trainable_parameters():
        parameter.data = parameter.data.float()


def _add_control_blocks(transformer: Any, count: int | None) -> None:
    try:
        transformer.add_control_blocks(count)
    except ValueError as error:
        raise RequestError(f"{str(error).rstrip('.')}: choose another number of control blocks.") from error


def check_clip_shape(pipeline: Any, frames: Sequence[int]) -> ClipShape:
    """Check that a base model can make clips of a dataset's shape, (T, H, W). Raises RequestError."""
    shape = ClipShape(*frames)
    check_clip(shape, pipeline.side_multiple, pipeline.frame_step)
    pipeline.check_shape(shape)
    return shape
