"""Which rung of the memory ladder a job runs on, and why.

The ladder: all weights on the GPU; one model after the other; block after block; the transformer's weights in
8 bits; and the VAE in tiles. The first rung whose peak fits the free memory is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.model_options import CachePlace, CacheStorage, MemoryMode
from flextraj_backend.models.devices import GIB, Device, DeviceKind
from flextraj_backend.models.job_shape import JobShape, Phase
from flextraj_backend.models.job_times import job_times
from flextraj_backend.models.memory_model import IN_8_BITS, MemoryNeeds, memory_needs
from flextraj_backend.models.model_sizes import ModelSizes

LADDER = (
    MemoryMode.RESIDENT,
    MemoryMode.MODEL_OFFLOAD,
    MemoryMode.GROUP_OFFLOAD,
    MemoryMode.FP8_WEIGHTS,
    MemoryMode.FP8_TILED,
)
RUNG_NAMES = {
    MemoryMode.RESIDENT: "all weights on the GPU",
    MemoryMode.MODEL_OFFLOAD: "model offload",
    MemoryMode.GROUP_OFFLOAD: "group offload",
    MemoryMode.FP8_WEIGHTS: "group offload with 8-bit weights",
    MemoryMode.FP8_TILED: "group offload with 8-bit weights and a tiled VAE",
}

_WORTHWHILE = 0.9
"""An alternative is worth a mention if it takes at most so much of the memory."""
_SMALLER = 0.75
"""Sides of the smaller size that is suggested, as a share."""


@dataclass(frozen=True)
class MemoryPlan:
    """How a job's weights and condition cache share the memory.

    Attributes:
        rung: where on the ladder, never AUTO.
        cache_place: DEVICE or HOST.
        needs: peaks of the phases, main memory, bytes of the cache.
        explanation: one sentence for the user.
        warnings: sentences about what may go wrong, or what the rung changes in the picture.
    """

    sizes: ModelSizes
    job: JobShape
    device: Device
    rung: MemoryMode
    cache_place: CachePlace
    needs: MemoryNeeds
    explanation: str
    warnings: tuple[str, ...] = ()

    @property
    def cache_storage(self) -> CacheStorage:
        return self.job.cache_storage

    @property
    def peak_table(self) -> tuple[tuple[Phase, int], ...]:
        """Peak bytes on the device by phase, in the order of the job."""
        return tuple(self.needs.peaks.items())

    def advice(self, phase: Phase | None = None) -> str:
        """What to tell the user when the memory ran out after all: one sentence.

        Args:
            phase: in which it ran out, None where unknown.
        """
        where = f" while {phase}" if phase else ""
        options = list(self._smaller_choices(phase))[:2] or ["close other programs that use its memory"]
        who = "The computer" if self.device.kind is DeviceKind.CPU else self.device.name
        return f"{who} ran out of memory{where} with memory mode '{self.rung}': {', or '.join(options)}."

    def _smaller_choices(self, phase: Phase | None) -> Iterator[str]:
        """What takes clearly less memory, the mildest first."""

        def need(job: JobShape, rung: MemoryMode, place: CachePlace) -> int:
            needs = memory_needs(self.sizes, job, self.device, rung, place)
            return needs.peaks[phase] if phase else needs.peak

        limit = _WORTHWHILE * need(self.job, self.rung, self.cache_place)
        later = _rungs(self.device)[_index(self.rung, self.device) + 1 :]
        last = later[-1] if later else self.rung
        on_gpu = self.device.kind is DeviceKind.CUDA
        for rung in later:
            if (size := need(self.job, rung, self.cache_place)) <= limit:
                yield f"choose memory mode '{rung}' ({_about(size)})"
                break
        if self.job.condition_share:
            if on_gpu and (size := need(self.job, self.rung, CachePlace.HOST)) <= limit:
                yield f"keep the condition cache in main memory, cache place 'host' ({_about(size)})"
            job = replace(self.job, cache_storage=CacheStorage.FP8)
            if (size := need(job, self.rung, self.cache_place)) <= limit:
                yield f"store the condition cache in 8 bits, cache storage 'fp8' ({_about(size)})"
        place = CachePlace.HOST if on_gpu else self.cache_place
        for job, what in _smaller_jobs(self.sizes, self.job):
            if (size := need(job, last, place)) <= limit:
                yield f"render {what} ({_about(size)} with memory mode '{last}')"


def _smaller_jobs(sizes: ModelSizes, job: JobShape) -> Iterator[tuple[JobShape, str]]:
    """Half the frames, and three quarters of the sides where the model can make them."""
    step = sizes.frame_step
    frames = max((job.frames - 1) // (2 * step), 1) * step + 1
    yield replace(job, frames=frames), f"{frames} frames instead of {job.frames}"
    if sizes.fixed_size is None:
        side = sizes.spatial_compression * sizes.patch
        height, width = (max(round(_SMALLER * size / side), 1) * side for size in (job.height, job.width))
        yield replace(job, height=height, width=width), f"at {width}x{height}"


def _index(rung: MemoryMode, device: Device) -> int:
    """A rung's place on the device's ladder; -1 for one that is not on it."""
    rungs = _rungs(device)
    return rungs.index(rung) if rung in rungs else -1


def plan_memory(
    sizes: ModelSizes, job: JobShape, device: Device, mode: MemoryMode = MemoryMode.AUTO
) -> MemoryPlan:
    """Choose a rung and the place of the condition cache.

    An explicit mode that does not fit is allowed and warned about.

    Raises:
        FlexTrajError: with AUTO no rung fits (the sentence has the figures), or there is no device.
    """
    if device.kind is DeviceKind.NONE:
        raise FlexTrajError(device.reason, ErrorCode.ENGINE)
    if mode is not MemoryMode.AUTO:
        return _plan_asked_for(sizes, job, device, mode)
    candidates = [_Choice.of(sizes, job, device, rung) for rung in _rungs(device)]
    fitting = [choice for choice in candidates if choice.needs.peak <= device.free_bytes]
    if not fitting:
        raise _nothing_fits(job, device, candidates)
    # Main memory is second to the GPU's: without enough of it the system swaps, and goes on.
    roomy = [choice for choice in fitting if choice.needs.host <= device.host_free_bytes]
    return _plan(sizes, job, device, (roomy or fitting)[0])


@dataclass(frozen=True)
class _Choice:
    """A rung with the best place for the cache on it."""

    rung: MemoryMode
    place: CachePlace
    needs: MemoryNeeds

    @classmethod
    def of(cls, sizes: ModelSizes, job: JobShape, device: Device, rung: MemoryMode) -> _Choice:
        choices = [
            cls(rung, place, memory_needs(sizes, job, device, rung, place)) for place in _places(job, device)
        ]
        fitting = [choice for choice in choices if choice.needs.peak <= device.free_bytes]
        return (fitting or choices[-1:])[0]


def _rungs(device: Device) -> tuple[MemoryMode, ...]:
    """The rungs that save memory on a device: a CPU has no second memory to offload to."""
    if device.kind is DeviceKind.CUDA:
        return tuple(rung for rung in LADDER if device.fp8 or rung not in IN_8_BITS)
    rungs = (MemoryMode.RESIDENT, MemoryMode.FP8_WEIGHTS, MemoryMode.FP8_TILED)
    return rungs if device.fp8 else rungs[:1]


def _places(job: JobShape, device: Device) -> tuple[CachePlace, ...]:
    if job.cache_place is not CachePlace.AUTO:
        return (job.cache_place,)
    if device.kind is DeviceKind.CUDA and job.condition_share:
        return CachePlace.DEVICE, CachePlace.HOST
    return (CachePlace.DEVICE,)


def _plan_asked_for(sizes: ModelSizes, job: JobShape, device: Device, mode: MemoryMode) -> MemoryPlan:
    choice = _Choice.of(sizes, job, device, mode)
    plan = _plan(sizes, job, device, choice)
    warnings = []
    if mode not in _rungs(device):
        warnings.append(f"Memory mode '{mode}' saves nothing on this device: 'auto' suits it better.")
    if choice.needs.peak > device.free_bytes:
        warnings.append(
            f"Memory mode '{mode}' needs about {_gib(choice.needs.peak)} of {device.memory_name} and "
            f"{_gib(device.free_bytes)} are free, so that it may run out: choose memory mode 'auto'."
        )
    return replace(plan, warnings=(*warnings, *plan.warnings))


def _plan(sizes: ModelSizes, job: JobShape, device: Device, choice: _Choice) -> MemoryPlan:
    warnings = []
    if choice.needs.host > device.host_free_bytes and device.kind is not DeviceKind.CPU:
        wanted, free = _gib(choice.needs.host), _gib(device.host_free_bytes)
        warnings.append(
            f"The job needs about {wanted} of main memory and {free} are free: "
            "close other programs, or it becomes very slow."
        )
    if choice.rung in IN_8_BITS:
        tiled = " and a tiled VAE" if choice.rung is MemoryMode.FP8_TILED else ""
        warnings.append(f"Weights in 8 bits{tiled} change the picture slightly.")
    explanation = _explanation(sizes, job, device, choice)
    return MemoryPlan(
        sizes, job, device, choice.rung, choice.place, choice.needs, explanation, tuple(warnings)
    )


def _explanation(sizes: ModelSizes, job: JobShape, device: Device, choice: _Choice) -> str:
    free = f"With {_gib(device.free_bytes)} of {device.memory_name} free"
    needs = f"needs about {_gib(choice.needs.peak)} at its peak ({choice.needs.peak_phase})"
    if device.kind is not DeviceKind.CUDA:
        name = "weights in full precision" if choice.rung is MemoryMode.RESIDENT else "8-bit weights"
        return f"{free}: {name}, {needs}."
    waiting = ""
    if choice.place is CachePlace.HOST and choice.needs.cache:
        waiting = f", the condition cache ({_gib(choice.needs.cache)}) waits in main memory"
    slower = ""
    if choice.rung is not MemoryMode.RESIDENT:
        fastest = job_times(sizes, job, device, MemoryMode.RESIDENT, CachePlace.DEVICE).total
        seconds = job_times(sizes, job, device, choice.rung, choice.place).total
        percent = round(100 * (seconds / fastest - 1))
        slower = f", slower by about {percent} %" if percent >= 1 else ", hardly slower"
    return f"{free}: {RUNG_NAMES[choice.rung]}{waiting}; {needs}{slower}."


def _nothing_fits(job: JobShape, device: Device, choices: list[_Choice]) -> FlexTrajError:
    smallest = min(choices, key=lambda choice: choice.needs.peak)
    kind = ErrorCode.GPU_MEMORY if device.kind is not DeviceKind.CPU else ErrorCode.MEMORY
    place = "" if device.kind is DeviceKind.CPU else f" on {device.name}"
    return FlexTrajError(
        f"{job} need about {_gib(smallest.needs.peak)} of {device.memory_name} even at the smallest setting, "
        f"and {_gib(device.free_bytes)} are free{place}: "
        "close other programs that use it, render fewer frames or a smaller size.",
        kind,
    )


def _about(size: float) -> str:
    return f"about {_gib(size)}"


def _gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"
