"""What the attention processors of both backbones share: streams, recording and reading the condition."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from diffusers.models.attention_dispatch import dispatch_attention_fn
from torch import nn

from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.models.condition_merge import WeightedKeys, merged_attention, with_equals_joined
from flextraj_backend.models.condition_prefetch import PrefetchedLayer
from flextraj_backend.models.streams import Stream, muted_adapters


class StreamAttention:
    """An attention processor that knows whose tokens it gets.

    Attributes:
        stream: whose tokens the next call gets.
    """

    # Read and written by diffusers' set_attention_backend and enable_parallelism.
    _attention_backend: Any = None
    _parallel_config: Any = None

    def __init__(self) -> None:
        self.stream = Stream.MAIN

    def dispatch(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, parallel_config: Any = None
    ) -> torch.Tensor:
        """Attention by the backend that was chosen. (B, N, H, D) and (B, K, H, D)"""
        return dispatch_attention_fn(
            query, key, value, backend=self._attention_backend, parallel_config=parallel_config
        )


class ConditionAttention(StreamAttention):
    """Self-attention.

    Condition tokens attend to themselves, and their keys and values are kept. Main tokens attend to
    themselves and to the kept condition keys, if there are any: without, this is the base model.

    Attributes:
        keys, values: of the condition, after norm and rotation, (B | 1, K, H, D).
        key_scale, value_scale: factors of keys and values stored in 8 bits, (B | 1, 1, H, 1).
        source: where to get keys and values instead, if they wait in host memory.
        log_strength: () float32 if the control's strength is not 1.
        representatives: R, how many of the condition's tokens, the last ones, stand for the background.
        log_weight: () float32, log of how many background tokens each of those counts for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clear()

    def clear(self) -> None:
        """Forget the condition."""
        self.keys: torch.Tensor | None = None
        self.values: torch.Tensor | None = None
        self.key_scale: torch.Tensor | None = None
        self.value_scale: torch.Tensor | None = None
        self.source: PrefetchedLayer | None = None
        self.log_strength: torch.Tensor | None = None
        self.represent(0, 1.0)

    def represent(self, representatives: int, weight: float) -> None:
        """Let the last `representatives` condition tokens count `weight` times."""
        self.representatives: int = 0
        self.log_weight: torch.Tensor | None = None
        if representatives and weight != 1:
            self.representatives = representatives
            self.log_weight = torch.tensor(math.log(weight), dtype=torch.float32)

    def take(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The recorded keys and values, which are forgotten. (B, K, H, D) each"""
        assert self.keys is not None and self.values is not None
        recorded = self.keys, self.values
        self.clear()
        return recorded

    def attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Attention of the current stream. (B, N, H, D) each"""
        if self.stream is Stream.CONDITION:
            self.keys, self.values = key, value
            return self._attention(query, self._groups(key, value))
        groups = [WeightedKeys(key, value)]
        if self.keys is not None or self.source is not None:
            groups += self._groups(*self._condition(key))
        return self._attention(query, groups)

    def _attention(self, query: torch.Tensor, groups: list[WeightedKeys]) -> torch.Tensor:
        groups = with_equals_joined(groups)
        if len(groups) > 1:
            self._require_one_device()
            return merged_attention(query, groups)
        return self.dispatch(query, groups[0].keys, groups[0].values, self._parallel_config)

    def _groups(self, keys: torch.Tensor, values: torch.Tensor) -> list[WeightedKeys]:
        """The condition's tokens that count alike. (B, K + R, H, D) each"""
        strength = None if self.stream is Stream.CONDITION else self.log_strength
        if self.log_weight is None:
            return [WeightedKeys(keys, values, strength)]
        weight = self.log_weight if strength is None else self.log_weight + strength
        # From the end: their number hardly ever changes, so compiled code serves many shots.
        last = self.representatives
        return [
            WeightedKeys(keys[:, :-last], values[:, :-last], strength),
            WeightedKeys(keys[:, -last:], values[:, -last:], weight),
        ]

    def _condition(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Condition keys and values with the batch, number format and device of `like`. (B, K, H, D) each"""
        if self.source is not None:
            keys, values = self.source.fetch(like.device)  # pyright: ignore[reportAttributeAccessIssue] (decorated)
        else:
            keys, values = self.keys, self.values
        assert keys is not None and values is not None
        return _as_computed(keys, self.key_scale, like), _as_computed(values, self.value_scale, like)

    def _require_one_device(self) -> None:
        if self._parallel_config is not None:
            raise FlexTrajError(
                "A control strength other than 0 and 1, and leaving out condition tokens, do not work with "
                "context parallelism: choose 1 and all tokens, or run on one GPU.",
                ErrorCode.ENGINE,
            )


class ConditionTokens(NamedTuple):
    """What a block needs to compute the condition stream."""

    tokens: torch.Tensor
    """(B, K, C)"""
    text: torch.Tensor
    """(B, L, C) on Wan; CogVideoX's condition has none: L is 0."""
    temb: torch.Tensor
    """Timestep 0, (B, E) on CogVideoX, as modulation (B, 6, C) on Wan."""


@contextmanager
def condition_stream(module: nn.Module) -> Iterator[None]:
    """Within, `module` computes condition tokens: with the control's LoRA, without any other."""
    attention = (getattr(layer, "processor", None) for layer in module.modules())
    processors = [processor for processor in attention if isinstance(processor, StreamAttention)]
    with muted_adapters(module):
        try:
            for processor in processors:
                processor.stream = Stream.CONDITION
            yield
        finally:
            for processor in processors:
                processor.stream = Stream.MAIN


def _as_computed(stored: torch.Tensor, scale: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor:
    computed = stored.to(like.device, like.dtype)
    if scale is not None:
        computed = computed * scale.to(like.device, like.dtype, non_blocking=True)
    return computed.expand(like.shape[0], -1, -1, -1)
