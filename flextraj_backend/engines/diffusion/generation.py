"""Generates a video: loads the models, encodes the control, denoises and decodes window by window."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from flextraj_backend.engines.base import (
    Cancelled,
    ConditioningVideos,
    EngineInputs,
    EngineOutput,
    IsCancelled,
    Progress,
    ReportProgress,
)
from flextraj_backend.engines.diffusion.accelerations import attention_kernels
from flextraj_backend.engines.diffusion.loading import (
    LOADING_STEPS,
    LoadedPipeline,
    PipelineChoice,
    forget_pipeline,
    load_pipeline,
    number_format,
    torch_device,
)
from flextraj_backend.engines.diffusion.memory_limits import capped_memory, memory_advice
from flextraj_backend.engines.diffusion.planning import GenerationPlan
from flextraj_backend.engines.diffusion.record import (
    ControlRecord,
    GenerationRecord,
    MemoryRecord,
    WindowRecord,
)
from flextraj_backend.engines.diffusion.step_caching import step_caching
from flextraj_backend.engines.diffusion.windows import Window, join, window_seed
from flextraj_backend.models.denoising import seeded_generator
from flextraj_backend.models.devices import memory_limit
from flextraj_backend.models.job_shape import Phase
from flextraj_backend.models.pipeline_inputs import ClipShape, Texts
from flextraj_backend.models.prompts import NEGATIVE_PROMPTS, Alignment, control_prompt

_PHASE_NAMES = {
    Phase.TEXT: "encoding prompt",
    Phase.VIDEOS: "encoding condition",
    Phase.CONDITION: "encoding condition",
    Phase.DENOISING: "denoising",
    Phase.DECODING: "decoding",
}
_LOADING = "loading"


def generate(
    plan: GenerationPlan, inputs: EngineInputs, report_progress: ReportProgress, cancelled: IsCancelled
) -> EngineOutput:
    """Run a planned job.

    Raises:
        EngineError: the weights cannot be loaded, or the memory ran out (with the plan's advice).
        Cancelled: between two steps, soon after `cancelled()` turned True.
    """
    device = torch_device(plan.memory.device)
    clock = _Clock(report_progress, cancelled)
    try:
        with (
            torch.no_grad(),
            capped_memory(device, memory_limit()),
            memory_advice(device, lambda: plan.memory.advice(clock.phase)),
            attention_kernels(plan.options.attention),
        ):
            return _Generation(plan, inputs, device, clock).run()
    except BaseException:
        # Hooks and offloaded weights may be half-way: the next job starts from a fresh pipeline.
        forget_pipeline(device)
        raise


class _Clock:
    """Reports progress, times the phases, knows in which one it is, and stops cancelled jobs."""

    def __init__(self, report_progress: ReportProgress, cancelled: IsCancelled) -> None:
        self._report, self._cancelled = report_progress, cancelled
        self.phase: Phase | None = None
        self.seconds: dict[str, float] = {}

    def report(self, name: str, step: int, steps: int) -> None:
        if self._cancelled():
            raise Cancelled
        self._report(Progress(name, step, steps))

    def step(self, done: int, steps: int) -> None:
        """So many steps of the current phase are done, over all windows."""
        assert self.phase is not None
        self.report(_PHASE_NAMES[self.phase], done, steps)

    @contextmanager
    def loading(self) -> Iterator[Callable[[int], None]]:
        with self._timed(_LOADING):
            yield lambda step: self.report(_LOADING, step, LOADING_STEPS)

    @contextmanager
    def during(self, phase: Phase, step: int, steps: int) -> Iterator[None]:
        """A phase; `step` of `steps` of it were done before, over all windows."""
        self.phase = phase
        name = _PHASE_NAMES[phase]
        self.report(name, step, steps)
        with self._timed(name):
            yield

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


class _Generation:
    """One job."""

    def __init__(
        self, plan: GenerationPlan, inputs: EngineInputs, device: torch.device, clock: _Clock
    ) -> None:
        self._plan, self._inputs, self._device, self._clock = plan, inputs, device, clock
        self._dtype = number_format(plan.memory.device)

    def run(self) -> EngineOutput:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        with self._clock.loading() as on_step:
            loaded = load_pipeline(self._choice(), on_step)
        pipeline = loaded.pipeline
        prompt, negative = self._prompts()
        with self._clock.during(Phase.TEXT, 0, 1):
            texts = pipeline.encode_prompts(prompt, negative, Alignment.ALIGNED, self._plan.guidance)
        shot = np.empty_like(self._inputs.conditioning.ids)  # (T, H, W, 3)
        records = []
        for index, window in enumerate(self._plan.windows):
            photo = self._inputs.photo if index == 0 else shot[window.start].copy()
            record, clip = self._window(pipeline, texts, index, window, photo)
            join(shot, window, clip)
            records.append(record)
        record = self._record(loaded, prompt, negative, tuple(records))
        return EngineOutput(shot, "", self._warnings(), record.to_dict())

    def _window(
        self, pipeline: Any, texts: Texts, index: int, window: Window, photo: NDArray[np.uint8]
    ) -> tuple[WindowRecord, NDArray[np.uint8]]:
        """Make one clip, (len(window), H, W, 3) uint8, of a photo (H, W, 3) uint8."""
        plan, clock, options = self._plan, self._clock, self._plan.options
        count = len(plan.windows)
        seed = window_seed(plan.request.seed, index)
        whole = self._inputs.conditioning
        videos = ConditioningVideos(whole.ids[window.frames], whole.color[window.frames])
        caches, control = self._condition(pipeline, texts, index, videos)

        def after_step(_: Any, step: int, __: Any, tensors: Mapping[str, Any]) -> Mapping[str, Any]:
            clock.step(index * plan.steps + step + 1, count * plan.steps)
            return tensors

        with clock.during(Phase.DENOISING, index * plan.steps, count * plan.steps):
            latents = pipeline(
                photo,
                generator=seeded_generator(seed),
                strength=options.strength,
                num_inference_steps=plan.steps,
                guidance_scale=plan.guidance,
                guidance_schedule=options.guidance_schedule,
                scheduler=options.scheduler,
                step_cache=step_caching(
                    pipeline.transformer,
                    options.step_cache,
                    plan.steps,
                    lambda: float(pipeline.current_timestep),
                ),
                texts=texts,
                output_type="latent",
                callback_on_step_end=after_step,
                **control,
            ).frames
        record = WindowRecord(
            start=window.start,
            stop=window.stop,
            fade=window.fade,
            seed=seed,
            kept_tokens=None if caches is None else caches.prompt.tokens,
            all_tokens=pipeline.token_grid(ClipShape.of(videos.ids)).tokens,
            cache_bytes=0 if caches is None else caches.nbytes,
        )
        # The VAE needs the memory of the condition.
        caches = None
        control.clear()
        with clock.during(Phase.DECODING, index, count):
            clip = _as_bytes(pipeline.decode_latents(latents))
            pipeline.maybe_free_model_hooks()
        clock.step(index + 1, count)
        return record, clip

    def _condition(
        self, pipeline: Any, texts: Texts, index: int, videos: ConditioningVideos
    ) -> tuple[Any, dict[str, Any]]:
        """The condition's caches, None at strength 0, and the pipeline's arguments for the control."""
        options, count = self._plan.options, len(self._plan.windows)
        if options.strength == 0:
            return None, {"id_video": videos.ids, "color_video": videos.color}
        with self._clock.during(Phase.VIDEOS, 2 * index, 2 * count):
            latents = pipeline.encode_condition_videos(videos.ids, videos.color)
        with self._clock.during(Phase.CONDITION, 2 * index + 1, 2 * count):
            caches = pipeline.encode_condition(
                latents,
                texts,
                keep=pipeline.kept_tokens(videos.ids, options.condition_tokens),
                storage=options.cache_storage,
                place=self._plan.memory.cache_place,
            )
        return caches, {"condition": caches}

    def _choice(self) -> PipelineChoice:
        plan = self._plan
        return PipelineChoice(
            backbone=plan.profile.backbone,
            location=plan.model.location,
            loras=plan.options.loras,
            rung=plan.memory.rung,
            compile=plan.options.compile,
            device=self._device,
            dtype=self._dtype,
        )

    def _prompts(self) -> tuple[str, str]:
        """Prompt and negative prompt as the model reads them; no negative prompt means the authors' one."""
        request, backbone = self._plan.request, self._plan.profile.backbone
        aligned = self._inputs.trajectories.meta.aligned
        alignment = Alignment.ALIGNED if aligned else Alignment.UNALIGNED
        negative = request.negative_prompt or NEGATIVE_PROMPTS[backbone]
        return control_prompt(request.prompt, alignment), negative

    def _warnings(self) -> tuple[str, ...]:
        warnings, windows = list(self._plan.memory.warnings), len(self._plan.windows)
        if windows > 1:
            warnings.append(
                f"The shot was made in {windows} windows, each from a frame of the one before: colours and "
                "details may drift along it."
            )
        return tuple(warnings)

    def _record(
        self, loaded: LoadedPipeline, prompt: str, negative: str, windows: tuple[WindowRecord, ...]
    ) -> GenerationRecord:
        plan, control = self._plan, self._plan.model.control
        on_gpu = self._device.type == "cuda"
        return GenerationRecord(
            base_model=plan.model.location.base.name,
            control=ControlRecord(control.path.name, loaded.control_sha256, control.file_bytes, control.rank),
            prompt=prompt,
            negative_prompt=negative if plan.guidance > 1 else "",
            scheduler=plan.options.scheduler.value,
            steps=plan.steps,
            guidance_scale=plan.guidance,
            number_format=str(self._dtype).removeprefix("torch."),
            memory=MemoryRecord(
                rung=plan.memory.rung.value,
                cache_place=plan.memory.cache_place.value,
                explanation=plan.memory.explanation,
                planned_peak=plan.memory.needs.peak,
                measured_peak=torch.cuda.max_memory_reserved(self._device) if on_gpu else None,
            ),
            windows=windows,
            device=plan.memory.device.name,
            versions={name: version(name) for name in ("torch", "diffusers", "transformers", "peft")},
            seconds={name: round(seconds, 3) for name, seconds in self._clock.seconds.items()},
        )


def _as_bytes(pixels: torch.Tensor) -> NDArray[np.uint8]:
    """Decoded pixels, (1, 3, T, H, W) from -1 to 1, as a video (T, H, W, 3) uint8."""
    scaled = ((pixels[0].float() / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    return scaled.permute(1, 2, 3, 0).cpu().numpy()
