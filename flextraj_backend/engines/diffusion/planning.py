"""From a request to what will be run: windows, steps, memory; refused here if it cannot be made."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from blender_addon.client.messages import EngineInfo
from blender_addon.core.model_options import ModelOptions, StepCache
from blender_addon.core.request import RenderRequest
from blender_addon.core.trajectories import TrajectorySet
from flextraj_backend.engines.base import EngineError, Estimate
from flextraj_backend.engines.diffusion.extra_loras import check_loras
from flextraj_backend.engines.diffusion.installed import InstalledModel
from flextraj_backend.engines.diffusion.profiles import ModelProfile
from flextraj_backend.engines.diffusion.requirements import check_accelerations
from flextraj_backend.engines.diffusion.windows import Window, plan_windows
from flextraj_backend.models.devices import GIB, Device, DeviceKind
from flextraj_backend.models.estimates import estimate
from flextraj_backend.models.job_shape import JobShape
from flextraj_backend.models.memory_plan import MemoryPlan, plan_memory
from flextraj_backend.models.model_sizes import ModelSizes


@dataclass(frozen=True, eq=False)
class GenerationPlan:
    """A job that can be made, and how.

    Attributes:
        steps, guidance: denoising steps and guidance scale, the request's or the authors'.
        windows: clips of the shot, in order.
        memory: how weights and condition share the memory.
        step_cache_bytes: what the step cache keeps beside, set aside before the memory was planned.
    """

    profile: ModelProfile
    model: InstalledModel
    request: RenderRequest
    steps: int
    guidance: float
    windows: tuple[Window, ...]
    memory: MemoryPlan
    step_cache_bytes: int

    @property
    def options(self) -> ModelOptions:
        return self.request.model

    def estimate(self) -> Estimate:
        """Time and memory; the note explains the memory plan."""
        whole = estimate(self.memory)
        sentences = [whole.note]
        if self.step_cache_bytes:
            sentences.append(f"{self.step_cache_bytes / GIB:.1f} GiB more are set aside for the step cache.")
        if len(self.windows) > 1:
            sentences.append(
                f"The shot is made in {len(self.windows)} windows of {len(self.windows[0])} frames."
            )
        on_gpu = self.memory.device.kind is DeviceKind.CUDA
        return replace(
            whole,
            memory_bytes=whole.memory_bytes + (0 if on_gpu else self.step_cache_bytes),
            vram_bytes=whole.vram_bytes + (self.step_cache_bytes if on_gpu else 0),
            note=" ".join(filter(None, sentences)),
        )


def plan_generation(
    profile: ModelProfile,
    model: InstalledModel,
    request: RenderRequest,
    trajectories: TrajectorySet,
    device: Device,
) -> GenerationPlan:
    """Plan a job.

    Raises:
        FlexTrajError: a frame count, size or option that cannot be made here; nothing was loaded.
    """
    meta, options = trajectories.meta, request.model
    limits = asdict(profile.limits(model.sizes))
    checker = EngineInfo(name=profile.name, title=profile.title, available=True, **limits)
    if refusal := checker.refusal(trajectories.frame_count, meta.width, meta.height):
        raise EngineError(refusal.message, refusal.code)
    windows = plan_windows(
        trajectories.frame_count,
        profile.window_frames(model.sizes),
        min(options.window_overlap, profile.most_overlap),
        model.sizes.frame_step,
    )
    check_accelerations(options, device.kind is DeviceKind.CUDA)
    check_loras(options.loras)
    steps = profile.steps if request.steps is None else request.steps
    guidance = profile.guidance if request.guidance_scale is None else request.guidance_scale
    job = JobShape(
        frames=len(windows[0]),
        height=meta.height,
        width=meta.width,
        steps=steps,
        prompts=2 if guidance > 1 else 1,
        strength=options.strength,
        cache_storage=options.cache_storage,
        cache_place=options.cache_place,
        windows=len(windows),
    )
    kept = step_cache_bytes(options.step_cache, model.sizes, job, device)
    left = replace(device, free_bytes=max(device.free_bytes - kept, 0))
    memory = plan_memory(model.sizes, job, left, options.memory)
    return GenerationPlan(profile, model, request, steps, guidance, windows, memory, kept)


def step_cache_bytes(choice: StepCache, sizes: ModelSizes, job: JobShape, device: Device) -> int:
    """What diffusers' hooks keep from step to step, in bytes: residuals, or the attention of every layer."""
    shape = sizes.shape(job.frames, job.height, job.width)
    tokens = shape.grid.tokens + sizes.text_tokens
    states = {
        StepCache.NONE: 0,
        StepCache.FIRST_BLOCK: 3,
        StepCache.MAG: 2,
        StepCache.PYRAMID: shape.layers,
        StepCache.FASTER: 2 * shape.layers,
        StepCache.TAYLOR: 1,
    }[choice]
    return states * job.prompts * tokens * shape.hidden_size * device.bytes_per_value
