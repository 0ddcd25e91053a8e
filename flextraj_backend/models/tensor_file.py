"""Tensors written to safetensors files, whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from flextraj_backend.atomic_file import atomic_path


def write_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None
) -> Path:
    """Write a file.

    Raises:
        FlexTrajError: the folder cannot be written or the disk is full.
    """
    with atomic_path(path) as temporary:
        try:
            save_file(dict(tensors), temporary, None if metadata is None else dict(metadata))
        except SafetensorError as error:  # which hides the system's error
            raise OSError(str(error)) from error
    return path
