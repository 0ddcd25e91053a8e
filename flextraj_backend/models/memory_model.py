"""How many bytes each phase of a job takes at its peak.

Weights and the condition cache follow from the model's files. Activations were counted: the released models
run on the meta device with the bytes of every live tensor added up. The largest sum is a constant number of
values for each token and channel of a transformer, and for each pixel of a VAE, over all sizes and lengths
tried (9 to 121 frames, 256x384 to 768x1360). Attention is taken to be a fused kernel's.

What a GPU adds (workspaces of its libraries, gaps in the allocator) cannot be counted so; the margins below
stand for it, and are extrapolated from one published measurement of a model with CogVideoX's VAE, in
diffusers' documentation (ConsisID, 49x480x720): 16 GB allocated and 22 GB reserved untiled, 5 and 7 GB tiled,
where this model says 19.4 and 5.7 GiB. Against model_facts.md C (main memory, 9x256x384, float32) the count
is 6.3 of 6.4 GiB decoding and 2.8 of 3.3 encoding. The extrapolation there to 49 frames of 480x720, 22.5 GiB,
lacks what one piece of the video hands to the next: the count is 29.5 GiB.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from blender_addon.core.model_options import CachePlace, CacheStorage, MemoryMode
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.devices import GIB, Device, DeviceKind
from flextraj_backend.models.job_shape import JobShape, Phase
from flextraj_backend.models.model_sizes import ModelSizes

IN_GROUPS = (MemoryMode.GROUP_OFFLOAD, MemoryMode.FP8_WEIGHTS, MemoryMode.FP8_TILED)
"""Rungs that bring the large models to the device block by block."""
IN_8_BITS = (MemoryMode.FP8_WEIGHTS, MemoryMode.FP8_TILED)

GUIDED_IN_ONE_BATCH = frozenset({Backbone.COGVIDEOX})
"""Both guidance halves run in one forward; on Wan one after the other."""
CACHE_READS_TEXT = frozenset({Backbone.WAN})
"""The condition depends on the prompt, so that guidance needs two caches."""

_TRANSFORMER_MARGIN = 1.15
_VAE_MARGIN = 1.25
_RUNTIME = {
    DeviceKind.CUDA: GIB // 2,  # libraries' handles and workspaces; the context is known to the probe
    DeviceKind.MPS: GIB,
    DeviceKind.CPU: GIB,  # Python with torch, diffusers and transformers
}
_HOST_RUNTIME = 2 * GIB
"""Main memory of the process itself beside a GPU."""

_STEP_VALUES = {Backbone.COGVIDEOX: 4.1, Backbone.WAN: 23.4}
"""Live values for each token and channel at a forward's peak, beside the feed-forward's two inner tensors.
Wan keeps a modulation of each token, partly in float32."""
_MERGE_VALUES = {Backbone.COGVIDEOX: 2.1, Backbone.WAN: 0.0}
"""What merging attentions (a strength other than 1, tokens that stand for others) adds."""
_ENCODE_VALUES = 11.6
"""The same of the pass that encodes the condition."""
_TEXT_VALUES = 30
"""Of a text encoder's forward."""


@dataclass(frozen=True)
class _VaeValues:
    """Live values at a VAE's peak, counted on the released one.

    Attributes:
        encode, decode: for each pixel and channel of the finest level.
        encode_per_frame, decode_per_frame: for each pixel and frame of the whole video.
    """

    encode: float
    decode: float
    encode_per_frame: float
    decode_per_frame: float


_VAE_VALUES = {
    Backbone.COGVIDEOX: _VaeValues(74.5, 178.9, 0.2, 3.0),
    Backbone.WAN: _VaeValues(11.7, 21.1, 3.1, 3.0),
}
_TILES_OUTPUT = 1.4
"""Overlapping tiles of the decoded video that wait while the last large one is decoded, in copies of it."""
_JOINED_OUTPUT = 3.7
"""Copies of it when the tiles are joined: as tiles, as rows and whole."""
_WAN_TILE = 256


@dataclass(frozen=True)
class MemoryNeeds:
    """What a job takes at one rung.

    Attributes:
        peaks: bytes on the device at the peak of each phase.
        host: bytes of main memory; on a CPU the largest peak.
        cache: bytes of the condition cache, all prompts together.
    """

    peaks: Mapping[Phase, int]
    host: int
    cache: int

    @property
    def peak(self) -> int:
        return max(self.peaks.values())

    @property
    def peak_phase(self) -> Phase:
        return max(self.peaks, key=lambda phase: self.peaks[phase])


