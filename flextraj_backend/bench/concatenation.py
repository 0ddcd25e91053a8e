"""The peer without a mask: condition tokens join the sequence and pass through everything in every step.

In-context concatenation as an implementation without condition mask does it: one sequence [main; condition]
through the stock blocks, full attention among all tokens. It carries no LoRA, so it is, if anything, cheaper
here than where it is used.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXTransformer3DModel
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch import nn

from flextraj_backend.models.condition import ConditionLatents


class ConcatenatedCogVideoX(nn.Module):
    """CogVideoX over [text; main; condition], all at the main tokens' timestep."""

    def __init__(self, transformer: CogVideoXTransformer3DModel, fuse_linear: nn.Linear) -> None:
        super().__init__()
        self.transformer = transformer
        self.fuse_linear = fuse_linear

    def forward(
        self,
        condition: ConditionLatents,
        *,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        image_rotary_emb: tuple[torch.Tensor, torch.Tensor],
        **arguments: Any,
    ) -> torch.Tensor:
        """The denoised latents (B, F, C, h, w) of one step."""
        transformer, text_tokens = self.transformer, encoder_hidden_states.shape[1]
        ids = transformer.patch_embed(encoder_hidden_states, condition.ids)[:, text_tokens:]  # (B, N, D)
        color = transformer.patch_embed(encoder_hidden_states, condition.color)[:, text_tokens:]
        tokens = ids + self.fuse_linear(color)
        main_tokens = tokens.shape[1]

        def append(_module: nn.Module, _inputs: Any, embedded: Any) -> torch.Tensor:
            return torch.cat([embedded, tokens], 1)

        hooks = (
            transformer.patch_embed.register_forward_hook(append),
            transformer.norm_final.register_forward_pre_hook(
                lambda _module, inputs: (inputs[0][:, :main_tokens],)
            ),
        )
        cosine, sine = image_rotary_emb
        try:
            return transformer(
                hidden_states=hidden_states,
                encoder_hidden_states=encoder_hidden_states,
                image_rotary_emb=(torch.cat([cosine, cosine]), torch.cat([sine, sine])),
                **arguments,
            )[0]
        finally:
            for hook in hooks:
                hook.remove()


class ConcatenatedWan(nn.Module):
    """Wan over [main; condition], the condition's tokens at timestep 0."""

    def __init__(self, transformer: WanTransformer3DModel, fuse_linear: nn.Linear) -> None:
        super().__init__()
        self.transformer = transformer
        self.fuse_linear = fuse_linear

    def forward(
        self, condition: ConditionLatents, *, timestep: torch.Tensor, **arguments: Any
    ) -> torch.Tensor:
        """The denoised latents (B, C, F, h, w) of one step; `timestep` is per token, (B, N)."""
        transformer, main_tokens = self.transformer, timestep.shape[1]
        ids = transformer.patch_embedding(condition.ids)  # (B, D, F, h, w)
        color = transformer.patch_embedding(condition.color)
        embedded_condition = ids + self.fuse_linear(color.movedim(1, -1)).movedim(-1, 1)

        def append(_module: nn.Module, _inputs: Any, embedded: Any) -> torch.Tensor:
            # As further latent frames: flattened, they come behind the main tokens.
            return torch.cat([embedded, embedded_condition], 2)

        hooks = (
            transformer.patch_embedding.register_forward_hook(append),
            transformer.rope.register_forward_hook(
                lambda _module, _inputs, tables: tuple(torch.cat([table, table], 1) for table in tables)
            ),
            transformer.proj_out.register_forward_pre_hook(
                lambda _module, inputs: (inputs[0][:, :main_tokens],)
            ),
        )
        try:
            return transformer(timestep=torch.cat([timestep, torch.zeros_like(timestep)], 1), **arguments)[0]
        finally:
            for hook in hooks:
                hook.remove()
