"""The folder that the `mini` engine loads: half-precision weights, the control, and how they were trained."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.atomic_file import atomic_folder
from flextraj_backend.engines.mini.weights import CONTROL_NAME

MAX_BYTES = 40 * 1000 * 1000
"""What a repository can bear."""


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
                f"The mini model takes {size / 1e6:.0f} MB, more than {MAX_BYTES / 1e6:.0f}: make it smaller "
                "in its configuration file.",
                ErrorCode.REQUEST,
            )
    return folder


def _halve(path: Path) -> None:
    """Store float32 tensors as bfloat16; they are computed with in float32."""
    tensors = {
        name: tensor.to(torch.bfloat16) if tensor.dtype == torch.float32 else tensor
        for name, tensor in load_file(path).items()
    }
    save_file(tensors, path, metadata={"format": "pt"})
