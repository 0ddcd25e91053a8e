"""A run of either pipeline: everything but the denoising loop, which each pipeline has for itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, ClassVar

import torch
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from PIL import Image

from blender_addon.core.errors import ErrorCode, RequestError
from blender_addon.core.model_options import (
    CachePlace,
    CacheStorage,
    ConditionTokens,
    GuidanceSchedule,
    SchedulerChoice,
)
from flextraj_backend.models import pipeline_inputs as checks
from flextraj_backend.models.backbone import Backbone, TokenGrid
from flextraj_backend.models.condition import ConditionLatents
from flextraj_backend.models.denoising import Denoising, PipelineVideo, fitted_photo
from flextraj_backend.models.guidance import DEFAULT_GUIDANCE, guidance_scales
from flextraj_backend.models.injection import FlexTrajMixin
from flextraj_backend.models.pipeline_inputs import (
    AnyStepCallback,
    ClipShape,
    ConditionCaches,
    ConditionReuse,
    Texts,
    Video,
)
from flextraj_backend.models.prompts import NEGATIVE_PROMPTS, Alignment, control_prompt
from flextraj_backend.models.schedulers import DEFAULT_STEPS, make_scheduler
from flextraj_backend.models.token_pruning import KeptTokens, kept_tokens


class ControlledPipeline(DiffusionPipeline, ABC):
    """Trajectory control on one of diffusers' image-to-video pipelines, whose helpers it uses.

    Its transformer becomes FlexTraj's subclass when it enters the pipeline, so that `from_pretrained` takes
    the base model's folder as it is. Offloading, VAE slicing and tiling are switched on as in diffusers.
    """

    backbone: ClassVar[Backbone]
    vae_scale_factor_temporal: int
    """Set by diffusers' class, from the VAE's configuration."""
    _transformer_class: ClassVar[type[FlexTrajMixin]]

    _callback_tensor_inputs: ClassVar[list[str]] = ["latents"]
    """The prompts are not among them: they were fixed when the condition was encoded."""
    _interrupt = False
    _current_timestep: torch.Tensor | None = None

    def register_modules(self, **modules: Any) -> None:
        transformer = modules.get("transformer")
        if transformer is not None:
            modules["transformer"] = self._transformer_class.adopt(transformer)
        super().register_modules(**modules)

    @property
    @abstractmethod
    def side_multiple(self) -> int:
        """Pixels of a token: height and width must be multiples of it."""

    @property
    def frame_step(self) -> int:
        """Frames that the VAE makes one latent frame of, after a first frame of its own."""
        return self.vae_scale_factor_temporal

    def token_grid(self, shape: ClipShape) -> TokenGrid:
        """The tokens of one stream."""
        return shape.grid(self.side_multiple, self.frame_step)

    @property
    @abstractmethod
    def max_text_tokens(self) -> int:
        """Length that the text is padded or cut to."""

    @abstractmethod
    def check_shape(self, shape: ClipShape) -> None:
        """Raises RequestError if the model cannot make a clip that long or large."""

    @abstractmethod
    def encode_condition_videos(self, id_video: Video, color_video: Video) -> ConditionLatents:
        """Encode the two conditioning videos, (T, H, W, 3) uint8 each; same videos, same latents."""

    @abstractmethod
    def encode_condition(
        self,
        latents: ConditionLatents,
        texts: Texts,
        *,
        keep: KeptTokens | None = None,
        storage: CacheStorage = CacheStorage.MODEL,
        place: CachePlace = CachePlace.AUTO,
    ) -> ConditionCaches:
        """Compute the condition's keys and values, to be read in every step.

        Args:
            latents: of `encode_condition_videos`.
            texts: of `encode_prompts`.
            keep: of `kept_tokens`, None for all.
            storage, place: number format of the caches, and where they wait between the steps.
        """

    @abstractmethod
    def _noise_and_photo(
        self, photo: torch.Tensor, shape: ClipShape, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Latents to start from, and latents of the photo, (1, 3, H, W) from -1 to 1."""

    @abstractmethod
    def _denoise(self, run: Denoising) -> torch.Tensor:
        """The denoising loop; returns clean latents."""

    @abstractmethod
    def decode_latents(self, latents: torch.Tensor) -> torch.Tensor:
        """Clean latents to pixels, (B, 3, T, H, W) from -1 to 1."""

    @torch.no_grad()
    def __call__(
        self,
        image: Image.Image | Video,
        prompt: str | None = None,
        negative_prompt: str | None = None,
        *,
        generator: torch.Generator,
        id_video: Video | None = None,
        color_video: Video | None = None,
        condition: ConditionCaches | None = None,
        strength: float = 1.0,
        alignment: Alignment = Alignment.ALIGNED,
        condition_tokens: ConditionTokens = ConditionTokens.ALL,
        condition_reuse: ConditionReuse = ConditionReuse.CACHED,
        cache_storage: CacheStorage = CacheStorage.MODEL,
        cache_place: CachePlace = CachePlace.AUTO,
        num_inference_steps: int = DEFAULT_STEPS,
        guidance_scale: float | None = None,
        guidance_schedule: GuidanceSchedule = GuidanceSchedule.AUTHORS,
        scheduler: SchedulerChoice = SchedulerChoice.AUTHORS,
        step_cache: AbstractContextManager[Any] | None = None,
        texts: Texts | None = None,
        output_type: str = "np",
        callback_on_step_end: AnyStepCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> PipelineVideo:
        """Generate a clip with as many frames and pixels as the conditioning videos.

        Args:
            image: the photo, of any size: scaled to cover the clip and cropped.
            prompt, negative_prompt: one text each; negative None is the authors' one, "" is none.
            generator: of the noise (`seeded_generator`); same generator state, same video.
            id_video, color_video: (T, H, W, 3) uint8; a colour video that is off is black.
            condition: of `encode_condition`, instead of the two videos.
            strength: of the control: 0 is exactly the base model, 1 as trained, up to 2.
            alignment: unaligned trajectories are announced in the prompt.
            condition_tokens, condition_reuse, cache_storage, cache_place: how the condition is computed.
            num_inference_steps, guidance_schedule, scheduler: how the denoising runs.
            guidance_scale: None is the authors' one; up to 1 there is no guidance.
            step_cache: switches diffusers' step caching on and off; entered when the condition has been
                encoded, left after the last step.
            texts: of `encode_prompts`, instead of the prompts and their alignment.
            output_type: 'np', 'pil', 'pt' or 'latent'.
            callback_on_step_end: diffusers' `(pipeline, step, timestep, tensors)`, called after each step; an
                exception in it ends the run, and `pipeline._interrupt = True` makes this step the last one.
            callback_on_step_end_tensor_inputs: what it gets and may return changed: 'latents'.

        Raises:
            RequestError: an input is wrong; nothing of the video was computed.
        """
        if guidance_scale is None:
            guidance_scale = DEFAULT_GUIDANCE[self.backbone]
        shape = self.check_inputs(
            image,
            prompt,
            negative_prompt,
            generator=generator,
            id_video=id_video,
            color_video=color_video,
            condition=condition,
            strength=strength,
            condition_tokens=condition_tokens,
            condition_reuse=condition_reuse,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            texts=texts,
            output_type=output_type,
            callback_on_step_end=callback_on_step_end,
            callback_on_step_end_tensor_inputs=callback_on_step_end_tensor_inputs,
        )
        with self._clean_run():
            # The order of the models is that of offloading: text encoder, VAE, transformer, VAE.
            if texts is None:
                assert prompt is not None
                texts = self.encode_prompts(prompt, negative_prompt, alignment, guidance_scale)
            pixels = self.video_processor.preprocess(fitted_photo(image, shape))
            noise, photo = self._noise_and_photo(pixels, shape, generator)

            every_step: dict[str, ConditionLatents] = {}
            if strength == 0:
                condition = None
            elif condition is not None:
                checks.check_texts_of_condition(condition, texts)
            else:
                assert id_video is not None and color_video is not None
                encoded = self.encode_condition_videos(id_video, color_video)
                if condition_reuse is ConditionReuse.EVERY_STEP:
                    every_step["condition"] = encoded.to(self._execution_device, self.transformer.dtype)
                else:
                    keep = self.kept_tokens(id_video, condition_tokens)
                    condition = self.encode_condition(
                        encoded, texts, keep=keep, storage=cache_storage, place=cache_place
                    )

            # On the CPU: with timesteps on the GPU, the samplers would wait for it in every step.
            sampler = make_scheduler(self.backbone, scheduler, self.scheduler)
            sampler.set_timesteps(num_inference_steps)
            scales = guidance_scales(
                guidance_schedule, self.backbone, guidance_scale, sampler.timesteps.tolist()
            )
            with step_cache or nullcontext():
                latents = self._denoise(
                    Denoising(
                        shape=shape,
                        noise=noise,
                        photo=photo,
                        texts=texts,
                        caches=condition,
                        every_step=every_step,
                        strength=strength,
                        sampler=sampler,
                        scales=scales,
                        generator=generator,
                        after_step=self._reporter(callback_on_step_end, callback_on_step_end_tensor_inputs),
                    )
                )
            # The VAE needs the memory of the condition.
            condition = None
            self.transformer.use_condition(None)
            if output_type == "latent":
                return PipelineVideo(latents)
            video = self.decode_latents(latents)
            return PipelineVideo(self.video_processor.postprocess_video(video, output_type=output_type))

    def check_inputs(
        self,
        image: Any,
        prompt: Any,
        negative_prompt: Any,
        *,
        generator: Any,
        id_video: Any,
        color_video: Any,
        condition: ConditionCaches | None,
        strength: float,
        condition_tokens: ConditionTokens,
        condition_reuse: ConditionReuse,
        num_inference_steps: int,
        guidance_scale: float,
        texts: Texts | None,
        output_type: str,
        callback_on_step_end: AnyStepCallback | None,
        callback_on_step_end_tensor_inputs: Sequence[str],
    ) -> ClipShape:
        """Check the inputs of a run before anything is computed; return what is to be generated.

        Raises:
            RequestError: one sentence about the first input that is wrong.
        """
        checks.check_sampling(num_inference_steps, guidance_scale, strength, generator, output_type)
        checks.check_photo(image)
        checks.check_prompts(prompt, negative_prompt, texts, guidance_scale)
        checks.check_callback(
            callback_on_step_end, callback_on_step_end_tensor_inputs, self._callback_tensor_inputs
        )
        if condition_reuse is ConditionReuse.EVERY_STEP:
            checks.check_reference(condition, strength, condition_tokens)
        if condition is None:
            shape = checks.check_videos(id_video, color_video)
        else:
            checks.check_encoded_condition(condition, id_video, color_video, self.backbone, guidance_scale)
            shape = ClipShape.of_grid(condition.prompt.grid, self.side_multiple, self.frame_step)
        checks.check_clip(shape, self.side_multiple, self.frame_step)
        self.check_shape(shape)
        if strength > 0:
            self._check_ready_for_control(condition)
        return shape

    @torch.no_grad()
    def encode_prompts(
        self, prompt: str, negative_prompt: str | None, alignment: Alignment, guidance_scale: float
    ) -> Texts:
        """Embed the prompt and, with guidance above 1, the negative prompt.

        Args:
            negative_prompt: None for the authors' one.
            alignment: of the trajectories; unaligned ones are announced in the prompt.
        """
        if negative_prompt is None:
            negative_prompt = NEGATIVE_PROMPTS[self.backbone]
        positive, negative = self.encode_prompt(
            control_prompt(prompt, alignment),
            negative_prompt,
            do_classifier_free_guidance=guidance_scale > 1,
            max_sequence_length=self.max_text_tokens,
            device=self._execution_device,
        )
        dtype = self.transformer.dtype
        return Texts(positive.to(dtype), None if negative is None else negative.to(dtype))

    def kept_tokens(self, id_video: Video, choice: ConditionTokens) -> KeptTokens | None:
        """The condition tokens to keep; None for all."""
        if choice is ConditionTokens.ALL:
            return None
        return kept_tokens(id_video, self.token_grid(ClipShape.of(id_video)))

    def cache_device(self, place: CachePlace) -> torch.device:
        """Where a condition cache goes. AUTO is the device: a memory plan chooses the host if need be."""
        return torch.device("cpu") if place is CachePlace.HOST else self._execution_device

    def _check_ready_for_control(self, condition: ConditionCaches | None) -> None:
        if not hasattr(self.transformer, "fuse_linear"):
            raise RequestError(
                "The transformer has no trajectory control yet: load its control weights first.",
                ErrorCode.WEIGHTS,
            )
        if condition is None and self.transformer.is_cache_enabled:
            raise RequestError(
                "Step caching was switched on before the condition is encoded, and would count that as a "
                "step: switch it on by step_cache."
            )

    @contextmanager
    def _clean_run(self) -> Iterator[None]:
        """However a run ends: no condition in use, offloaded weights where they wait."""
        self._interrupt = False
        try:
            yield
        finally:
            self._current_timestep = None
            self.transformer.use_condition(None)
            self.maybe_free_model_hooks()

    def _steps(self, run: Denoising) -> Iterator[tuple[int, torch.Tensor, float]]:
        """Index, timestep () on the CPU, and guidance scale of each step, under a progress bar."""
        bar: Any = self.progress_bar
        with bar(total=len(run.scales)) as progress:
            for step, (timestep, scale) in enumerate(zip(run.sampler.timesteps, run.scales, strict=True)):
                # Step caches and callbacks ask the pipeline for these.
                self._current_timestep, self._guidance_scale = timestep, scale
                yield step, timestep, scale
                progress.update()
                if self._interrupt:
                    return

    def _reporter(
        self, callback: AnyStepCallback | None, names: Sequence[str]
    ) -> Callable[[int, torch.Tensor, torch.Tensor], torch.Tensor]:
        if callback is None:
            return lambda step, timestep, latents: latents
        asked = names
        if isinstance(callback, (PipelineCallback, MultiPipelineCallbacks)):
            asked = callback.tensor_inputs

        def report(step: int, timestep: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
            returned = callback(self, step, timestep, dict.fromkeys(asked, latents))
            return returned.get("latents", latents)

        return report
