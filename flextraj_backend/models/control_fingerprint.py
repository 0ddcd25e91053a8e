"""A name of a control and of the base model it sits on, by which caches of another one are recognised."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from flextraj_backend.models.streams import CONDITION_ADAPTER


class ControlFingerprint:
    """The digest of a control's tensors and of the base model's configuration, renewed when they change.

    The tensors count as bfloat16, so that a control has one name in whatever number format it runs. The base
    model's weights are left out: reading gigabytes of them would take longer than encoding the condition.
    """

    def __init__(self, transformer: nn.Module) -> None:
        """Args: a transformer whose control has its layers."""
        # Found once, for they are looked through at every use of a cache.
        self._layers = [
            (path, layer)
            for path, layer in transformer.named_modules()
            if path == "fuse_linear" or path.endswith(f".{CONDITION_ADAPTER}")
        ]
        self._versions: list[tuple[int, int]] = []
        self._digest = ""

    def digest(self, config: Mapping[str, Any]) -> str:
        """64 hexadecimal digits; empty where the numbers are not here: on the meta device, or sharded.

        Args:
            config: of the base model; entries about where it came from (`_name`) do not count.
        """
        control = [
            (f"{path}.{name}", parameter)
            for path, layer in self._layers
            for name, parameter in layer.named_parameters()
        ]
        if any(tensor.is_meta or hasattr(tensor, "full_tensor") for _, tensor in control):
            return ""
        # Not by their memory, which offloading moves about.
        versions = [(id(tensor), tensor._version) for _, tensor in control]
        if versions != self._versions:
            self._digest, self._versions = _digest(control, config), versions
        return self._digest


def _digest(control: Sequence[tuple[str, torch.Tensor]], config: Mapping[str, Any]) -> str:
    base = {name: value for name, value in config.items() if not name.startswith("_")}
    digest = hashlib.sha256(json.dumps(base, sort_keys=True, default=str).encode())
    for name, tensor in control:
        numbers = tensor.detach().to("cpu", torch.bfloat16).contiguous().flatten().view(torch.uint8)
        digest.update(f"{name} {list(tensor.shape)}".encode())
        digest.update(numbers.numpy().tobytes())
    return digest.hexdigest()
