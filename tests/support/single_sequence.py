"""The two-stream transformers once more, as one sequence with a mask, from the formulas alone.

Main and condition tokens stand in one sequence; a matrix of biases on the attention's logits forbids what a
stream must not see; the LoRA acts on the condition's rows. Only weights are shared with the implementation.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn import functional
from toy_transformers import Toy

from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.token_pruning import KeptTokens


def single_sequence(toy: Toy, timestep: float, strength: float = 1.0, keep: KeptTokens | None = None) -> Any:
    """What `toy.predict(timestep)` must be with its condition in use at `strength`, tokens `keep` alone."""
    implementation = _cogvideox if toy.transformer.backbone is Backbone.COGVIDEOX else _wan
    tokens = toy.transformer.condition_token_grid(toy.latents).tokens
    if keep is None:
        return implementation(toy, timestep, strength, torch.arange(tokens), torch.ones(tokens))
    counts = torch.ones(keep.count)
    if len(keep.representatives):
        counts[len(keep.occupied) :] = (tokens - len(keep.occupied)) / len(keep.representatives)
    return implementation(toy, timestep, strength, keep.places, counts)


def _cogvideox(
    toy: Toy, timestep: float, strength: float, kept: torch.Tensor, counts: torch.Tensor
) -> torch.Tensor:
    model, latents = toy.transformer, toy.inputs["hidden_states"]
    batch, frames, _, height, width = latents.shape
    text_embeds = toy.inputs["encoder_hidden_states"]
    text_tokens = text_embeds.shape[1]

    def video_tokens(video: torch.Tensor) -> torch.Tensor:
        text = text_embeds[:1].expand(len(video), -1, -1)
        return model.patch_embed(text, video)[:, text_tokens:]

    main = model.patch_embed(text_embeds, latents)
    video = main[:, text_tokens:]
    color = functional.linear(
        video_tokens(toy.latents.color), model.fuse_linear.weight, model.fuse_linear.bias
    )
    condition = (video_tokens(toy.latents.ids) + color).expand(batch, -1, -1)
    tables = [table[None, :, None] for table in toy.inputs["image_rotary_emb"]]  # (1, N, 1, D)
    condition = condition[:, kept]
    tables = [torch.cat([table, table[:, kept]], dim=1) for table in tables]
    tokens = torch.cat([main, condition], dim=1)
    is_condition = _rows(main.shape[1], condition.shape[1])
    is_text = torch.zeros_like(is_condition)
    is_text[:text_tokens] = True
    bias = _bias(is_condition, strength, counts)
    time = model.time_proj(torch.tensor([timestep, 0.0]))
    main_time, condition_time = model.time_embedding(time)  # (E,) each

    def modulation(norm: Any) -> tuple[torch.Tensor, ...]:
        """Shift, scale and gate of each token."""
        time = torch.where(is_condition[:, None], condition_time, main_time)
        video_part, text_part = norm.linear(functional.silu(time)).chunk(2, dim=-1)
        return torch.where(is_text[:, None], text_part, video_part).chunk(3, dim=-1)

    for block in model.transformer_blocks:
        shift, scale, gate = modulation(block.norm1)
        normed = block.norm1.norm(tokens) * (1 + scale) + shift
        attention = block.attn1
        query, key, value = (
            _project(layer, normed, is_condition).unflatten(-1, (attention.heads, -1))
            for layer in (attention.to_q, attention.to_k, attention.to_v)
        )
        query, key = attention.norm_q(query), attention.norm_k(key)
        query, key = (
            torch.cat([heads[:, :text_tokens], _rotate(heads[:, text_tokens:], *tables)], dim=1)
            for heads in (query, key)
        )
        attended = _attention(query, key, value, bias)
        tokens = tokens + gate * _project(attention.to_out[0], attended, is_condition)
        shift, scale, gate = modulation(block.norm2)
        tokens = tokens + gate * block.ff(block.norm2.norm(tokens) * (1 + scale) + shift)
    video = model.norm_out(model.norm_final(tokens[:, text_tokens : main.shape[1]]), temb=main_time[None])
    patches = model.proj_out(video).reshape(batch, frames, height // 2, width // 2, -1, 2, 2)
    return torch.einsum("bfhwcpq->bfchpwq", patches).reshape(batch, frames, -1, height, width)


def _wan(
    toy: Toy, timestep: float, strength: float, kept: torch.Tensor, counts: torch.Tensor
) -> torch.Tensor:
    model, latents = toy.transformer, toy.inputs["hidden_states"]
    batch, _, frames, height, width = latents.shape

    def video_tokens(video: torch.Tensor) -> torch.Tensor:
        return model.patch_embedding(video).flatten(2).transpose(1, 2)

    main = video_tokens(latents)
    color = functional.linear(
        video_tokens(toy.latents.color), model.fuse_linear.weight, model.fuse_linear.bias
    )
    condition = (video_tokens(toy.latents.ids) + color).expand(batch, -1, -1)
    condition = condition[:, kept]
    tables = [torch.cat([table, table[:, kept]], dim=1) for table in model.rope(latents)]
    tokens = torch.cat([main, condition], dim=1)
    is_condition = _rows(main.shape[1], condition.shape[1])
    bias = _bias(is_condition, strength, counts)
    embedder = model.condition_embedder
    timesteps = torch.cat([toy.timestep(timestep)[0], torch.zeros(condition.shape[1])])  # (S,)
    time = embedder.time_embedder(_sinusoids(timesteps, model.config.freq_dim))  # (S, C)
    modulation = embedder.time_proj(functional.silu(time)).unflatten(-1, (6, -1))  # (S, 6, C)
    text = embedder.text_embedder(toy.inputs["encoder_hidden_states"])
    for block in model.blocks:
        parts = (block.scale_shift_table + modulation).unbind(dim=1)
        shift, scale, gate, ff_shift, ff_scale, ff_gate = parts
        normed = block.norm1(tokens) * (1 + scale) + shift
        attention = block.attn1
        query, key, value = (
            _project(layer, normed, is_condition)
            for layer in (attention.to_q, attention.to_k, attention.to_v)
        )
        query, key = attention.norm_q(query), attention.norm_k(key)
        query, key, value = (heads.unflatten(-1, (attention.heads, -1)) for heads in (query, key, value))
        attended = _attention(_rotate(query, *tables), _rotate(key, *tables), value, bias)
        tokens = tokens + gate * _project(attention.to_out[0], attended, is_condition)
        normed, attention = block.norm2(tokens), block.attn2
        query = attention.norm_q(_project(attention.to_q, normed, is_condition))
        key = attention.norm_k(attention.to_k.base_layer(text))
        value = attention.to_v.base_layer(text)
        query, key, value = (heads.unflatten(-1, (attention.heads, -1)) for heads in (query, key, value))
        attended = _attention(query, key, value, torch.zeros(()))
        tokens = tokens + _project(attention.to_out[0], attended, is_condition)
        tokens = tokens + ff_gate * block.ffn(block.norm3(tokens) * (1 + ff_scale) + ff_shift)
    video, time = tokens[:, : main.shape[1]], time[: main.shape[1]]
    shift, scale = (model.scale_shift_table + time[:, None]).unbind(dim=1)
    patches = model.proj_out(model.norm_out(video) * (1 + scale) + shift)
    patches = patches.reshape(batch, frames, height // 2, width // 2, 2, 2, -1)
    return torch.einsum("bfhwpqc->bcfhpwq", patches).reshape(batch, -1, frames, height, width)


def _rows(main: int, condition: int) -> torch.Tensor:
    """Which tokens are the condition's. (S,)"""
    return torch.arange(main + condition) >= main


