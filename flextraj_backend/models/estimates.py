"""What a job will take, told before it starts; and whether an engine is offered on a device at all."""

from __future__ import annotations

import math

from blender_addon.core.errors import FlexTrajError
from blender_addon.core.model_options import CachePlace, MemoryMode
from flextraj_backend.engines.base import Estimate
from flextraj_backend.models.checkpoint_layout import MODEL_NAMES
from flextraj_backend.models.devices import GIB, Device, DeviceKind
from flextraj_backend.models.job_shape import JobShape
from flextraj_backend.models.job_times import job_times
from flextraj_backend.models.memory_model import memory_needs
from flextraj_backend.models.memory_plan import LADDER, MemoryPlan, plan_memory
from flextraj_backend.models.model_sizes import ModelSizes

MAX_CPU_SECONDS = 2 * 3600.0
"""An engine whose nominal job takes longer on a CPU is not offered there."""

_NOMINAL_FRAMES, _NOMINAL_HEIGHT, _NOMINAL_WIDTH = 49, 480, 832


def estimate(plan: MemoryPlan) -> Estimate:
    """Seconds and bytes of a planned job.

    The seconds are those of the exact computation: step caches and compiling, which shorten it, are not
    counted.
    """
    times = job_times(plan.sizes, plan.job, plan.device, plan.rung, plan.cache_place)
    on_gpu = plan.device.kind is DeviceKind.CUDA
    note = plan.explanation
    if plan.device.kind is DeviceKind.CUDA:
        note = f"{note} The time follows from the GPU's kind and is rough."
    return Estimate(
        seconds=times.total,
        memory_bytes=plan.needs.host,
        vram_bytes=plan.needs.peak if on_gpu else 0,
        note=note,
    )


def nominal_job(sizes: ModelSizes) -> JobShape:
    """The job that availability is judged by: 49 frames of 832x480, or the one size that a model can make."""
    if sizes.fixed_size is None:
        return JobShape(_NOMINAL_FRAMES, _NOMINAL_HEIGHT, _NOMINAL_WIDTH)
    height, width = sizes.fixed_size
    return JobShape(sizes.transformer_config["sample_frames"], height, width)


def refusal(device: Device, sizes: ModelSizes, job: JobShape | None = None) -> str:
    """Why a model is not offered on a device: one sentence, empty where it is.

    Judged by all of the device's memory, not by what is free at the moment: a job that runs now must not make
    the engine disappear.

    Args:
        job: None for the nominal one.
    """
    if device.kind is DeviceKind.NONE:
        return device.reason
    job = job or nominal_job(sizes)
    if device.kind is DeviceKind.CPU:
        seconds = job_times(sizes, job, device, MemoryMode.RESIDENT, CachePlace.DEVICE).total
        if seconds > MAX_CPU_SECONDS:
            needed = smallest_gpu_gib(sizes, job)
            return (
                f"{job} would take about {_long_time(seconds)} on this computer's processor: "
                f"{MODEL_NAMES[sizes.backbone]} needs an NVIDIA GPU with {needed} GiB of free memory or more."
            )
    try:
        plan_memory(sizes, job, device.when_idle)
    except FlexTrajError as error:
        return error.message
    return ""


def smallest_gpu_gib(sizes: ModelSizes, job: JobShape) -> int:
    """GiB of free GPU memory that the last rung of the ladder needs, rounded up."""
    gpu = Device(DeviceKind.CUDA, "any", fp8=True)
    return math.ceil(memory_needs(sizes, job, gpu, LADDER[-1], CachePlace.HOST).peak / GIB)


def _long_time(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:.0f} hours" if hours < 48 else f"{hours / 24:.0f} days"
