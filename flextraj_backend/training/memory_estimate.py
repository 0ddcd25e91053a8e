"""What a training step takes of the memory, counted before it starts.

Weights, gradients and optimizer states follow from the parameters. What the backward pass keeps is counted:
the same transformer with one and with two blocks runs a forward on the meta device, which computes nothing,
and every tensor that is kept for the backward pass is added up; the rest of the blocks take as much as the
second. Attention is taken to be a fused kernel's, which keeps its inputs and its result.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil
import torch
import torch.nn.functional as F

from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.condition import ConditionLatents
from flextraj_backend.models.devices import GIB
from flextraj_backend.training.base_loading import DTYPES
from flextraj_backend.training.train_settings import Injection, TrainSettings

_MARGIN = 1.2
"""Temporary tensors of the backward pass and gaps in the allocator."""
_FLOAT32 = 4
_ADAM_STATES = 2


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes on one device, of one process that shards nothing.

    Attributes:
        weights: of the base model and the control, which are there before the first step.
        updates: gradients, optimizer states and moving average of what is trained.
        activations: what a forward keeps for its backward pass, and what that adds.
    """

    weights: int
    updates: int
    activations: int

    @property
    def still_needed(self) -> int:
        """Beside the weights, which are loaded already."""
        return self.updates + self.activations

    @property
    def sentence(self) -> str:
        """For the user, before the start."""
        parts = (self.weights, self.updates, self.activations)
        weights, updates, activations = (f"{part / GIB:.1f} GiB" for part in parts)
        return f"Memory: {weights} weights, {updates} gradients and optimizer, {activations} activations."

    def check(self, free: int, shards: int) -> None:
        """Refuse a run that cannot fit.

        Args:
            free: bytes that are free now that the weights are loaded.
            shards: into which the trained parameters' states are divided; 1 where each process has them all.

        Raises:
            FlexTrajError: it needs more.
        """
        needed = self.updates // shards + self.activations
        if needed > free:
            raise FlexTrajError(
                f"A training step needs {needed / GIB:.1f} GiB beside the weights, but {free / GIB:.1f} GiB "
                "are free: lower --batch and raise --accumulate, add --gradient-checkpointing, or use more "
                "GPUs.",
                ErrorCode.GPU_MEMORY if torch.cuda.is_available() else ErrorCode.MEMORY,
            )


def training_memory(transformer: Any, latents: tuple[int, ...], settings: TrainSettings) -> TrainingMemory:
    """Estimate a step.

    Args:
        transformer: with its control.
        latents: shape (C, F, h, w) of one encoded video.
    """
    weights = parameter_bytes(transformer)
    trained = sum(value.numel() for _, value in transformer.trainable_parameters())
    copies = 1 + _ADAM_STATES + (2 if settings.ema else 0)
    # The CPU's autocast rounds single operations, so that much of what is kept is float32 there.
    dtype = DTYPES[settings.precision] if torch.cuda.is_available() else torch.float32
    depth = len(transformer._blocks())
    one, two = (_kept_bytes(transformer, blocks, latents, dtype, settings) for blocks in (1, 2))
    block, outside = two - one, max(0, 2 * one - two)
    if settings.gradient_checkpointing:
        # Of each block its inputs stay; one block at a time is computed again.
        tokens = latents[1] * latents[2] * latents[3] // 4 + _text_tokens(transformer)
        inputs = 2 * settings.batch * tokens * transformer.hidden_size * dtype.itemsize
        activations = outside + depth * inputs + block
    else:
        activations = outside + depth * block
    return TrainingMemory(weights, trained * copies * _FLOAT32, int(activations * _MARGIN))


def parameter_bytes(model: torch.nn.Module) -> int:
    """Bytes of a model's parameters as they are stored."""
    return sum(value.numel() * value.element_size() for value in model.parameters())


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device."""
    if device.type == "cuda":
        # What encoded the clips, and trainings before this one, is gone; the allocator still keeps its place.
        gc.collect()
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def _kept_bytes(
    transformer: Any, blocks: int, latents: tuple[int, ...], dtype: torch.dtype, settings: TrainSettings
) -> int:
    """What a forward of a transformer with that many blocks keeps for its backward pass."""
    with torch.device("meta"):
        shallow = type(transformer).from_config({**transformer.config, "num_layers": blocks})
        if settings.injection is Injection.CONTROLNET:
            shallow.add_control_blocks(blocks)
        else:
            shallow.add_control(settings.rank)
        shallow.to(dtype).train()
        own = {value.untyped_storage()._cdata for value in (*shallow.parameters(), *shallow.buffers())}
        kept: dict[int, torch.UntypedStorage] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in own:
                kept[storage._cdata] = storage  # held, so that its place is not taken by another
            return tensor

        inputs = _inputs(shallow, latents, settings.batch, dtype)
        with _fused_attention(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            result = shallow(**inputs, return_dict=False)[0]
        del result
    return sum(storage.nbytes() for storage in kept.values())


def _inputs(transformer: Any, latents: tuple[int, ...], batch: int, dtype: torch.dtype) -> dict[str, Any]:
    """Of a forward of the joint form, without values."""
    channels, frames, height, width = latents
    config = transformer.config
    if transformer.backbone is Backbone.COGVIDEOX:
        shape = (batch, frames, 2 * channels, height, width)
        tokens = frames * height * width // config.patch_size**2
        rotary = tuple(torch.empty(tokens, config.attention_head_dim) for _ in range(2))
        return {
            "hidden_states": torch.empty(shape, dtype=dtype),
            "encoder_hidden_states": torch.empty(
                batch, config.max_text_seq_length, config.text_embed_dim, dtype=dtype
            ),
            "timestep": torch.zeros(batch, dtype=torch.long),
            "image_rotary_emb": rotary if config.use_rotary_positional_embeddings else None,
            "condition": ConditionLatents(torch.empty(shape, dtype=dtype), torch.empty(shape, dtype=dtype)),
        }
    shape = (batch, channels, frames, height, width)
    return {
        "hidden_states": torch.empty(shape, dtype=dtype),
        "timestep": torch.zeros(batch, frames * height * width // 4),
        "encoder_hidden_states": torch.empty(batch, _text_tokens(transformer), config.text_dim, dtype=dtype),
        "condition": ConditionLatents(torch.empty(shape, dtype=dtype), torch.empty(shape, dtype=dtype)),
    }


def _text_tokens(transformer: Any) -> int:
    return transformer.config.max_text_seq_length if transformer.backbone is Backbone.COGVIDEOX else 512


class _FusedAttention(torch.autograd.Function):
    """Keeps what a fused kernel keeps."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        result = torch.empty_like(query)
        ctx.save_for_backward(query, key, value, result)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        query, key, value, _ = ctx.saved_tensors
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)


@contextmanager
def _fused_attention() -> Iterator[None]:
    plain = F.scaled_dot_product_attention

    def fused(
        query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: Any, **__: Any
    ) -> torch.Tensor:
        return _FusedAttention.apply(query, key, value)  # pyright: ignore[reportReturnType]

    F.scaled_dot_product_attention = fused
    try:
        yield
    finally:
        F.scaled_dot_product_attention = plain
