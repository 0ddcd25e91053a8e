"""Counts the bytes of all live tensors while a model runs, also on the meta device."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Within, `peak` is the largest sum of bytes of tensors that came into being and were alive together.

    Args:
        modules: whose weights do not count.
    """

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__()
        self.peak = self._live = 0
        self._known: dict[int, Any] = {}
        self._inputs: list[torch.Tensor] = []
        for module in modules:
            self._leave_out((*module.parameters(), *module.buffers()))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._leave_out(tree_leaves((args, kwargs)))
        results = func(*args, **(kwargs or {}))
        for result in tree_leaves(results):
            if isinstance(result, torch.Tensor):
                self._count(result.untyped_storage())
        return results

    def _leave_out(self, values: Any) -> None:
        """What was there before is not counted; it is held, so that its place is not taken by another."""
        for value in values:
            if isinstance(value, torch.Tensor) and value.untyped_storage()._cdata not in self._known:
                self._known[value.untyped_storage()._cdata] = None
                self._inputs.append(value)

    def _count(self, storage: torch.UntypedStorage) -> None:
        place = storage._cdata
        if place in self._known:
            return
        size = storage.nbytes()
        self._live += size
        self.peak = max(self.peak, self._live)
        self._known[place] = weakref.finalize(storage, self._forget, place, size)

    def _forget(self, place: int, size: int) -> None:
        self._live -= size
        self._known.pop(place, None)


@contextmanager
def fused_attention() -> Iterator[None]:
    """Within, attention takes no more memory than its result, as the fused kernels of GPUs do."""
    plain = F.scaled_dot_product_attention

    def fused(
        query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: Any, **__: Any
    ) -> torch.Tensor:
        return torch.empty_like(query)

    F.scaled_dot_product_attention = fused
    try:
        yield
    finally:
        F.scaled_dot_product_attention = plain
