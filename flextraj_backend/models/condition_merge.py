"""Keys that count more or less than once: control strength, and tokens that represent others.

Attention to several groups of keys, with a bias on each group's logits, is a mixture of the groups' own
attentions, whose shares follow from their log-sum-exps (model_facts, A). For main and condition keys:
o = o_main + sigmoid(l_condition + log s - l_main) (o_condition - o_main).
So a strength s -> 0 is the base model, s = 1 plain concatenation, and s = 2 counts every condition token
twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

_MAX_LOGITS = 2**26
"""Entries of the attention matrix that the fallback without a kernel keeps at once."""
_FLASH_TYPES = (torch.float16, torch.bfloat16)
_FLASH_MAX_HEAD = 256


class WeightedKeys(NamedTuple):
    """Keys that count alike."""

    keys: torch.Tensor
    """(B, K, H, D), K >= 1."""
    values: torch.Tensor
    """(B, K, H, D)"""
    log_weight: torch.Tensor | None = None
    """Bias of the logits, () float32; None for keys that count once."""


def with_equals_joined(groups: Sequence[WeightedKeys]) -> list[WeightedKeys]:
    """The same keys with those that count once in one group, which is the first. At least one group does."""
    once = [group for group in groups if group.log_weight is None]
    if len(once) > 1:
        keys = torch.cat([group.keys for group in once], dim=1)
        once = [WeightedKeys(keys, torch.cat([group.values for group in once], dim=1))]
    return once + [group for group in groups if group.log_weight is not None]


def merged_attention(query: torch.Tensor, groups: Sequence[WeightedKeys]) -> torch.Tensor:
    """Attention to all keys, the logits of each group shifted by its weight. (B, N, H, D) to the same."""
    output, lse = _weighted_attention(query, groups[0])
    for group in groups[1:]:
        other_output, other_lse = _weighted_attention(query, group)
        share = torch.sigmoid(other_lse - lse).unsqueeze(-1)  # (B, N, H, 1)
        output = torch.lerp(output, other_output, share.to(query.dtype))
        lse = torch.logaddexp(lse, other_lse)
    return output


def _weighted_attention(query: torch.Tensor, group: WeightedKeys) -> tuple[torch.Tensor, torch.Tensor]:
    output, lse = attention_with_lse(query, group.keys, group.values)
    return output, lse if group.log_weight is None else lse + group.log_weight


def attention_with_lse(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention, and the log of its softmax denominators.

    Args:
        query: (B, N, H, D).
        key, value: (B, K, H, D).

    Returns:
        Output (B, N, H, D) and log-sum-exp (B, N, H) float32.
    """
    query, key, value = (tensor.transpose(1, 2) for tensor in (query, key, value))  # (B, H, N, D)
    if query.device.type == "cpu":
        output, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(query, key, value)[:2]
    elif query.device.type == "cuda" and _runs_in_flash(query):
        output, lse = torch.ops.aten._scaled_dot_product_flash_attention(query, key, value)[:2]
    elif query.device.type == "cuda":
        output, lse = torch.ops.aten._scaled_dot_product_efficient_attention(query, key, value, None, True)[
            :2
        ]
        lse = lse[..., : query.shape[2]]  # the kernel pads to whole tiles
    else:
        output, lse = _attention_in_slices(query, key, value)
    return output.transpose(1, 2), lse.float().transpose(1, 2)


def _runs_in_flash(query: torch.Tensor) -> bool:
    head = query.shape[-1]
    fits = query.dtype in _FLASH_TYPES and head % 8 == 0 and head <= _FLASH_MAX_HEAD
    # torch builds this kernel for Ampere and later only.
    return fits and torch.cuda.get_device_capability(query.device) >= (8, 0)


def _attention_in_slices(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Without a kernel, some queries at a time. (B, H, N, D) to (B, H, N, D) and (B, H, N)"""
    logits_per_query = query.shape[0] * query.shape[1] * key.shape[2]
    at_once = max(1, _MAX_LOGITS // logits_per_query)
    outputs, lses = [], []
    for part in query.split(query.shape[2] if query.is_meta else at_once, dim=2):
        logits = (part.float() @ key.float().transpose(2, 3)) * query.shape[-1] ** -0.5  # (B, H, n, K)
        lse = logits.logsumexp(dim=3, keepdim=True)
        outputs.append(((logits - lse).exp() @ value.float()).to(query.dtype))
        lses.append(lse.squeeze(3))
    return torch.cat(outputs, dim=2), torch.cat(lses, dim=2)
