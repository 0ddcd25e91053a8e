"""Controls on disk: the authors' files load as they are, and ours are written in their format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import nn

from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.version import package_version
from flextraj_backend.atomic_file import write_bytes
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.checkpoint_layout import BaseShape, ControlLayout, control_layout, names_in_short
from flextraj_backend.models.checkpoint_names import FUSE_BIAS, FUSE_WEIGHT, authors_name
from flextraj_backend.models.checkpoint_summary import (
    VERSION_KEY,
    AdapterSummary,
    adapter_summary,
    check_finite,
    layout_notes,
    summarize,
)
from flextraj_backend.models.safetensors_header import SafetensorsHeader, read_header
from flextraj_backend.models.streams import CONDITION_ADAPTER

if TYPE_CHECKING:
    from flextraj_backend.models.injection import FlexTrajMixin

__all__ = [
    "Adapter",
    "AdapterSummary",
    "SavedPrecision",
    "adapter_of",
    "adapter_summary",
    "load_adapter",
    "read_adapter",
    "save_adapter",
    "write_adapter",
]


class SavedPrecision(StrEnum):
    """Number format of a written control."""

    BFLOAT16 = "bf16"
    """What the models run in; half the size."""
    FLOAT32 = "fp32"
    """For going on with the training."""

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if self is SavedPrecision.BFLOAT16 else torch.float32


@dataclass(frozen=True, eq=False)
class Adapter:
    """A control in memory.

    `tensors` have the names of diffusers' transformer without prefix and adapter name:
    `blocks.0.attn1.to_q.lora_A.weight` (rank, width), `.lora_B.weight` (width, rank), `fuse_linear.weight`
    (width, width) and `fuse_linear.bias` (width,). LoRA is applied with alpha / rank.
    """

    backbone: Backbone
    rank: int
    alpha: float
    tensors: Mapping[str, torch.Tensor]
    notes: tuple[str, ...] = ()
    """Sentences about tensors of the file that have no effect or were not loaded."""


def read_adapter(path: Path) -> Adapter:
    """Read a control file into host memory, in the number format it is stored in.

    Raises:
        FlexTrajError: it is no control file, contradicts itself, or holds values that are not finite.
    """
    header = read_header(path)
    layout = control_layout(header)
    return _read(header, layout)


def load_adapter(transformer: FlexTrajMixin, path: Path) -> AdapterSummary:
    """Put a control file into a transformer; a control that it has is replaced, other LoRAs stay as they are.

    The values take the device and number format of the transformer's control; where that is on the meta
    device, the control's tensors become real on the CPU. A condition that was in use is taken out, for it was
    encoded with the old control. The transformer is changed only after the whole file has been checked.
    Load before weights are offloaded.

    Raises:
        FlexTrajError: the file does not fit this transformer; missing, unknown and wrong-shaped tensors are
            named.
    """
    header = read_header(path)
    layout = control_layout(header, _base_shape(transformer))
    adapter = _read(header, layout)
    if _rank_and_alpha(transformer) == (adapter.rank, adapter.alpha):
        transformer.use_condition(None)
    else:
        transformer.add_control(adapter.rank, adapter.alpha)
    _assign(transformer, adapter.tensors)
    return summarize(header, layout)


def save_adapter(
    transformer: FlexTrajMixin, path: Path, precision: SavedPrecision = SavedPrecision.BFLOAT16
) -> Path:
    """Write a transformer's control in the authors' format.

    Raises:
        FlexTrajError: as `write_adapter`.
    """
    return write_adapter(adapter_of(transformer), path, precision)


def adapter_of(transformer: FlexTrajMixin) -> Adapter:
    """A transformer's control, sharing its memory.

    Raises:
        ValueError: the transformer has no control.
    """
    rank_and_alpha = _rank_and_alpha(transformer)
    if rank_and_alpha is None:
        raise ValueError("The transformer has no control: call add_control first.")
    tensors = {name: parameter.detach() for name, (_, parameter) in _control_parameters(transformer).items()}
    return Adapter(transformer.backbone, *rank_and_alpha, tensors)


def write_adapter(adapter: Adapter, path: Path, precision: SavedPrecision = SavedPrecision.BFLOAT16) -> Path:
    """Write a control under the authors' names, with rank, alpha and version in the metadata; atomically.

    The tensors must be whole: sharded ones are gathered before.

    Raises:
        FlexTrajError: the file cannot be written, or a value is not finite (nothing is written then).
    """
    if path.suffix != ".safetensors":
        raise FlexTrajError(
            f"{path} must end in .safetensors: give the control such a name.", ErrorCode.REQUEST
        )
    tensors = {
        authors_name(adapter.backbone, name): tensor.detach().to("cpu", precision.dtype).contiguous()
        for name, tensor in adapter.tensors.items()
    }
    broken = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if broken:
        raise FlexTrajError(
            f"The control was not saved as {path}: {len(broken)} of its tensors have values that are not "
            f"finite ({names_in_short(broken)}), so its training diverged; go back to an earlier one.",
            ErrorCode.WEIGHTS,
        )
    metadata = {
        "format": "pt",
        "backbone": adapter.backbone.value,
        "rank": str(adapter.rank),
        "alpha": repr(float(adapter.alpha)),
        VERSION_KEY: package_version(),
    }
    return write_bytes(path, save(tensors, metadata))


def _base_shape(transformer: FlexTrajMixin) -> BaseShape:
    return BaseShape(transformer.backbone, transformer.config["num_layers"], transformer.hidden_size)


def _read(header: SafetensorsHeader, layout: ControlLayout) -> Adapter:
    check_finite(header, layout)
    with safe_open(header.path, "pt", device="cpu") as file:
        # Cloned, because what safetensors returns may be a window into the file, which may be replaced.
        tensors = {name: file.get_tensor(stored).clone() for name, stored in layout.stored_names.items()}
    return Adapter(layout.base.backbone, layout.rank, layout.alpha, tensors, layout_notes(layout))


def _rank_and_alpha(transformer: FlexTrajMixin) -> tuple[int, float] | None:
    """Of the control that the transformer has, if it has one."""
    config = getattr(transformer, "peft_config", {}).get(CONDITION_ADAPTER)
    return None if config is None else (config.r, float(config.lora_alpha))


def _control_parameters(transformer: FlexTrajMixin) -> dict[str, tuple[str, nn.Parameter]]:
    """The control's parameters and their names in the module, by their names without the adapter's."""
    ending = f".{CONDITION_ADAPTER}.weight"
    return {
        f"{name.removesuffix(ending)}.weight" if name.endswith(ending) else name: (name, parameter)
        for name, parameter in transformer.named_parameters()
        if name.endswith(ending) or name in (FUSE_WEIGHT, FUSE_BIAS)
    }


@torch.no_grad()
def _assign(transformer: FlexTrajMixin, tensors: Mapping[str, torch.Tensor]) -> None:
    parameters = _control_parameters(transformer)
    if parameters.keys() != tensors.keys():
        odd = sorted(parameters.keys() ^ tensors.keys())
        raise ValueError(f"The transformer's control has other tensors than its file: {names_in_short(odd)}.")
    for name, (path, parameter) in parameters.items():
        if parameter.is_meta:
            module, _, attribute = path.rpartition(".")
            real = nn.Parameter(tensors[name].to(parameter.dtype), parameter.requires_grad)
            setattr(transformer.get_submodule(module), attribute, real)
        else:
            parameter.copy_(tensors[name])
