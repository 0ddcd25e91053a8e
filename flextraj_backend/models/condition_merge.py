"""Control strength: how much of the main stream's attention goes to the condition.

Attention to [main; condition] keys, with a bias of log(s) on the condition's logits, is a mixture of two
attentions, whose shares follow from their log-sum-exps (model_facts, A):
o = o_main + sigmoid(l_condition + log s - l_main) (o_condition - o_main).
So s -> 0 is the base model, s = 1 plain concatenation, and s = 2 counts every condition token twice.
"""

from __future__ import annotations

import torch

_MAX_LOGITS = 2**26
"""Entries of the attention matrix that the fallback without a kernel keeps at once."""
_FLASH_TYPES = (torch.float16, torch.bfloat16)
_FLASH_MAX_HEAD = 256


def merged_attention(
    query: torch.Tensor,
    main: tuple[torch.Tensor, torch.Tensor],
    condition: tuple[torch.Tensor, torch.Tensor],
    log_strength: torch.Tensor,
) -> torch.Tensor:
    """Attention to main and condition keys and values, the condition's logits shifted by `log_strength`.

    Args:
        query: (B, N, H, D).
        main: keys and values of the main stream, (B, N, H, D) each.
        condition: keys and values of the condition, (B, K, H, D) each, K >= 1.
        log_strength: () float32.

    Returns:
        (B, N, H, D).
    """
    main_output, main_lse = attention_with_lse(query, *main)
    condition_output, condition_lse = attention_with_lse(query, *condition)
    share = torch.sigmoid(condition_lse + log_strength - main_lse).unsqueeze(-1)  # (B, N, H, 1)
    return torch.lerp(main_output, condition_output, share.to(query.dtype))


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
    return query.dtype in _FLASH_TYPES and head % 8 == 0 and head <= _FLASH_MAX_HEAD


def _attention_in_slices(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Without a kernel, some queries at a time. (B, H, N, D) to (B, H, N, D) and (B, H, N)"""
    logits_per_query = query.shape[0] * query.shape[1] * key.shape[2]
    outputs, lses = [], []
    for part in query.split(max(1, _MAX_LOGITS // logits_per_query), dim=2):
        logits = (part.float() @ key.float().transpose(2, 3)) * query.shape[-1] ** -0.5  # (B, H, n, K)
        lse = logits.logsumexp(dim=3, keepdim=True)
        outputs.append(((logits - lse).exp() @ value.float()).to(query.dtype))
        lses.append(lse.squeeze(3))
    return torch.cat(outputs, dim=2), torch.cat(lses, dim=2)
