"""FlexTraj on CogVideoX-5B-I2V: a photo, a prompt and two conditioning videos become a video."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.pipelines.cogvideo.pipeline_cogvideox_image2video import CogVideoXImageToVideoPipeline
from diffusers.schedulers.scheduling_dpm_cogvideox import CogVideoXDPMScheduler

from blender_addon.core.errors import ErrorCode, RequestError
from blender_addon.core.model_options import CachePlace, CacheStorage
from flextraj_backend.models.backbone import Backbone, has_added_positions
from flextraj_backend.models.cogvideox_transformer import FlexTrajCogVideoXTransformer
from flextraj_backend.models.condition import ConditionLatents
from flextraj_backend.models.condition_latents import cogvideox_condition_latents, condition_generator
from flextraj_backend.models.controlled_pipeline import ControlledPipeline
from flextraj_backend.models.denoising import Denoising
from flextraj_backend.models.pipeline_inputs import ClipShape, ConditionCaches, Texts, Video
from flextraj_backend.models.token_pruning import KeptTokens


class FlexTrajCogVideoXPipeline(  # pyright: ignore[reportIncompatibleMethodOverride] (own inputs)
    ControlledPipeline, CogVideoXImageToVideoPipeline
):
    """CogVideoX-5B-I2V with trajectory control.

    Both guidance halves run in one batch and read one condition cache, which depends on the two videos alone:
    it can be used again for every seed, photo and prompt.
    """

    backbone = Backbone.COGVIDEOX
    _transformer_class = FlexTrajCogVideoXTransformer

    @property
    def side_multiple(self) -> int:
        return self.vae_scale_factor_spatial * self.transformer.config.patch_size

    @property
    def max_text_tokens(self) -> int:
        return self.transformer.config.max_text_seq_length

    def check_shape(self, shape: ClipShape) -> None:
        config = self.transformer.config
        if not has_added_positions(config):
            return
        width = config.sample_width * self.vae_scale_factor_spatial
        height = config.sample_height * self.vae_scale_factor_spatial
        if (shape.width, shape.height) != (width, height):
            raise RequestError(
                f"CogVideoX makes clips of {width}x{height} px, not {shape.width}x{shape.height}: sample the "
                "trajectories at that size.",
                ErrorCode.ENGINE,
            )
        if shape.frames > config.sample_frames:
            raise RequestError(
                f"CogVideoX makes at most {config.sample_frames} frames at once, not {shape.frames}: shorten "
                "the range, or render it in windows.",
                ErrorCode.FRAME_RANGE,
            )

    @torch.no_grad()
    def encode_condition_videos(self, id_video: Video, color_video: Video) -> ConditionLatents:
        return cogvideox_condition_latents(
            self.vae, id_video, color_video, self._execution_device, condition_generator()
        )

    @torch.no_grad()
    def encode_condition(
        self,
        latents: ConditionLatents,
        texts: Texts | None = None,
        *,
        keep: KeptTokens | None = None,
        storage: CacheStorage = CacheStorage.MODEL,
        place: CachePlace = CachePlace.AUTO,
    ) -> ConditionCaches:
        cache = self.transformer.encode_condition(
            latents.to(self._execution_device, self.transformer.dtype),
            image_rotary_emb=self._rotary_tables(latents.ids),
            keep=keep,
            storage=storage,
            device=self.cache_device(place),
        )
        return ConditionCaches(cache, cache)

    def _noise_and_photo(
        self, photo: torch.Tensor, shape: ClipShape, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(1, F, C, h, w) each; the photo's latents are zero after the first frame."""
        device, dtype = self._execution_device, self.transformer.dtype
        prepared: Any = self.prepare_latents(
            photo.to(device, self.vae.dtype),
            1,
            self.transformer.config.in_channels // 2,
            shape.frames,
            shape.height,
            shape.width,
            dtype,
            device,
            generator,
        )
        return prepared

    def _denoise(self, run: Denoising) -> torch.Tensor:
        latents, dtype, device = run.noise, run.noise.dtype, run.noise.device
        text, guided = run.texts.prompt, run.texts.negative is not None
        if run.texts.negative is not None:
            text = torch.cat((run.texts.negative, run.texts.prompt))  # (B, N, C)
        rotary = self._rotary_tables(latents)
        timesteps = run.sampler.timesteps.to(device)
        if run.caches is not None:
            self.transformer.use_condition(run.caches.prompt, run.strength)
        previous_clean = None
        for step, timestep, scale in self._steps(run):
            noisy = run.sampler.scale_model_input(latents, timestep)
            video = torch.cat((noisy, run.photo), dim=2)
            with self.transformer.cache_context("cond_uncond"):
                velocity = self.transformer(
                    hidden_states=video.expand(len(text), -1, -1, -1, -1),
                    encoder_hidden_states=text,
                    timestep=timesteps[step].expand(len(text)),
                    image_rotary_emb=rotary,
                    return_dict=False,
                    **run.every_step,
                )[0].float()
            if guided:
                negative, positive = velocity.chunk(2)
                velocity = negative + scale * (positive - negative)
            latents, previous_clean = self._sampler_step(run, step, velocity, latents, previous_clean)
            latents = run.after_step(step, timestep, latents.to(dtype))
        return latents

    def decode_latents(self, latents: torch.Tensor) -> torch.Tensor:
        frames, latents = latents.shape[1], latents.to(self.vae.dtype)
        if self.frame_step > 1 and frames % 2 == 0:
            # The VAE decodes pairs of latent frames, after a single first one if their number is odd. Else it
            # would expand the first in time. What it makes of a repeated last one is cut off.
            latents = torch.cat((latents, latents[:, -1:]), dim=1)
        video = CogVideoXImageToVideoPipeline.decode_latents(self, latents)
        return video[:, :, : (frames - 1) * self.frame_step + 1]

    def _rotary_tables(self, latents: torch.Tensor) -> Any:
        """Cosines and sines for the tokens of latents (B, F, C, h, w), the same for both streams."""
        if not self.transformer.config.use_rotary_positional_embeddings:
            return None
        _, frames, _, height, width = latents.shape
        scale = self.vae_scale_factor_spatial
        return self._prepare_rotary_positional_embeddings(
            height * scale, width * scale, frames, self._execution_device
        )

    def _sampler_step(
        self,
        run: Denoising,
        step: int,
        velocity: torch.Tensor,
        latents: torch.Tensor,
        previous_clean: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The latents after a step, and the clean video estimated in it, which the DPM sampler reads next."""
        timestep = run.sampler.timesteps[step]
        if isinstance(run.sampler, CogVideoXDPMScheduler):
            earlier = run.sampler.timesteps[step - 1] if step else None
            dpm_step: Any = run.sampler.step
            return dpm_step(
                velocity,
                previous_clean,
                timestep,
                earlier,
                latents,
                generator=run.generator,
                return_dict=False,
            )
        extra = self.prepare_extra_step_kwargs(run.generator, eta=0.0)
        return run.sampler.step(velocity, timestep, latents, **extra, return_dict=False)[0], None