def cache_bytes(sizes: ModelSizes, job: JobShape, device: Device) -> int:
    """Bytes of the condition cache: keys and values of every layer, for each prompt that needs its own."""
    shape = sizes.shape(job.frames, job.height, job.width)
    each = {
        CacheStorage.MODEL: device.bytes_per_value,
        CacheStorage.BF16: 2,
        CacheStorage.FP8: 1,
    }[job.cache_storage]
    prompts = job.prompts if sizes.backbone in CACHE_READS_TEXT else 1
    tokens = round(shape.grid.tokens * job.condition_share)
    return prompts * shape.layers * 2 * tokens * shape.hidden_size * each


def memory_needs(
    sizes: ModelSizes, job: JobShape, device: Device, rung: MemoryMode, place: CachePlace
) -> MemoryNeeds:
    """The peaks of a job.

    What it takes for granted: the VAE encodes one video at a time (slicing, which is exact), the condition's
    memory is free before the video is decoded, and at the rungs with groups the text encoder too comes block
    by block while the VAE stays.

    Args:
        rung: any but AUTO.
        place: of the condition cache, DEVICE or HOST.
    """
    weights = _Weights(sizes, device.bytes_per_value)
    cache = cache_bytes(sizes, job, device)
    activations = _activations(sizes, job, device, rung)
    there = {phase: weights.on_device(phase, rung, device.kind) for phase in Phase}
    caches = _caches(sizes, cache, place, device.kind)
    runtime = _RUNTIME.get(device.kind, GIB)
    peaks = {phase: runtime + there[phase] + activations[phase] + caches.get(phase, 0) for phase in Phase}
    if device.kind in (DeviceKind.CUDA, DeviceKind.MPS):
        waiting = cache if place is CachePlace.HOST else 0
        host = _HOST_RUNTIME + weights.everything + waiting
    else:
        host = max(peaks.values())
    return MemoryNeeds(MappingProxyType(peaks), host, cache)


@dataclass(frozen=True)
class _Weights:
    """Bytes of weights in the number format that the device computes in."""

    sizes: ModelSizes
    each: int

    @property
    def transformer(self) -> int:
        return (self.sizes.transformer.parameters + self.sizes.control_parameters) * self.each

    @property
    def everything(self) -> int:
        return self.transformer + (self.sizes.text_encoder.parameters + self.sizes.vae.parameters) * self.each

    def on_device(self, phase: Phase, rung: MemoryMode, kind: DeviceKind) -> int:
        """What of the weights is on the device in a phase."""
        vae = self.sizes.vae.parameters * self.each
        if kind is DeviceKind.CPU:
            # Nothing moves away; only smaller numbers help.
            return self.everything - (self._saved_by_8_bits() if rung in IN_8_BITS else 0)
        if rung is MemoryMode.RESIDENT:
            return self.everything
        if rung is MemoryMode.MODEL_OFFLOAD:
            if phase is Phase.TEXT:
                return self.sizes.text_encoder.parameters * self.each
            return self.transformer if phase in (Phase.CONDITION, Phase.DENOISING) else vae
        # In groups: the VAE stays, of the others two blocks are there, one that computes and the next one.
        if phase is Phase.TEXT:
            text = self.sizes.text_encoder
            return vae + (text.outside_blocks + 2 * text.one_block) * self.each
        if phase in (Phase.CONDITION, Phase.DENOISING):
            return vae + self._transformer_group(rung)
        return vae

    def _transformer_group(self, rung: MemoryMode) -> int:
        transformer = self.sizes.transformer
        control = 2 * self.sizes.control_parameters // max(transformer.blocks, 1)
        outside = (transformer.outside_blocks + control + self._fuse_layer()) * self.each
        if rung in IN_8_BITS:
            # A block in 8 bits and one of its layers, about a third of it, as it computes.
            return outside + 2 * transformer.one_block + transformer.one_block * self.each // 3
        return outside + 2 * transformer.one_block * self.each

    def _fuse_layer(self) -> int:
        config = self.sizes.transformer_config
        return (config["num_attention_heads"] * config["attention_head_dim"]) ** 2

    def _saved_by_8_bits(self) -> int:
        return self.sizes.transformer.block_parameters * (self.each - 1)


