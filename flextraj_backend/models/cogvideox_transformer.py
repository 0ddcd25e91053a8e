"""CogVideoX-5B-I2V's transformer with trajectory control."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from diffusers.hooks._helpers import TransformerBlockMetadata, TransformerBlockRegistry
from diffusers.models.embeddings import apply_rotary_emb
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXBlock, CogVideoXTransformer3DModel
from diffusers.utils.peft_utils import apply_lora_scale

from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.model_options import CacheStorage
from flextraj_backend.models.backbone import Backbone, TokenGrid
from flextraj_backend.models.condition import ConditionLatents
from flextraj_backend.models.condition_attention import ConditionAttention, ConditionTokens, condition_stream
from flextraj_backend.models.condition_cache import CacheRecorder, ConditionCache
from flextraj_backend.models.injection import FlexTrajMixin
from flextraj_backend.models.streams import Stream, stream_linear
from flextraj_backend.models.token_pruning import KeptTokens

Rotary = tuple[torch.Tensor, torch.Tensor]
"""Cosines and sines of each token, (N, D) each."""


class CogVideoXConditionProcessor(ConditionAttention):
    """Attention over text and video tokens, or over condition tokens, which come without text."""

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        image_rotary_emb: Rotary | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Args: as diffusers' processor; there is no mask. Returns attended video and text tokens."""
        text_tokens = encoder_hidden_states.shape[1]
        tokens = torch.cat([encoder_hidden_states, hidden_states], dim=1)  # (B, N, C)
        query = attn.norm_q(self._heads(attn, attn.to_q, tokens))
        query = _rotated(query, text_tokens, image_rotary_emb)
        key, value = self.key_value(attn, tokens, text_tokens, image_rotary_emb)
        attended = self.attend(query, key, value).flatten(2)
        attended = attn.to_out[1](stream_linear(attn.to_out[0], attended, self.stream))
        return attended[:, text_tokens:], attended[:, :text_tokens]

    def key_value(
        self, attn: Any, tokens: torch.Tensor, text_tokens: int, image_rotary_emb: Rotary | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys, after norm and rotation, and values. (B, N, C) to (B, N, H, D) each"""
        key = attn.norm_k(self._heads(attn, attn.to_k, tokens))
        return _rotated(key, text_tokens, image_rotary_emb), self._heads(attn, attn.to_v, tokens)

    def _heads(self, attn: Any, layer: torch.nn.Module, tokens: torch.Tensor) -> torch.Tensor:
        return stream_linear(layer, tokens, self.stream).unflatten(-1, (attn.heads, -1))


class TwoStreamCogVideoXBlock(CogVideoXBlock):
    """CogVideoX's block; given condition tokens too, one call computes both streams.

    One call is one checkpoint, one unshard and one offload, and the condition's keys never leave it.
    """

    is_last = False
    """Whether nobody reads the condition tokens that come out."""
    attn1: Any

    def forward(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        temb: torch.Tensor,
        image_rotary_emb: Rotary | None = None,
        attention_kwargs: dict[str, Any] | None = None,
        condition: ConditionTokens | None = None,
    ) -> Any:
        """Args: as diffusers' block, and the condition stream.

        Returns:
            Video tokens, text tokens, and if there is a condition its tokens. (B, N, C) each
        """
        if self.attn1.processor.stream is Stream.CONDITION:
            return self._forward_condition(hidden_states, encoder_hidden_states, temb, image_rotary_emb)
        main_inputs = (hidden_states, encoder_hidden_states, temb, image_rotary_emb, attention_kwargs)
        if condition is None:
            return super().forward(*main_inputs)
        try:
            with condition_stream(self):
                condition_tokens, _ = self._forward_condition(*condition, image_rotary_emb)
            return *super().forward(*main_inputs), condition_tokens
        finally:
            self.attn1.processor.clear()

    def _forward_condition(
        self, tokens: torch.Tensor, text: torch.Tensor, temb: torch.Tensor, rotary: Rotary | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Leaves the condition's keys and values in the processor. Args and returns: as diffusers' block."""
        if not self.is_last:
            return super().forward(tokens, text, temb, rotary)
        processor = self.attn1.processor
        normed, *_ = self.norm1(tokens, text, temb)
        processor.keys, processor.values = processor.key_value(self.attn1, normed, 0, rotary)
        return tokens, text


class FlexTrajCogVideoXTransformer(FlexTrajMixin, CogVideoXTransformer3DModel):
    """CogVideoX-5B-I2V's transformer with trajectory control."""

    backbone: ClassVar[Backbone] = Backbone.COGVIDEOX

    transformer_blocks: Any
    _lora_targets = r"transformer_blocks\.\d+\.attn1\.(to_q|to_k|to_v|to_out\.0)"
    _repeated_blocks: ClassVar[list[str]] = ["CogVideoXBlock", "TwoStreamCogVideoXBlock"]
    _no_split_modules: ClassVar[list[str]] = [
        "CogVideoXBlock",
        "TwoStreamCogVideoXBlock",
        "CogVideoXPatchEmbed",
    ]
    _skip_layerwise_casting_patterns: ClassVar[list[str]] = ["patch_embed", "norm", "fuse_linear", "lora_"]

    def encode_condition(
        self,
        latents: ConditionLatents,
        *,
        image_rotary_emb: Rotary | None = None,
        keep: KeptTokens | None = None,
        storage: CacheStorage = CacheStorage.MODEL,
        device: torch.device | str | None = None,
    ) -> ConditionCache:
        """Compute the condition's keys and values: one call of the transformer.

        Args:
            latents: (B, F, 32, h, w) each; B is 1, or the batch of the denoising.
            image_rotary_emb: the noise tokens' rotary tables.
            keep: the tokens that are kept (`kept_tokens` of the ID video); None keeps all.
            storage, device: number format and place of the cache, see `ConditionCache.stored`.
        """
        return self._encode(latents, keep, storage, device, image_rotary_emb=image_rotary_emb)

    def forward(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        timestep: Any = None,
        timestep_cond: torch.Tensor | None = None,
        ofs: Any = None,
        image_rotary_emb: Rotary | None = None,
        attention_kwargs: dict[str, Any] | None = None,
        return_dict: bool = True,
        condition: ConditionLatents | None = None,
        recorder: CacheRecorder | None = None,
    ) -> Any:
        """One prediction.

        Args:
            hidden_states to return_dict: as in diffusers' forward.
            condition: computes both streams in this call, as training does; (B | 1, F, 32, h, w) each.
            recorder: computes the condition stream alone; for `encode_condition`.
        """
        if recorder is not None:
            assert condition is not None
            condition = condition.to(hidden_states.device, self._patch_weight().dtype)
            return self._record(condition, image_rotary_emb, recorder)
        if condition is not None:
            assert encoder_hidden_states is not None and timestep is not None
            sample = self._forward_joint(
                hidden_states,
                encoder_hidden_states,
                timestep,
                condition,
                image_rotary_emb,
                attention_kwargs=attention_kwargs,
            )
            return Transformer2DModelOutput(sample=sample) if return_dict else (sample,)
        self._check_condition_in_use(hidden_states)
        inputs: dict[str, Any] = {
            "encoder_hidden_states": encoder_hidden_states,
            "timestep": timestep,
            "timestep_cond": timestep_cond,
            "ofs": ofs,
            "image_rotary_emb": image_rotary_emb,
            "attention_kwargs": attention_kwargs,
        }
        return super().forward(hidden_states, return_dict=return_dict, **inputs)

    def _record(
        self, latents: ConditionLatents, rotary: Rotary | None, recorder: CacheRecorder
    ) -> tuple[torch.Tensor]:
        with condition_stream(self):
            tokens, text, temb = self._condition(latents)
            if recorder.kept is not None:
                tokens = tokens[:, recorder.kept.places.to(tokens.device)]
                rotary = _of_tokens(rotary, recorder.kept.places)
            for block in self.transformer_blocks:
                tokens, _ = block(tokens, text, temb, rotary)
                recorder.add(*block.attn1.processor.take())
        return (tokens,)

    def _condition(self, latents: ConditionLatents) -> ConditionTokens:
        ids = self._video_tokens(latents.ids)
        tokens = ids + self.fuse_linear(self._video_tokens(latents.color))
        zeros = torch.zeros(len(tokens), dtype=torch.long, device=tokens.device)
        temb = self.time_embedding(self.time_proj(zeros).to(tokens.dtype))
        return ConditionTokens(tokens, tokens[:, :0], temb)

    def _video_tokens(self, latents: torch.Tensor) -> torch.Tensor:
        """Tokens of one condition video, learned positions included. (B, F, 32, h, w) to (B, K, C)"""
        text_tokens = self.config.max_text_seq_length
        text = latents.new_zeros(len(latents), text_tokens, self.config.text_embed_dim)
        return self.embedding_dropout(self.patch_embed(text, latents)[:, text_tokens:])

    @apply_lora_scale("attention_kwargs")
    def _forward_joint(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        timestep: torch.Tensor,
        latents: ConditionLatents,
        rotary: Rotary | None,
        attention_kwargs: dict[str, Any] | None = None,
    ) -> torch.Tensor:
        """Diffusers' forward with the condition beside it. Returns (B, F, 16, h, w)."""
        self._require_control()
        self._require_no_condition_in_use()
        batch, frames, _, height, width = hidden_states.shape
        with condition_stream(self):
            condition = self._condition(latents.to(hidden_states.device, hidden_states.dtype))
        # One condition serves the whole batch.
        condition = ConditionTokens(*(part.expand(batch, *part.shape[1:]) for part in condition))
        temb = self.time_embedding(self.time_proj(timestep).to(hidden_states.dtype))
        tokens = self.embedding_dropout(self.patch_embed(encoder_hidden_states, hidden_states))
        text_tokens = encoder_hidden_states.shape[1]
        text, tokens = tokens[:, :text_tokens], tokens[:, text_tokens:]
        for block in self.transformer_blocks:
            tokens, text, condition_tokens = self._run_block(
                block, tokens, text, temb, rotary, attention_kwargs, condition
            )
            condition = condition._replace(tokens=condition_tokens)
        tokens = self.proj_out(self.norm_out(self.norm_final(tokens), temb=temb))  # (B, N, p p 16)
        patch = self.config.patch_size
        patches = tokens.reshape(batch, frames, height // patch, width // patch, -1, patch, patch)
        return patches.permute(0, 1, 4, 2, 5, 3, 6).flatten(5, 6).flatten(3, 4)

    def _blocks(self) -> torch.nn.ModuleList:
        return self.transformer_blocks

    def _install_processors(self) -> None:
        for layer, block in enumerate(self.transformer_blocks):
            block.__class__ = TwoStreamCogVideoXBlock
            block.is_last = layer == len(self.transformer_blocks) - 1
            block.attn1.set_processor(CogVideoXConditionProcessor())

    def _patch_weight(self) -> torch.Tensor:
        return self.patch_embed.proj.weight

    def _token_grid(self, latents: torch.Tensor) -> TokenGrid:
        _, frames, _, height, width = latents.shape
        patch = self.config.patch_size
        return TokenGrid(frames, height // patch, width // patch)

    def _unused_lora(self) -> str:
        last = len(self.transformer_blocks) - 1
        return rf"transformer_blocks\.{last}\.attn1\.(to_q|to_out\.0)\."

    def _check_base(self) -> None:
        if self.config.patch_size_t is not None or self.config.ofs_embed_dim is not None:
            raise FlexTrajError(
                "The trajectory control exists for CogVideoX-5B-I2V, not for CogVideoX 1.5: "
                "give the folder of CogVideoX-5B-I2V.",
                ErrorCode.WEIGHTS,
            )


def _of_tokens(rotary: Rotary | None, kept: torch.Tensor) -> Rotary | None:
    """The rotary tables of the tokens that are kept."""
    if rotary is None:
        return None
    cosines, sines = rotary
    return cosines[kept.to(cosines.device)], sines[kept.to(sines.device)]


def _rotated(heads: torch.Tensor, text_tokens: int, rotary: Rotary | None) -> torch.Tensor:
    """Rotate what follows the text tokens. (B, N, H, D)"""
    if rotary is None:
        return heads
    rotate: Any = apply_rotary_emb  # too narrowly annotated
    video = rotate(heads[:, text_tokens:], rotary, sequence_dim=1)
    return torch.cat([heads[:, :text_tokens], video], dim=1)


# Diffusers' step-caching hooks look blocks up by their class.
TransformerBlockRegistry.register(
    TwoStreamCogVideoXBlock,
    TransformerBlockMetadata(return_hidden_states_index=0, return_encoder_hidden_states_index=1),
)
