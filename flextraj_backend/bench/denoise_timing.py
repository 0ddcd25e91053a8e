"""Seconds and memory of a denoising step: the released size on a large GPU, a scaled-down one elsewhere."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from flextraj_backend.bench.denoise_table import Variant
from flextraj_backend.bench.denoise_variants import DenoisingStep, denoising_step
from flextraj_backend.models.real_configs import TransformerShape

REAL_SIZE_BYTES = 40e9
"""GPU memory from which the released size is timed."""

_GPU_WARM_UP, _GPU_REPEATS = 2, 7
_CPU_REPEATS = 5


@dataclass(frozen=True)
class StepTime:
    """Median seconds of a step and the GPU's peak bytes, weights included; None where not measurable."""

    seconds: float | None
    peak_memory: int | None


def large_gpu() -> torch.device | None:
    """The first GPU, if it has the memory for the released size."""
    if not torch.cuda.is_available():
        return None
    device = torch.device("cuda", 0)
    enough = torch.cuda.get_device_properties(device).total_memory >= REAL_SIZE_BYTES
    return device if enough else None


def time_on_gpu(shape: TransformerShape, device: torch.device) -> dict[Variant, StepTime]:
    """Time every variant in bfloat16, one after the other, so that each one's peak memory is its own.

    The peak covers encoding the condition too. A variant that does not fit has no time.
    """
    return {variant: _time_one_on_gpu(variant, shape, device) for variant in Variant}


def time_on_cpu(shape: TransformerShape) -> dict[Variant, StepTime]:
    """Time every variant in float32, one step of each in turn, so that disturbances hit all alike.

    What counts is processor time of one thread: other programs' load and threads that wait for each other
    stay out of the ratios.
    """
    cpu = torch.device("cpu")
    steps = {variant: denoising_step(variant, shape, cpu, torch.float32) for variant in Variant}
    seconds: Mapping[Variant, list[float]] = {variant: [] for variant in Variant}
    with torch.inference_mode(), _one_thread():
        for step in steps.values():
            _warm_up(step, 1)
        for _ in range(_CPU_REPEATS):
            for variant, step in steps.items():
                start = time.process_time()
                step.run()
                seconds[variant].append(time.process_time() - start)
    return {variant: StepTime(statistics.median(times), None) for variant, times in seconds.items()}


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _time_one_on_gpu(variant: Variant, shape: TransformerShape, device: torch.device) -> StepTime:
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    try:
        step = denoising_step(variant, shape, device, torch.bfloat16)
        with torch.inference_mode():
            _warm_up(step, _GPU_WARM_UP)
            seconds = statistics.median(_gpu_seconds(step) for _ in range(_GPU_REPEATS))
    except torch.cuda.OutOfMemoryError:
        return StepTime(None, None)
    return StepTime(seconds, torch.cuda.max_memory_allocated(device))


def _warm_up(step: DenoisingStep, repeats: int) -> None:
    if step.encode is not None:
        step.encode()
    for _ in range(repeats):
        step.run()


def _gpu_seconds(step: DenoisingStep) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    step.run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1000
