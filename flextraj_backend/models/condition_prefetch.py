"""Condition keys and values that wait in pinned host memory come to the GPU one layer ahead."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(eq=False)
class _Slot:
    """One layer's place on the GPU; two of them alternate."""

    keys: torch.Tensor
    values: torch.Tensor
    arrived: torch.cuda.Event


class ConditionPrefetch:
    """While a layer computes, a side stream copies the next layer's keys and values.

    Args:
        keys, values: of each layer, (B | 1, K, H, D), in host memory; all layers have one shape.
    """

    def __init__(self, keys: tuple[torch.Tensor, ...], values: tuple[torch.Tensor, ...]) -> None:
        self._keys, self._values = keys, values
        self._slots: dict[int, _Slot] = {}
        self._copies: torch.cuda.Stream | None = None

    # Streams and events cannot be traced; a compiled block calls out for its condition.
    @torch.compiler.disable
    def fetch(self, layer: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """The keys and values of a layer on `device`; those of the next layer are on their way.

        What is returned is overwritten when the layer after the next is fetched.
        """
        if device.type != "cuda":
            return self._keys[layer].to(device), self._values[layer].to(device)
        if layer not in self._slots:
            self._start_copy(layer, device)
        slot = self._slots[layer]
        torch.cuda.current_stream(device).wait_event(slot.arrived)
        following = (layer + 1) % len(self._keys)
        if following not in self._slots:
            self._start_copy(following, device, in_use=layer)
        return slot.keys, slot.values

    def _start_copy(self, layer: int, device: torch.device, in_use: int | None = None) -> None:
        if self._copies is None:
            self._copies = torch.cuda.Stream(device)
        slot = self._free_slot(device, in_use)
        # Whatever reads this slot was launched before now.
        self._copies.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(self._copies):
            slot.keys.copy_(self._keys[layer], non_blocking=True)
            slot.values.copy_(self._values[layer], non_blocking=True)
            slot.arrived.record()
        self._slots[layer] = slot

    def _free_slot(self, device: torch.device, in_use: int | None) -> _Slot:
        if len(self._slots) == 2:
            return self._slots.pop(next(layer for layer in self._slots if layer != in_use))
        slot = _Slot(
            torch.empty_like(self._keys[0], device=device),
            torch.empty_like(self._values[0], device=device),
            torch.cuda.Event(),
        )
        for tensor in (slot.keys, slot.values):
            tensor.record_stream(self._copies)
        return slot
