"""FlexTraj on Wan2.2-TI2V-5B: a photo, a prompt and two conditioning videos become a video."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.pipelines.wan.pipeline_wan_i2v import WanImageToVideoPipeline

from blender_addon.core.errors import ErrorCode, RequestError
from blender_addon.core.model_options import CachePlace, CacheStorage
from flextraj_backend.models.backbone import Backbone, TokenGrid
from flextraj_backend.models.condition import ConditionLatents
from flextraj_backend.models.condition_cache import ConditionCache
from flextraj_backend.models.condition_latents import wan_condition_latents, wan_statistics
from flextraj_backend.models.controlled_pipeline import ControlledPipeline
from flextraj_backend.models.denoising import Denoising
from flextraj_backend.models.pipeline_inputs import ClipShape, ConditionCaches, Texts, Video, digest
from flextraj_backend.models.schedulers import timesteps_for_model
from flextraj_backend.models.token_pruning import KeptTokens
from flextraj_backend.models.wan_transformer import FlexTrajWanTransformer

TEXT_TOKENS = 512


def with_first_frame(latents: torch.Tensor, first_frame: torch.Tensor) -> torch.Tensor:
    """Put the clean photo back into the first latent frame. (B, C, F, h, w), (B, C, 1, h, w)"""
    return torch.cat((first_frame, latents[:, :, 1:].to(first_frame.dtype)), dim=2)


def token_timesteps(grid: TokenGrid, timestep: torch.Tensor) -> torch.Tensor:
    """A timestep for each token: 0 in the first latent frame, which is clean. () to (1, N)"""
    timesteps = timestep.repeat(1, grid.tokens)
    timesteps[:, : grid.height * grid.width] = 0
    return timesteps


class FlexTrajWanPipeline(  # pyright: ignore[reportIncompatibleMethodOverride] (own inputs)
    ControlledPipeline, WanImageToVideoPipeline
):
    """Wan2.2-TI2V-5B with trajectory control.

    The guidance halves run one after the other, each with a condition cache of its own, for the condition
    stream reads the prompt: caches can be used again for every seed and photo, but only with their prompts.
    """

    backbone = Backbone.WAN
    _transformer_class = FlexTrajWanTransformer

    @property
    def side_multiple(self) -> int:
        return self.vae_scale_factor_spatial * self.transformer.config.patch_size[1]

    @property
    def max_text_tokens(self) -> int:
        return TEXT_TOKENS

    def check_shape(self, shape: ClipShape) -> None:
        longest = self.transformer.config.rope_max_seq_len
        grid = self.token_grid(shape)
        if max(grid.frames, grid.height, grid.width) > longest:
            raise RequestError(
                f"Wan cannot make a clip of {shape.frames} frames, {shape.width}x{shape.height} px: its "
                f"positions end at {longest} tokens along each axis ({grid}); shorten or shrink the clip.",
                ErrorCode.ENGINE,
            )

    @torch.no_grad()
    def encode_condition_videos(self, id_video: Video, color_video: Video) -> ConditionLatents:
        return wan_condition_latents(self.vae, id_video, color_video, self._execution_device)

    @torch.no_grad()
    def encode_condition(
        self,
        latents: ConditionLatents,
        texts: Texts,
        *,
        keep: KeptTokens | None = None,
        storage: CacheStorage = CacheStorage.MODEL,
        place: CachePlace = CachePlace.AUTO,
    ) -> ConditionCaches:
        latents = latents.to(self._execution_device, self.transformer.dtype)

        def encode(text: torch.Tensor) -> ConditionCache:
            return self.transformer.encode_condition(
                latents,
                encoder_hidden_states=text,
                keep=keep,
                storage=storage,
                device=self.cache_device(place),
            )

        return ConditionCaches(
            prompt=encode(texts.prompt),
            negative=None if texts.negative is None else encode(texts.negative),
            prompt_digest=digest(texts.prompt),
            negative_digest=digest(texts.negative),
        )

    def _noise_and_photo(
        self, photo: torch.Tensor, shape: ClipShape, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Noise (1, C, F, h, w), and the photo as its first latent frame, (1, C, 1, h, w), float32."""
        prepared: Any = self.prepare_latents(
            photo.to(self._execution_device, torch.float32),
            1,
            self.vae.config.z_dim,
            shape.height,
            shape.width,
            shape.frames,
            torch.float32,
            self._execution_device,
            generator,
        )
        return prepared[:2]

    def _denoise(self, run: Denoising) -> torch.Tensor:
        latents, dtype = run.noise, self.transformer.dtype
        grid = self.token_grid(run.shape)
        timesteps = timesteps_for_model(run.sampler, dtype).to(latents.device)
        for step, timestep, scale in self._steps(run):
            inputs = {
                "hidden_states": with_first_frame(latents, run.photo).to(dtype),
                "timestep": token_timesteps(grid, timesteps[step]),
                "return_dict": False,
                **run.every_step,
            }
            self.transformer.use_condition(run.caches and run.caches.prompt, run.strength)
            with self.transformer.cache_context("cond"):
                velocity = self.transformer(encoder_hidden_states=run.texts.prompt, **inputs)[0]
            if run.texts.negative is not None:
                self.transformer.use_condition(run.caches and run.caches.negative, run.strength)
                with self.transformer.cache_context("uncond"):
                    negative = self.transformer(encoder_hidden_states=run.texts.negative, **inputs)[0]
                velocity = negative + scale * (velocity - negative)
            latents = run.sampler.step(velocity, timestep, latents, return_dict=False)[0]
            latents = run.after_step(step, timestep, latents)
        return with_first_frame(latents, run.photo)

    def decode_latents(self, latents: torch.Tensor) -> torch.Tensor:
        latents = latents.to(self._execution_device, self.vae.dtype)
        mean, inverse_deviation = wan_statistics(self.vae, latents.device, latents.dtype)
        return self.vae.decode(latents / inverse_deviation + mean, return_dict=False)[0]
