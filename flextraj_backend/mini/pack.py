"""The folder that the `mini` engine loads: half-precision weights, the control, and how they were trained."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file

from blender_addon.core.errors import ErrorCode, FlexTrajError, RequestError
from flextraj_backend.atomic_file import atomic_folder
from flextraj_backend.engines.mini.weights import CONTROL_NAME
from flextraj_backend.mini.autoencoder import build_autoencoder
from flextraj_backend.mini.base_folder import build_transformer
from flextraj_backend.mini.settings import MiniSettings
from flextraj_backend.models.tensor_file import write_tensors

MAX_BYTES = 40 * 1000 * 1000
"""What a repository can bear."""
_SMALL_FILES = 2 * 1000 * 1000
"""Text encoder, tokenizer, settings and logs."""
_ATTENTION_LAYERS = 4
"""Of a block that have a LoRA: query, key, value and output."""


def check_packed_size(settings: MiniSettings) -> None:
    """Refuse a model that could not be packed, before hours are spent on it.

    Raises:
        RequestError: it would be larger than 40 MB.
    """
    autoencoder = build_autoencoder(settings.autoencoder, settings.width, settings.height)
    shape = (settings.frames, settings.width, settings.height)
    transformer = build_transformer(settings.transformer, autoencoder, *shape)
    layers, width = settings.transformer.layers, settings.transformer.heads * settings.transformer.head_dim
    control = layers * _ATTENTION_LAYERS * 2 * width * settings.control.rank + width * (width + 1)
    numbers = control + sum(
        parameter.numel() for model in (autoencoder, transformer) for parameter in model.parameters()
    )
    size = numbers * torch.bfloat16.itemsize + _SMALL_FILES
    if size > MAX_BYTES:
        raise RequestError(
            f"The mini model would take {size / 1e6:.0f} MB, more than {MAX_BYTES / 1e6:.0f}: give it fewer "
            "layers, heads or channels in its configuration file."
        )


def pack_mini(base: Path, control: Path, folder: Path, logs: tuple[Path, ...]) -> Path:
    """Write the folder anew.

    Args:
        base: the trained base model's folder.
        control: the trained control's file.
        logs: JSON lines files of the trainings, copied beside.

    Raises:
        FlexTrajError: the result is larger than 40 MB.
    """
    with atomic_folder(folder) as temporary:
        shutil.copytree(base, temporary / "base")
        shutil.copyfile(control, temporary / CONTROL_NAME)
        for file in temporary.rglob("*.safetensors"):
            _halve(file)
        for log in logs:
            shutil.copyfile(log, temporary / f"{log.parent.name}_{log.name}")
        size = sum(file.stat().st_size for file in temporary.rglob("*") if file.is_file())
        if size > MAX_BYTES:
            raise FlexTrajError(
                f"The mini model takes {size / 1e6:.0f} MB, more than {MAX_BYTES / 1e6:.0f}: its parts stay; "
                "make a smaller one in another folder.",
                ErrorCode.REQUEST,
            )
    return folder


def _halve(path: Path) -> None:
    """Store float32 tensors as bfloat16; they are computed with in float32."""
    tensors = {
        name: tensor.to(torch.bfloat16) if tensor.dtype == torch.float32 else tensor
        for name, tensor in load_file(path).items()
    }
    write_tensors(path, tensors, {"format": "pt"})
