"""Condition keys and values that wait in pinned host memory come to the GPU one layer ahead."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True, eq=False)
class _Slot:
    """A layer's place on the device; two of them alternate."""

    keys: torch.Tensor
    values: torch.Tensor
    arrived: Any
    """Event of the device."""


class PrefetchedLayer:
    """One layer's share of a prefetch.

    Apart from the attention processor, so that compiled code does not depend on the layer's index.
    """

    def __init__(self, prefetch: ConditionPrefetch, layer: int) -> None:
        self._prefetch, self._layer = prefetch, layer

    # Streams cannot be traced: a compiled block calls out for its condition.
    @torch.compiler.disable
    def fetch(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """See `ConditionPrefetch.fetch`."""
        return self._prefetch.fetch(self._layer, device)


class ConditionPrefetch:
    """While a layer computes, a second stream copies the next layer's keys and values.

    Args:
        keys, values: of each layer, (B | 1, K, H, D), in host memory; all layers have one shape.
    """

    def __init__(self, keys: tuple[torch.Tensor, ...], values: tuple[torch.Tensor, ...]) -> None:
        self._keys, self._values = keys, values
        self._slots: dict[int, _Slot] = {}
        self._stream: Any = None

    def source(self, layer: int) -> PrefetchedLayer:
        """Where a layer gets its keys and values."""
        return PrefetchedLayer(self, layer)

    def fetch(self, layer: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """The keys and values of a layer on `device`; those of the next layer are on their way.

        What is returned is overwritten once the next layer has been fetched. Every call names the same
        device.
        """
        with _current(device):
            if layer not in self._slots:
                self._start_copy(layer, device, in_use=None)
            slot = self._slots[layer]
            torch.get_device_module(device).current_stream().wait_event(slot.arrived)
            following = (layer + 1) % len(self._keys)
            if following not in self._slots:
                self._start_copy(following, device, in_use=layer)
        return slot.keys, slot.values

    def _start_copy(self, layer: int, device: torch.device, in_use: int | None) -> None:
        streams = torch.get_device_module(device)
        if self._stream is None:
            self._stream = streams.Stream()
        slot = self._free_slot(device, in_use)
        # Whatever reads this slot was launched before now.
        self._stream.wait_stream(streams.current_stream())
        with streams.stream(self._stream):
            slot.keys.copy_(self._keys[layer], non_blocking=True)
            slot.values.copy_(self._values[layer], non_blocking=True)
            slot.arrived.record(self._stream)
        self._slots[layer] = slot

    def _free_slot(self, device: torch.device, in_use: int | None) -> _Slot:
        if len(self._slots) == 2:
            return self._slots.pop(next(layer for layer in self._slots if layer != in_use))
        keys = torch.empty_like(self._keys[0], device=device)
        values = torch.empty_like(self._values[0], device=device)
        if device.type != "cpu":
            keys.record_stream(self._stream)
            values.record_stream(self._stream)
        return _Slot(keys, values, torch.get_device_module(device).Event())


def _current(device: torch.device) -> AbstractContextManager[Any]:
    """Within, new streams and events belong to `device`, whichever the process's current one is."""
    return nullcontext() if device.type == "cpu" else torch.get_device_module(device).device(device)
