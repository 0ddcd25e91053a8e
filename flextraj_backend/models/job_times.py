"""How long each phase of a job takes: operations over the device's speed, and bytes over its links.

Rough by nature. Three published times anchor it: CogVideoX-5B's model card gives about 180 s on an A100 and
90 s on an H100 for 50 steps (33.5 PF, so 186 and 372 TF/s), Wan2.2's 9 minutes on an RTX 4090 for 50 steps of
121x704x1280 (53.7 PF, so 99 TF/s). The shares of peak speed below follow from them; other families are
extrapolated from their number of multiprocessors. Links, disks and the speed of convolutions are assumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from blender_addon.core.model_options import CachePlace, MemoryMode
from flextraj_backend.models.devices import Device, DeviceKind
from flextraj_backend.models.flops import (
    base_step_flops,
    cached_step_flops,
    encode_flops,
    text_encoder_flops,
)
from flextraj_backend.models.job_shape import JobShape, Phase
from flextraj_backend.models.memory_model import (
    CACHE_READS_TEXT,
    GUIDED_IN_ONE_BATCH,
    IN_8_BITS,
    IN_GROUPS,
    cache_bytes,
)
from flextraj_backend.models.model_sizes import ModelSizes
from flextraj_backend.models.vae_flops import vae_decode_flops, vae_encode_flops


@dataclass(frozen=True)
class _Family:
    """GPUs of one compute capability.

    Attributes:
        per_cycle: bf16 operations of one multiprocessor in a cycle, accumulated in float32.
        gigahertz: typical clock.
        share: of the peak that a transformer of this kind reaches.
        copies: bytes a second from pinned main memory.
    """

    per_cycle: int
    gigahertz: float
    share: float
    copies: float


_FAMILIES = {
    (8, 0): _Family(2048, 1.41, 0.60, 20e9),  # A100: 312 TF/s, 186 measured
    (8, 6): _Family(512, 1.70, 0.60, 20e9),  # RTX 3090: 71 TF/s
    (8, 9): _Family(512, 2.52, 0.60, 20e9),  # RTX 4090: 165 TF/s, 99 measured
    (9, 0): _Family(4096, 1.83, 0.38, 40e9),  # H100: 989 TF/s, 372 measured
    (10, 0): _Family(8192, 1.85, 0.35, 40e9),  # B200
    (12, 0): _Family(512, 2.41, 0.60, 40e9),  # RTX 5090: 210 TF/s
}
_OLDER = _Family(128, 1.5, 0.50, 10e9)
"""Before Ampere bf16 runs on the float32 units."""
_APPLE = 6e12
_CPU_SHARE = 0.5
"""Of the speed of a small matrix product."""
_CONVOLUTION_SHARE = 0.4
"""Speed of the VAEs' convolutions, as a share of the transformer's."""
_APPLE_COPIES = 50e9

_DISK = 1e9
_START_SECONDS = 15.0
"""Importing the libraries and building the models."""
_BLOCK_SECONDS = {DeviceKind.CUDA: 0.0005, DeviceKind.MPS: 0.001, DeviceKind.CPU: 0.004}
"""What a block takes whatever its size: starting its kernels."""
_CAST_FACTOR = 1.05
"""Turning 8-bit weights back costs a few percent."""
_TILE_FACTOR = 1.4
"""Overlapping tiles cover the picture that often (CogVideoX at 480x720)."""


@dataclass(frozen=True)
class Speed:
    """Operations, and bytes from main memory, a second."""

    transformer: float
    convolutions: float
    copies: float


def device_speed(device: Device) -> Speed:
    """What the models reach on a device."""
    match device.kind:
        case DeviceKind.CUDA:
            family = _FAMILIES.get(device.capability) or _nearest(device.capability)
            peak = device.processors * family.per_cycle * family.gigahertz * 1e9
            operations, copies = family.share * peak, family.copies
        case DeviceKind.MPS:
            operations, copies = _APPLE, _APPLE_COPIES
        case _:
            operations, copies = _CPU_SHARE * device.measured_flops, _APPLE_COPIES
    operations = max(operations, 1e9)
    return Speed(operations, _CONVOLUTION_SHARE * operations, copies)


def _nearest(capability: tuple[int, int]) -> _Family:
    """The newest family that is not newer."""
    older = [known for known in _FAMILIES if known <= capability]
    return _FAMILIES[max(older)] if older else _OLDER


@dataclass(frozen=True)
class JobTimes:
    """Seconds: until the models are loaded, and of each phase over all windows."""

    start: float
    phases: Mapping[Phase, float]

    @property
    def total(self) -> float:
        return self.start + sum(self.phases.values())


def job_times(
    sizes: ModelSizes, job: JobShape, device: Device, rung: MemoryMode, place: CachePlace
) -> JobTimes:
    """How long a job takes at a rung of the memory ladder, without step caches and compiling.

    Args:
        rung: any but AUTO.
        place: of the condition cache, DEVICE or HOST.
    """
    speed, offloads = device_speed(device), device.kind is DeviceKind.CUDA
    waiting = cache_bytes(sizes, job, device) if place is CachePlace.HOST else 0
    links = _Links(sizes, device, rung, speed) if offloads else None
    shape = sizes.shape(job.frames, job.height, job.width)
    pixels = (job.frames, job.height, job.width)
    casting = _CAST_FACTOR if rung in IN_8_BITS else 1.0
    tiling = _TILE_FACTOR if rung is MemoryMode.FP8_TILED else 1.0
    launching = shape.layers * _BLOCK_SECONDS.get(device.kind, 0.0)

    def forward(flops: float, cache: float = 0.0) -> float:
        computing = casting * flops / speed.transformer + launching
        return links.overlapped(computing, cache) if links else computing

    # Denoising: on CogVideoX one forward of both guidance halves, on Wan one forward for each.
    one_batch = sizes.backbone in GUIDED_IN_ONE_BATCH
    batch, forwards = (job.prompts, 1) if one_batch else (1, job.prompts)
    share = job.condition_share
    step_flops = (
        cached_step_flops(shape, kept=share, batch=batch) if share else base_step_flops(shape, batch=batch)
    )
    step = forwards * forward(step_flops, waiting / forwards)
    passes = 0 if not share else job.prompts if sizes.backbone in CACHE_READS_TEXT else 1

    videos = 2 * vae_encode_flops(sizes.backbone, sizes.vae_config, *pixels) if share else 0.0
    photo = vae_encode_flops(sizes.backbone, sizes.vae_config, 1, job.height, job.width)
    decoding = vae_decode_flops(sizes.backbone, sizes.vae_config, *pixels)
    text = job.prompts * text_encoder_flops(sizes.text_encoder.block_parameters, sizes.text_tokens)
    phases = {
        Phase.TEXT: text / speed.transformer,
        Phase.VIDEOS: tiling * (videos + photo) / speed.convolutions,
        Phase.CONDITION: passes * forward(encode_flops(shape, kept=share)),
        Phase.DENOISING: job.steps * step,
        Phase.DECODING: tiling * decoding / speed.convolutions,
    }
    if links:
        phases = {phase: seconds + links.moving(phase) for phase, seconds in phases.items()}
    repeated = {
        phase: seconds * (1 if phase is Phase.TEXT else job.windows) for phase, seconds in phases.items()
    }
    stored = sum(part.stored_bytes for part in sizes.parts)
    return JobTimes(_START_SECONDS + stored / _DISK, MappingProxyType(repeated))


@dataclass(frozen=True)
class _Links:
    """Weights that come from main memory."""

    sizes: ModelSizes
    device: Device
    rung: MemoryMode
    speed: Speed

    def overlapped(self, computing: float, cache: float) -> float:
        """A forward of the transformer; its blocks and `cache` bytes arrive while others compute."""
        arriving = cache
        if self.rung in IN_GROUPS:
            each = 1 if self.rung in IN_8_BITS else self.device.bytes_per_value
            arriving += self.sizes.transformer.block_parameters * each
        return max(computing, arriving / self.speed.copies)

    def moving(self, phase: Phase) -> float:
        """Getting a phase's model onto the GPU."""
        if self.rung is MemoryMode.RESIDENT:
            return 0.0
        parameters = {
            Phase.TEXT: self.sizes.text_encoder.parameters,
            Phase.VIDEOS: self.sizes.vae.parameters,
            Phase.CONDITION: self.sizes.transformer.parameters,
            Phase.DECODING: self.sizes.vae.parameters,
        }.get(phase, 0)
        if self.rung in IN_GROUPS and phase is not Phase.TEXT:
            return 0.0
        return parameters * self.device.bytes_per_value / self.speed.copies
