"""Loads a pipeline: base model, control, further LoRAs; the last one stays for the next job."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from blender_addon.core.errors import ErrorCode
from blender_addon.core.model_options import CompileMode, LoraChoice, MemoryMode
from flextraj_backend.engines.base import EngineError
from flextraj_backend.engines.diffusion.accelerations import compile_blocks
from flextraj_backend.engines.diffusion.extra_loras import load_loras
from flextraj_backend.engines.diffusion.memory_limits import free_memory
from flextraj_backend.engines.diffusion.memory_rungs import place_weights
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.checkpoint import load_adapter
from flextraj_backend.models.cogvideox_pipeline import FlexTrajCogVideoXPipeline
from flextraj_backend.models.controlled_pipeline import ControlledPipeline
from flextraj_backend.models.devices import Device, DeviceKind
from flextraj_backend.models.wan_pipeline import FlexTrajWanPipeline
from flextraj_backend.models.weights import WeightsLocation, locate_lora

_PIPELINES: dict[Backbone, type[ControlledPipeline]] = {
    Backbone.COGVIDEOX: FlexTrajCogVideoXPipeline,
    Backbone.WAN: FlexTrajWanPipeline,
}
_HASH_CHUNK = 1 << 20
LOADING_STEPS = 3

OnStep = Callable[[int], None]


@dataclass(frozen=True)
class PipelineChoice:
    """What decides how a loaded pipeline looks; equal choices can share one."""

    backbone: Backbone
    location: WeightsLocation
    loras: tuple[LoraChoice, ...]
    rung: MemoryMode
    compile: CompileMode
    device: torch.device
    dtype: torch.dtype


@dataclass(frozen=True, eq=False)
class LoadedPipeline:
    """A pipeline that can generate.

    Attributes:
        control_sha256: of the control file.
    """

    pipeline: Any
    control_sha256: str


def torch_device(device: Device) -> torch.device:
    return torch.device(device.kind.value)


def number_format(device: Device) -> torch.dtype:
    """What the models compute in: bfloat16 as the authors', float32 on a CPU."""
    if device.kind is DeviceKind.CPU:
        return torch.float32
    return torch.bfloat16 if device.bf16 else torch.float16


def load_pipeline(choice: PipelineChoice, on_step: OnStep) -> LoadedPipeline:
    """Load a pipeline, or return the last one if it was chosen alike and its files have not changed.

    Args:
        on_step: called before each of `LOADING_STEPS` steps, from 0; may raise to stop.

    Raises:
        FlexTrajError: the weights cannot be loaded.
    """
    key = choice, _stamps(choice)
    if _slot.key != key:
        _slot.clear(choice.device)
        _slot.loaded, _slot.key = _load(choice, on_step), key
    assert _slot.loaded is not None
    return _slot.loaded


def forget_pipeline(device: torch.device) -> None:
    """Free the memory of the last pipeline, which a job may have left half offloaded."""
    _slot.clear(device)


class _Slot:
    """The last pipeline of this process: repeated renders do not load again."""

    def __init__(self) -> None:
        self.key: Any = None
        self.loaded: LoadedPipeline | None = None

    def clear(self, device: torch.device) -> None:
        self.key = self.loaded = None
        free_memory(device)


_slot = _Slot()


def _load(choice: PipelineChoice, on_step: OnStep) -> LoadedPipeline:
    _silence_libraries()
    on_step(0)
    location = choice.location
    try:
        pipeline = _PIPELINES[choice.backbone].from_pretrained(
            location.base, local_files_only=True, dtype=choice.dtype
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EngineError(
            f"The base model in {location.base} cannot be loaded ({_first_line(error)}): "
            f"run 'flextraj weights fetch {choice.backbone}', or check the folder.",
            ErrorCode.WEIGHTS,
        ) from error
    on_step(1)
    load_adapter(pipeline.transformer, location.adapter)
    load_loras(pipeline, choice.loras)
    on_step(2)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.vae.enable_slicing()
    place_weights(pipeline, choice.rung, choice.device)
    if choice.compile is CompileMode.REGIONAL:
        compile_blocks(pipeline.transformer)
    return LoadedPipeline(pipeline, _sha256(location.adapter))


def _stamps(choice: PipelineChoice) -> tuple[tuple[str, int, int], ...]:
    """Size and time of the files that a user may replace."""
    files = [choice.location.adapter, choice.location.base / "model_index.json"]
    files += [locate_lora(lora.name) for lora in choice.loras]
    return tuple((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files)


def _silence_libraries() -> None:
    """The job has a progress bar of its own, and warns the user in its own words."""
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_HASH_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")[:200]