def _bias(is_condition: torch.Tensor, strength: float, counts: torch.Tensor) -> torch.Tensor:
    """Of each query (row) for each key: the condition sees itself alone; main sees both. (S, S)

    Each condition token stands for `counts` (K,) tokens, to both streams.
    """
    bias = torch.zeros(len(is_condition), len(is_condition))
    bias[is_condition[:, None] & ~is_condition[None, :]] = -math.inf
    bias[~is_condition[:, None] & is_condition[None, :]] = math.log(strength)
    bias[:, is_condition] += counts.log()
    return bias


def _project(layer: Any, tokens: torch.Tensor, is_condition: torch.Tensor) -> torch.Tensor:
    """Base weights for all, the control's LoRA for condition tokens; its scale is 1."""
    base = functional.linear(tokens, layer.base_layer.weight, layer.base_layer.bias)
    lora = tokens @ (layer.lora_B.flextraj.weight @ layer.lora_A.flextraj.weight).T
    return base + torch.where(is_condition[:, None], lora, 0.0)


def _attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """(B, S, H, D) to (B, S, C)"""
    logits = torch.einsum("bqhd,bkhd->bhqk", query, key) / math.sqrt(query.shape[-1]) + bias
    return torch.einsum("bhqk,bkhd->bqhd", logits.softmax(dim=-1), value).flatten(2)


def _rotate(heads: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    """(B, S, H, D) by tables that hold each angle twice, (1, S, 1, D)"""
    even, odd = heads[..., 0::2], heads[..., 1::2]
    turned = torch.stack([-odd, even], dim=-1).flatten(-2)
    return heads * cosines + turned * sines


def _sinusoids(timesteps: torch.Tensor, size: int) -> torch.Tensor:
    """In double precision. (S, size)"""
    frequencies = 10000 ** (-torch.arange(size // 2, dtype=torch.float64) / (size // 2))
    angles = timesteps.double()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1).float()
