"""Wan2.2-TI2V-5B's transformer with trajectory control."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from diffusers.hooks._helpers import TransformerBlockMetadata, TransformerBlockRegistry
from diffusers.models.embeddings import Timesteps
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel, WanTransformerBlock
from diffusers.utils.peft_utils import apply_lora_scale

from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.model_options import CacheStorage
from flextraj_backend.models.backbone import Backbone, TokenGrid
from flextraj_backend.models.condition import ConditionLatents
from flextraj_backend.models.condition_attention import (
    ConditionAttention,
    ConditionTokens,
    StreamAttention,
    condition_stream,
)
from flextraj_backend.models.condition_cache import CacheRecorder, ConditionCache
from flextraj_backend.models.injection import FlexTrajMixin
from flextraj_backend.models.streams import Stream, base_linear, stream_linear
from flextraj_backend.models.token_pruning import KeptTokens

Rotary = tuple[torch.Tensor, torch.Tensor]
"""Cosines and sines of each token, (1, N, 1, D) each."""


class WanConditionProcessor(ConditionAttention):
    """Self-attention of video or of condition tokens."""

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        rotary_emb: Rotary | None = None,
    ) -> torch.Tensor:
        """Args: as diffusers' processor; there is neither text nor mask. Returns (B, N, C)."""
        query = attn.norm_q(stream_linear(attn.to_q, hidden_states, self.stream))
        query = _rotated(query.unflatten(2, (attn.heads, -1)), rotary_emb)
        key, value = self.key_value(attn, hidden_states, rotary_emb)
        attended = self.attend(query, key, value).flatten(2).type_as(query)
        return attn.to_out[1](stream_linear(attn.to_out[0], attended, self.stream))

    def key_value(
        self, attn: Any, tokens: torch.Tensor, rotary: Rotary | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys, after norm and rotation, and values. (B, N, C) to (B, N, H, D) each"""
        key = attn.norm_k(stream_linear(attn.to_k, tokens, self.stream)).unflatten(2, (attn.heads, -1))
        value = stream_linear(attn.to_v, tokens, self.stream).unflatten(2, (attn.heads, -1))
        return _rotated(key, rotary), value


class WanTextProcessor(StreamAttention):
    """Attention to the text.

    Condition tokens read the text too, with their own LoRA on queries and output; the text's keys and values
    are those of the base model (conventions 2.6).
    """

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        rotary_emb: Rotary | None = None,
    ) -> torch.Tensor:
        """Args: as diffusers' processor; there is neither mask nor rotation. Returns (B, N, C)."""
        query = attn.norm_q(stream_linear(attn.to_q, hidden_states, self.stream))
        key = attn.norm_k(self._text(attn.to_k, encoder_hidden_states))
        value = self._text(attn.to_v, encoder_hidden_states)
        query, key, value = (tensor.unflatten(2, (attn.heads, -1)) for tensor in (query, key, value))
        attended = self.dispatch(query, key, value).flatten(2).type_as(query)
        return attn.to_out[1](stream_linear(attn.to_out[0], attended, self.stream))

    def _text(self, layer: torch.nn.Module, text: torch.Tensor) -> torch.Tensor:
        return (
            base_linear(layer, text)
            if self.stream is Stream.CONDITION
            else stream_linear(layer, text, self.stream)
        )


class WanTimesteps(Timesteps):
    """Sinusoids of the timesteps.

    The control was trained with sinusoids in double precision; diffusers' single precision is off by up to
    5e-5 near timestep 1000.
    """

    dtype = torch.float32

    def forward(self, timesteps: torch.Tensor) -> torch.Tensor:
        """(N,) to (N, num_channels) float32: cosines, then sines."""
        if self.dtype is torch.float32:
            return super().forward(timesteps)
        exponents = torch.arange(self.num_channels // 2, dtype=torch.float64) / (self.num_channels // 2)
        frequencies = torch.exp(-math.log(10000) * exponents)
        # Apple's GPUs have no double precision.
        device = timesteps.device if timesteps.device.type != "mps" else torch.device("cpu")
        angles = timesteps.to(device, torch.float64)[:, None] * frequencies.to(device)
        return torch.cat([angles.cos(), angles.sin()], dim=1).float().to(timesteps.device)


class TwoStreamWanBlock(WanTransformerBlock):
    """Wan's block; given condition tokens too, one call computes both streams.

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
        rotary_emb: Any,
        condition: ConditionTokens | None = None,
    ) -> Any:
        """Args: as diffusers' block, and the condition stream.

        Returns:
            Video tokens, and if there is a condition its tokens. (B, N, C) each
        """
        if self.attn1.processor.stream is Stream.CONDITION:
            return self._forward_condition(hidden_states, encoder_hidden_states, temb, rotary_emb)
        if condition is None:
            return super().forward(hidden_states, encoder_hidden_states, temb, rotary_emb)
        try:
            with condition_stream(self):
                condition_tokens = self._forward_condition(*condition, rotary_emb)
            return super().forward(hidden_states, encoder_hidden_states, temb, rotary_emb), condition_tokens
        finally:
            self.attn1.processor.clear()

    def _forward_condition(
        self, tokens: torch.Tensor, text: torch.Tensor, modulation: torch.Tensor, rotary: Any
    ) -> torch.Tensor:
        """Leaves the condition's keys and values in the processor. Args and returns: as diffusers' block."""
        if not self.is_last:
            return super().forward(tokens, text, modulation, rotary)
        processor = self.attn1.processor
        shift, scale = (self.scale_shift_table + modulation.float()).chunk(6, dim=1)[:2]
        normed = (self.norm1(tokens.float()) * (1 + scale) + shift).type_as(tokens)
        processor.keys, processor.values = processor.key_value(self.attn1, normed, rotary)
        return tokens


class FlexTrajWanTransformer(FlexTrajMixin, WanTransformer3DModel):
    """Wan2.2-TI2V-5B's transformer with trajectory control."""

    backbone: ClassVar[Backbone] = Backbone.WAN

    blocks: Any
    _lora_targets = r"blocks\.\d+\.attn[12]\.(to_q|to_k|to_v|to_out\.0)"
    _repeated_blocks: ClassVar[list[str]] = ["WanTransformerBlock", "TwoStreamWanBlock"]
    _no_split_modules: ClassVar[list[str]] = ["WanTransformerBlock", "TwoStreamWanBlock"]
    _skip_layerwise_casting_patterns: ClassVar[list[str]] = [
        "patch_embedding",
        "condition_embedder",
        "norm",
        "fuse_linear",
        "lora_",
    ]

    def encode_condition(
        self,
        latents: ConditionLatents,
        *,
        encoder_hidden_states: torch.Tensor,
        keep: KeptTokens | None = None,
        storage: CacheStorage = CacheStorage.MODEL,
        device: torch.device | str | None = None,
    ) -> ConditionCache:
        """Compute the condition's keys and values for a prompt: one call of the transformer.

        Args:
            latents: (B | 1, C, F, h, w) each.
            encoder_hidden_states: (B, L, C') embeddings of the prompt that the denoising will use.
            keep: the tokens that are kept (`kept_tokens` of the ID video); None keeps all.
            storage, device: number format and place of the cache, see `ConditionCache.stored`.
        """
        return self._encode(latents, keep, storage, device, encoder_hidden_states=encoder_hidden_states)

    def forward(
        self,
        hidden_states: torch.Tensor,
        timestep: torch.Tensor | None = None,
        encoder_hidden_states: torch.Tensor | None = None,
        encoder_hidden_states_image: torch.Tensor | None = None,
        return_dict: bool = True,
        attention_kwargs: dict[str, Any] | None = None,
        condition: ConditionLatents | None = None,
        recorder: CacheRecorder | None = None,
    ) -> Any:
        """One prediction.

        Args:
            hidden_states to attention_kwargs: as in diffusers' forward.
            condition: computes both streams in this call, as training does; (B | 1, C, F, h, w) each.
            recorder: computes the condition stream alone; for `encode_condition`.
        """
        if recorder is not None:
            assert condition is not None and encoder_hidden_states is not None
            condition = condition.to(hidden_states.device, self._patch_weight().dtype)
            return self._record(condition, encoder_hidden_states, recorder)
        self._set_timestep_precision(condition)
        if condition is not None:
            assert timestep is not None and encoder_hidden_states is not None
            sample = self._forward_joint(
                hidden_states, timestep, encoder_hidden_states, condition, attention_kwargs=attention_kwargs
            )
            return Transformer2DModelOutput(sample=sample) if return_dict else (sample,)
        self._check_condition_in_use(hidden_states)
        inputs: dict[str, Any] = {
            "timestep": timestep,
            "encoder_hidden_states": encoder_hidden_states,
            "encoder_hidden_states_image": encoder_hidden_states_image,
            "attention_kwargs": attention_kwargs,
        }
        return super().forward(hidden_states, return_dict=return_dict, **inputs)

    def _set_timestep_precision(self, condition: ConditionLatents | None) -> None:
        """Double precision with the control, so that without it this is exactly the base model."""
        timesteps_proj = self.condition_embedder.timesteps_proj
        if isinstance(timesteps_proj, WanTimesteps):
            controlled = condition is not None or self._cache_in_use is not None
            timesteps_proj.dtype = torch.float64 if controlled else torch.float32

    def _record(
        self, latents: ConditionLatents, text: torch.Tensor, recorder: CacheRecorder
    ) -> tuple[torch.Tensor]:
        with condition_stream(self):
            tokens, text, modulation = self._condition(latents, text)
            rotary = self.rope(latents.ids)
            if recorder.kept is not None:
                kept = recorder.kept.places.to(tokens.device)
                tokens = tokens[:, kept]
                rotary = (rotary[0][:, kept], rotary[1][:, kept])
            for block in self.blocks:
                tokens = block(tokens, text, modulation, rotary)
                recorder.add(*block.attn1.processor.take())
        return (tokens,)

    def _condition(self, latents: ConditionLatents, text: torch.Tensor) -> ConditionTokens:
        """Args: text embeddings (B, L, C')."""
        tokens = self._tokens(latents.ids) + self.fuse_linear(self._tokens(latents.color))
        tokens = tokens.expand(len(text), -1, -1)
        zeros = torch.zeros(len(text), dtype=torch.long, device=tokens.device)
        _, modulation, text, _ = self.condition_embedder(zeros, text)
        return ConditionTokens(tokens.contiguous(), text, modulation.unflatten(1, (6, -1)))

    def _tokens(self, latents: torch.Tensor) -> torch.Tensor:
        """(B, C, F, h, w) to (B, N, C')"""
        return self.patch_embedding(latents).flatten(2).transpose(1, 2).contiguous()

    @apply_lora_scale("attention_kwargs")
    def _forward_joint(
        self,
        hidden_states: torch.Tensor,
        timestep: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        latents: ConditionLatents,
        attention_kwargs: dict[str, Any] | None = None,
    ) -> torch.Tensor:
        """Diffusers' forward with the condition beside it. Returns (B, C, F, h, w)."""
        self._require_control()
        self._require_no_condition_in_use()
        with condition_stream(self):
            condition = self._condition(
                latents.to(hidden_states.device, hidden_states.dtype), encoder_hidden_states
            )
        temb, modulation, text = self._time_and_text(timestep, encoder_hidden_states)
        rotary = self.rope(hidden_states)
        tokens = self._tokens(hidden_states)
        for block in self.blocks:
            tokens, condition_tokens = self._run_block(block, tokens, text, modulation, rotary, condition)
            condition = condition._replace(tokens=condition_tokens)
        return self._latents(tokens, temb, self._token_grid(hidden_states))

    def _time_and_text(
        self, timestep: torch.Tensor, text: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Time embedding (B, N | 1, C), the blocks' modulation (B, N, 6, C) or (B, 6, C), text (B, L, C)."""
        per_token = timestep.ndim == 2
        temb, modulation, text, _ = self.condition_embedder(
            timestep.flatten(), text, timestep_seq_len=timestep.shape[1] if per_token else None
        )
        return temb if per_token else temb.unsqueeze(1), modulation.unflatten(-1, (6, -1)), text

    def _latents(self, tokens: torch.Tensor, temb: torch.Tensor, grid: TokenGrid) -> torch.Tensor:
        """Output norm and projection. (B, N, C), (B, N | 1, C) to (B, C', F, h, w)"""
        shift, scale = (self.scale_shift_table.unsqueeze(0) + temb.unsqueeze(2)).unbind(dim=2)
        tokens = (self.norm_out(tokens.float()) * (1 + scale) + shift).type_as(tokens)
        patch = self.config.patch_size
        patches = self.proj_out(tokens).reshape(
            -1, grid.frames, grid.height, grid.width, *patch, self.config.out_channels
        )
        return patches.permute(0, 7, 1, 4, 2, 5, 3, 6).flatten(6, 7).flatten(4, 5).flatten(2, 3)

    def _blocks(self) -> torch.nn.ModuleList:
        return self.blocks

    def _install_processors(self) -> None:
        self.condition_embedder.timesteps_proj.__class__ = WanTimesteps
        for layer, block in enumerate(self.blocks):
            block.__class__ = TwoStreamWanBlock
            block.is_last = layer == len(self.blocks) - 1
            block.attn1.set_processor(WanConditionProcessor())
            block.attn2.set_processor(WanTextProcessor())

    def _patch_weight(self) -> torch.Tensor:
        return self.patch_embedding.weight

    def _token_grid(self, latents: torch.Tensor) -> TokenGrid:
        frames, height, width = (
            size // patch for size, patch in zip(latents.shape[2:], self.config.patch_size, strict=True)
        )
        return TokenGrid(frames, height, width)

    def _unused_lora(self) -> str:
        last = len(self.blocks) - 1
        return (
            rf"blocks\.\d+\.attn2\.(to_k|to_v)\."
            rf"|blocks\.{last}\.attn1\.(to_q|to_out\.0)\."
            rf"|blocks\.{last}\.attn2\."
        )

    def _check_base(self) -> None:
        if self.config.image_dim is not None or self.config.added_kv_proj_dim is not None:
            raise FlexTrajError(
                "The trajectory control exists for Wan2.2-TI2V-5B, not for models with an image encoder: "
                "give the folder of Wan2.2-TI2V-5B.",
                ErrorCode.WEIGHTS,
            )


def _rotated(heads: torch.Tensor, rotary: Rotary | None) -> torch.Tensor:
    """Rotate pairs of neighbouring values. (B, N, H, D)"""
    if rotary is None:
        return heads
    cosines, sines = rotary[0][..., 0::2], rotary[1][..., 1::2]
    even, odd = heads.unflatten(-1, (-1, 2)).unbind(-1)
    rotated = torch.stack((even * cosines - odd * sines, even * sines + odd * cosines), dim=-1)
    return rotated.flatten(-2).type_as(heads)


# Diffusers' step-caching hooks look blocks up by their class.
TransformerBlockRegistry.register(
    TwoStreamWanBlock,
    TransformerBlockMetadata(return_hidden_states_index=0),
)
