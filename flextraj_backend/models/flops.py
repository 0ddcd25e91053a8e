"""Floating-point operations of the transformers' forward passes, from their configurations alone.

A multiply-add counts as two. Counted are matrix products and attention; norms, rotations, activations and
the input and output projections of a step are left out: 0.1 % of a released model's forward. CogVideoX
reproduces model_facts.md B to the last digit; Wan is 1 % above it, because here the modulation of every token
from its own timestep counts, as it does in the forward itself.
"""

from __future__ import annotations

from typing import NamedTuple

from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.real_configs import TransformerShape


class _Block(NamedTuple):
    """One block's cost: that of its linear layers, and of attention between tokens."""

    per_token: float
    """Linear layers, for each token."""
    fixed: float
    """Linear layers on the text alone (Wan's text keys and values)."""
    lora_per_token: float
    """The control's LoRA, for each condition token."""
    per_pair: float
    """Self-attention, for each pair of a query and a key."""
    text_pairs: int
    """Text tokens that each token attends to in a cross-attention."""


def base_step_flops(shape: TransformerShape, *, batch: int = 1) -> float:
    """The base model's forward."""
    block = _block(shape)
    tokens = _main_tokens(shape)
    layer = _linear(block, tokens) + block.fixed + _attention(block, tokens, tokens)
    return batch * (shape.layers * layer + _per_step(shape))


def cached_step_flops(shape: TransformerShape, *, kept: float = 1.0, batch: int = 1) -> float:
    """A denoising forward that reads the condition's keys and values.

    Args:
        kept: share of the condition tokens that is kept, those included that stand for others, 0 to 1.
    """
    pairs = _main_tokens(shape) * kept * shape.grid.tokens
    reading = shape.layers * _block(shape).per_pair * pairs
    return base_step_flops(shape, batch=batch) + batch * reading


def encode_flops(shape: TransformerShape, *, kept: float = 1.0) -> float:
    """The pass that computes the condition's keys and values, once for a video (on Wan: for each prompt).

    The last block computes nothing but keys and values, for nobody reads its tokens: 2 to 3 % less than the
    complete pass of model_facts.md B.
    """
    block, tokens = _block(shape), kept * shape.grid.tokens
    base = _linear(block, tokens) + block.fixed + _attention(block, tokens, tokens)
    layer = base + tokens * block.lora_per_token
    fuse = 2 * tokens * shape.hidden_size**2
    return (shape.layers - 1) * layer + _keys_and_values(shape, tokens) + fuse


def masked_step_flops(shape: TransformerShape) -> float:
    """Both streams in every step, without a cache; condition tokens attend to themselves alone."""
    return cached_step_flops(shape) + encode_flops(shape)


def concatenated_step_flops(shape: TransformerShape) -> float:
    """Both streams as one sequence in which every token attends to every other."""
    block = _block(shape)
    unseen = shape.layers * block.per_pair * shape.grid.tokens * _main_tokens(shape)
    return masked_step_flops(shape) + unseen


def controlnet_step_flops(shape: TransformerShape) -> float:
    """The base model with a trainable copy of its first blocks beside it, as Diffusion as Shader does."""
    block, tokens = _block(shape), _main_tokens(shape)
    copied = _linear(block, tokens) + block.fixed + _attention(block, tokens, tokens)
    projection = 2 * tokens * shape.hidden_size**2  # from zero, back into the base model's blocks
    return base_step_flops(shape) + shape.controlnet_blocks * (copied + projection)


def text_encoder_flops(parameters: int, tokens: int) -> float:
    """One prompt through an encoder: every weight meets every token once."""
    return 2.0 * parameters * tokens


def _block(shape: TransformerShape) -> _Block:
    width = shape.hidden_size
    square = 2 * width**2
    if shape.backbone is Backbone.COGVIDEOX:
        # Query, key, value, output and a feed-forward of four times the width.
        return _Block(
            per_token=(4 + 8) * square,
            fixed=0,
            lora_per_token=4 * 4 * width * shape.rank,
            per_pair=4 * width,
            text_pairs=0,
        )
    # Self-attention's four layers, cross-attention's query and output, the feed-forward; the text's keys and
    # values are computed once a block. The control has LoRA on all but the latter.
    return _Block(
        per_token=(4 + 2) * square + 4 * width * shape.config["ffn_dim"],
        fixed=2 * square * shape.text_tokens,
        lora_per_token=6 * 4 * width * shape.rank,
        per_pair=4 * width,
        text_pairs=shape.text_tokens,
    )


def _keys_and_values(shape: TransformerShape, tokens: float) -> float:
    """Two linear layers with LoRA."""
    width = shape.hidden_size
    return 2 * tokens * (2 * width**2 + 4 * width * shape.rank)


def _main_tokens(shape: TransformerShape) -> int:
    """Tokens of the main stream: CogVideoX carries the text in it."""
    text = shape.text_tokens if shape.backbone is Backbone.COGVIDEOX else 0
    return shape.grid.tokens + text


def _linear(block: _Block, tokens: float) -> float:
    return block.per_token * tokens


def _attention(block: _Block, queries: float, keys: float) -> float:
    return block.per_pair * queries * (keys + block.text_pairs)


def _per_step(shape: TransformerShape) -> float:
    """What is computed once a forward: on Wan the modulation of every token from its own timestep."""
    if shape.backbone is Backbone.COGVIDEOX:
        return 0.0
    width = shape.hidden_size
    return 2.0 * shape.grid.tokens * (shape.config["freq_dim"] * width + 7 * width**2)
