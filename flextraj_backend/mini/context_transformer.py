"""The mini's denoiser while it is pretrained: a second stream of tokens, without adapter or fuse layer.

A base of this size that has only seen photos become videos attends by place alone, and a LoRA on condition
tokens then learns to be ignored. Large video models have learned from much more than that. Here part of the
samples come with a context: the same clip in other colours, whose tokens stand beside the noise as condition
tokens do. From these the base learns to look up in the photo what the context shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.models.attention_processor import CogVideoXAttnProcessor2_0
from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXBlock, CogVideoXTransformer3DModel

from flextraj_backend.models.cogvideox_transformer import FlexTrajCogVideoXTransformer
from flextraj_backend.models.condition import ConditionLatents
from flextraj_backend.models.condition_attention import ConditionTokens


class ContextTransformer(FlexTrajCogVideoXTransformer):
    """A stock transformer, its weights and their names, that also takes a context as `condition`."""

    def _require_control(self) -> None:
        """There is none: both streams run on the weights that are trained."""

    def _condition(self, latents: ConditionLatents) -> ConditionTokens:
        tokens = self._video_tokens(latents.ids)
        zeros = torch.zeros(len(tokens), dtype=torch.long, device=tokens.device)
        temb = self.time_embedding(self.time_proj(zeros).to(tokens.dtype))
        return ConditionTokens(tokens, tokens[:, :0], temb)


@contextmanager
def in_context(transformer: CogVideoXTransformer3DModel) -> Iterator[ContextTransformer]:
    """Within, a stock transformer takes contexts; afterwards it is the stock one again."""
    blocks: Any = transformer.transformer_blocks
    adopted = ContextTransformer.adopt(transformer)
    adopted._install_processors()
    try:
        yield adopted
    finally:
        transformer.__class__ = CogVideoXTransformer3DModel
        for block in blocks:
            block.__class__ = CogVideoXBlock
            block.attn1.set_processor(CogVideoXAttnProcessor2_0())


def context_latents(videos: torch.Tensor) -> ConditionLatents:
    """A context in the place of a condition. (B, F, 2C, h, w)"""
    return ConditionLatents(videos, videos)