def _caches(sizes: ModelSizes, cache: int, place: CachePlace, kind: DeviceKind) -> dict[Phase, int]:
    """What of the condition cache is on the device."""
    if place is CachePlace.HOST and kind is not DeviceKind.CPU:
        # The layer that is read and the next one, on its way.
        cache = 2 * cache // sizes.transformer_config["num_layers"]
    return {Phase.CONDITION: cache, Phase.DENOISING: cache}


def _activations(sizes: ModelSizes, job: JobShape, device: Device, rung: MemoryMode) -> dict[Phase, int]:
    shape = sizes.shape(job.frames, job.height, job.width)
    each = device.bytes_per_value
    width = shape.hidden_size
    text_width, text_tokens = shape.text_size, sizes.text_tokens

    inner = 4.0 if sizes.backbone is Backbone.COGVIDEOX else shape.config["ffn_dim"] / width
    values = _STEP_VALUES[sizes.backbone] + 2 * inner
    if job.strength not in (0, 1) or 0 < job.condition_share < 1:
        values += _MERGE_VALUES[sizes.backbone]
    one_batch = sizes.backbone in GUIDED_IN_ONE_BATCH
    batch = job.prompts if one_batch else 1
    tokens = shape.grid.tokens + (text_tokens if one_batch else 0)
    step = values * width * tokens * batch * each
    condition = _ENCODE_VALUES * width * shape.grid.tokens * max(job.condition_share, 0.3) * each
    scores = text_width // 64 * text_tokens**2 * 4 * 2  # of T5, whose attention is not fused, in float32
    text = job.prompts * (_TEXT_VALUES * text_width * text_tokens * each + scores)
    encoding, decoding = _vae_values(sizes, job, rung)
    return {
        Phase.TEXT: round(_TRANSFORMER_MARGIN * text),
        Phase.VIDEOS: round(_VAE_MARGIN * encoding * each),
        Phase.CONDITION: round(_TRANSFORMER_MARGIN * condition) if job.condition_share else 0,
        Phase.DENOISING: round(_TRANSFORMER_MARGIN * step),
        Phase.DECODING: round(_VAE_MARGIN * decoding * each),
    }


def _vae_values(sizes: ModelSizes, job: JobShape, rung: MemoryMode) -> tuple[float, float]:
    """Live values at the VAE's peak while it encodes one video, and while it decodes."""
    values = _VAE_VALUES[sizes.backbone]
    encoder_width, decoder_width = _finest_channels(sizes)
    pixels = job.height * job.width
    encoding = values.encode_per_frame * job.frames * pixels
    output = values.decode_per_frame * job.frames * pixels
    if rung is not MemoryMode.FP8_TILED:
        encoding += values.encode * encoder_width * pixels
        return encoding, values.decode * decoder_width * pixels + output
    encoded_at_once, decoded_at_once = _tile_pixels(sizes, job)
    encoding += values.encode * encoder_width * encoded_at_once
    decoding_tiles = values.decode * decoder_width * decoded_at_once + _TILES_OUTPUT * output
    return encoding, max(decoding_tiles, _JOINED_OUTPUT * output)


def _finest_channels(sizes: ModelSizes) -> tuple[int, int]:
    """Channels of encoder and decoder at the finest level."""
    config = sizes.vae_config
    if sizes.backbone is Backbone.COGVIDEOX:
        return config["block_out_channels"][0], config["block_out_channels"][0]
    return config["base_dim"], config["decoder_base_dim"] or config["base_dim"]


def _tile_pixels(sizes: ModelSizes, job: JobShape) -> tuple[int, int]:
    """Pixels of one tile of encoding and of decoding: diffusers' own sizes."""
    config = sizes.vae_config
    if sizes.backbone is Backbone.COGVIDEOX:
        tile = min(job.height, config["sample_height"] // 2) * min(job.width, config["sample_width"] // 2)
        return tile, tile
    # The encoder's tiles are cut from the patched video.
    encoded = _WAN_TILE * (config["patch_size"] or 1)
    return (
        min(job.height, encoded) * min(job.width, encoded),
        min(job.height, _WAN_TILE) * min(job.width, _WAN_TILE),
    )
