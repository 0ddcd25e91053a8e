"""Memory ladder and estimates: what they promise is what the models take, and the choice is explained."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import AutoencoderKLCogVideoX
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from hypothesis import given, settings
from hypothesis import strategies as st
from live_bytes import LiveBytes, fused_attention
from torch.utils.flop_counter import FlopCounterMode
from transformers import T5Config, T5EncoderModel, UMT5Config, UMT5EncoderModel

from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.model_options import CachePlace, CacheStorage, MemoryMode
from flextraj_backend.models.backbone import Backbone, TokenGrid
from flextraj_backend.models.cogvideox_transformer import FlexTrajCogVideoXTransformer
from flextraj_backend.models.condition import ConditionLatents
from flextraj_backend.models.devices import GIB, Device, DeviceKind
from flextraj_backend.models.estimates import MAX_CPU_SECONDS, estimate, nominal_job, refusal
from flextraj_backend.models.flops import (
    base_step_flops,
    cached_step_flops,
    concatenated_step_flops,
    controlnet_step_flops,
    encode_flops,
    masked_step_flops,
)
from flextraj_backend.models.job_shape import JobShape, Phase
from flextraj_backend.models.job_times import job_times
from flextraj_backend.models.memory_model import cache_bytes, memory_needs
from flextraj_backend.models.memory_plan import LADDER, plan_memory
from flextraj_backend.models.model_sizes import RELEASED_SIZES, ModelSizes
from flextraj_backend.models.real_configs import RELEASED
from flextraj_backend.models.vae_flops import vae_decode_flops, vae_encode_flops
from flextraj_backend.models.wan_transformer import FlexTrajWanTransformer

COG, WAN = Backbone.COGVIDEOX, Backbone.WAN
NOMINAL = {COG: JobShape(49, 480, 720), WAN: JobShape(49, 480, 832)}
TERA = 1e12


def gpu(free_gib: float, **changes: Any) -> Device:
    """An RTX 4090 with so much free memory."""
    device = Device(
        DeviceKind.CUDA,
        "NVIDIA RTX",
        total_bytes=round(free_gib * GIB / 0.93),
        free_bytes=round(free_gib * GIB),
        host_free_bytes=64 * GIB,
        capability=(8, 9),
        processors=128,
        bf16=True,
        fp8=True,
    )
    return replace(device, **changes)


def cpu(free_gib: float, speed: float = 1e11) -> Device:
    free = round(free_gib * GIB)
    return Device(DeviceKind.CPU, "CPU", free, free, free, fp8=True, measured_flops=speed)


def meta_vae(backbone: Backbone) -> Any:
    config: dict[str, Any] = dict(RELEASED_SIZES[backbone].vae_config)
    vae: Any
    with torch.device("meta"):
        if backbone is COG:
            vae = AutoencoderKLCogVideoX(**config)
            return vae.to(torch.bfloat16).eval()
        statistics = {"latents_mean": [0.0] * 48, "latents_std": [1.0] * 48}
        levels = {"dim_mult": list(config["dim_mult"]), "temperal_downsample": [False, True, True]}
        vae = AutoencoderKLWan(**{**config, **levels, **statistics, "is_residual": True})
        return vae.to(torch.bfloat16).eval()


# Costs: against the reference's table and against the models themselves


@pytest.mark.parametrize(
    ("backbone", "base", "cached", "encode", "masked", "concatenated", "controlnet"),
    [(COG, 332.2, 493.2, 328.6, 821.4, 982.4, 480.5), (WAN, 55.1, 64.5, 55.9, 120.4, 129.9, 79.9)],
)
def test_operations_agree_with_the_reference_table(
    backbone: Backbone,
    base: float,
    cached: float,
    encode: float,
    masked: float,
    concatenated: float,
    controlnet: float,
) -> None:
    shape = RELEASED[backbone]
    # The reference counts the last block of the condition's pass in full.
    last_block = encode_flops(shape.with_layers(2)) - encode_flops(shape.with_layers(1))
    saved = shape.layers * last_block + 2 * shape.grid.tokens * shape.hidden_size**2 - encode_flops(shape)
    # Wan: 1 % more than the reference, which leaves out the modulation from each token's timestep.
    rel = 0.002 if backbone is COG else 0.0125
    assert base_step_flops(shape) / TERA == pytest.approx(base, rel=rel)
    assert cached_step_flops(shape) / TERA == pytest.approx(cached, rel=rel)
    assert (encode_flops(shape) + saved) / TERA == pytest.approx(encode, rel=rel)
    assert (masked_step_flops(shape) + saved) / TERA == pytest.approx(masked, rel=rel)
    assert (concatenated_step_flops(shape) + saved) / TERA == pytest.approx(concatenated, rel=rel)
    assert controlnet_step_flops(shape) / TERA == pytest.approx(controlnet, rel=rel)


@pytest.mark.parametrize(
    ("backbone", "video", "encode", "decode"),
    [
        (COG, (49, 480, 720), 149, 315),
        (WAN, (49, 480, 832), 69, 362),
        (WAN, (121, 704, 1280), 383, 2011),
    ],
)
def test_operations_of_the_vaes_agree_with_the_reference(
    backbone: Backbone, video: tuple[int, int, int], encode: float, decode: float
) -> None:
    config = RELEASED_SIZES[backbone].vae_config
    assert vae_encode_flops(backbone, config, *video) / TERA == pytest.approx(encode, rel=0.005)
    assert vae_decode_flops(backbone, config, *video) / TERA == pytest.approx(decode, rel=0.005)


@pytest.mark.parametrize("backbone", Backbone)
def test_operations_of_other_sizes_are_those_that_the_vae_does(backbone: Backbone) -> None:
    vae, config = meta_vae(backbone), RELEASED_SIZES[backbone].vae_config
    video, latents = _clip(backbone, 17, 96, 160)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        vae.encode(video)
    assert vae_encode_flops(backbone, config, 17, 96, 160) == counter.get_total_flops()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        vae.decode(latents)
    assert vae_decode_flops(backbone, config, 17, 96, 160) == counter.get_total_flops()
    # CogVideoX's VAE decodes latent frames in pairs after a first one.
    shorter = vae_decode_flops(backbone, config, 13, 96, 160)
    assert (shorter == counter.get_total_flops()) == (backbone is COG)


@pytest.mark.parametrize("backbone", Backbone)
def test_the_released_sizes_are_those_of_the_released_configurations(backbone: Backbone) -> None:
    sizes = RELEASED_SIZES[backbone]
    text: dict[str, Any] = {"d_model": 4096, "d_ff": 10240, "d_kv": 64, "num_layers": 24, "num_heads": 64}
    with torch.device("meta"):
        model = _transformer(backbone, layers=RELEASED[backbone].layers)
        if backbone is COG:
            encoder = T5EncoderModel(T5Config(vocab_size=32128, feed_forward_proj="gated-gelu", **text))
        else:
            encoder = UMT5EncoderModel(UMT5Config(vocab_size=256384, feed_forward_proj="gated-gelu", **text))
    before = sum(value.numel() for value in model.state_dict().values())
    assert sizes.transformer.parameters == before
    model.add_control(sizes.rank)
    assert sizes.control_parameters == sum(value.numel() for value in model.state_dict().values()) - before
    assert sizes.text_encoder.parameters == sum(value.numel() for value in encoder.parameters())
    assert sizes.vae.parameters == sum(value.numel() for value in meta_vae(backbone).parameters())


# Memory: against the models themselves


def _transformer(backbone: Backbone, layers: int) -> Any:
    kinds = {COG: FlexTrajCogVideoXTransformer, WAN: FlexTrajWanTransformer}
    return kinds[backbone](**RELEASED[backbone].with_layers(layers).config)


def _clip(backbone: Backbone, frames: int, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A video and its latents, on the meta device."""
    latent, scale = (16, 8) if backbone is COG else (48, 16)
    shapes = (
        (1, 3, frames, height, width),
        (1, latent, (frames - 1) // 4 + 1, height // scale, width // scale),
    )
    video, latents = (torch.empty(shape, dtype=torch.bfloat16, device="meta") for shape in shapes)
    return video, latents


def _forward_inputs(backbone: Backbone, grid: TokenGrid, batch: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments of a denoising forward, and of the encoding of a condition."""
    height, width, tokens = 2 * grid.height, 2 * grid.width, grid.tokens
    half = torch.bfloat16
    if backbone is COG:
        rotary = (torch.empty(tokens, 64), torch.empty(tokens, 64))
        forward = {
            "hidden_states": torch.empty(batch, grid.frames, 32, height, width, dtype=half),
            "encoder_hidden_states": torch.empty(batch, 226, 4096, dtype=half),
            "timestep": torch.empty(batch),
            "image_rotary_emb": rotary,
        }
        latents = torch.empty(1, grid.frames, 32, height, width, dtype=half)
        return forward, {"latents": ConditionLatents(latents, latents), "image_rotary_emb": rotary}
    text = torch.empty(batch, 512, 4096, dtype=half)
    forward = {
        "hidden_states": torch.empty(batch, 48, grid.frames, height, width, dtype=half),
        "encoder_hidden_states": text,
        "timestep": torch.empty(batch, tokens),
    }
    latents = torch.empty(1, 48, grid.frames, height, width, dtype=half)
    return forward, {"latents": ConditionLatents(latents, latents), "encoder_hidden_states": text[:1]}


@pytest.mark.parametrize(
    ("backbone", "frames", "height", "width"),
    [(COG, 49, 480, 720), (COG, 17, 480, 720), (WAN, 49, 480, 832), (WAN, 121, 704, 1280)],
)
def test_denoising_takes_what_the_plan_says(backbone: Backbone, frames: int, height: int, width: int) -> None:
    sizes, job = RELEASED_SIZES[backbone], JobShape(frames, height, width)
    batch, layers = (2 if backbone is COG else 1), 3
    grid = sizes.shape(frames, height, width).grid
    with torch.device("meta"), torch.no_grad(), fused_attention():
        model = _transformer(backbone, layers).add_control(sizes.rank).to(torch.bfloat16).eval()
        forward, condition = _forward_inputs(backbone, grid, batch)
        with LiveBytes(model) as encoding:
            cache = model.encode_condition(**condition)
        model.use_condition(cache)
        with LiveBytes(model) as step:
            model(**forward)
    short = replace(
        sizes,
        transformer=replace(sizes.transformer, parameters=0, block_parameters=0),
        text_encoder=replace(sizes.text_encoder, parameters=0),
        vae=replace(sizes.vae, parameters=0),
        control_parameters=0,
        transformer_config={**sizes.transformer_config, "num_layers": layers},
    )
    device = gpu(100)
    assert cache_bytes(short, replace(job, prompts=1), device) == cache.nbytes
    needs = memory_needs(short, replace(job, prompts=2), device, MemoryMode.RESIDENT, CachePlace.DEVICE)
    caches = needs.cache + GIB // 2  # and the runtime
    # 1.15 is the margin for what a GPU adds.
    assert needs.peaks[Phase.DENOISING] - caches == pytest.approx(1.15 * step.peak, rel=0.03)
    live = encoding.peak - cache.nbytes
    assert (needs.peaks[Phase.CONDITION] - caches) / 1.15 == pytest.approx(live, rel=0.06)


@pytest.mark.parametrize(
    ("backbone", "rung", "frames", "height", "width"),
    [
        (COG, MemoryMode.MODEL_OFFLOAD, 49, 480, 720),
        (COG, MemoryMode.MODEL_OFFLOAD, 17, 256, 384),
        (COG, MemoryMode.FP8_TILED, 17, 480, 720),
        (WAN, MemoryMode.MODEL_OFFLOAD, 49, 480, 832),
        (WAN, MemoryMode.MODEL_OFFLOAD, 17, 256, 384),
        (WAN, MemoryMode.MODEL_OFFLOAD, 33, 704, 1280),
        (WAN, MemoryMode.FP8_TILED, 13, 256, 448),
    ],
)
def test_the_vae_takes_what_the_plan_says(
    backbone: Backbone, rung: MemoryMode, frames: int, height: int, width: int
) -> None:
    vae = meta_vae(backbone)
    if rung is MemoryMode.FP8_TILED:
        vae.enable_tiling()
    video, latents = _clip(backbone, frames, height, width)
    with torch.no_grad():
        with LiveBytes(vae) as encoding:
            vae.encode(video)
        with LiveBytes(vae) as decoding:
            vae.decode(latents)
    sizes = RELEASED_SIZES[backbone]
    needs = memory_needs(sizes, JobShape(frames, height, width), gpu(100), rung, CachePlace.HOST)
    fixed = GIB // 2 + 2 * sizes.vae.parameters
    # 1.25 is the margin for what a GPU adds.
    assert (needs.peaks[Phase.VIDEOS] - fixed) / 1.25 == pytest.approx(encoding.peak, rel=0.05)
    assert (needs.peaks[Phase.DECODING] - fixed) / 1.25 == pytest.approx(decoding.peak, rel=0.05)


@pytest.mark.parametrize(
    ("job", "backbone", "gib"),
    [
        (JobShape(49, 480, 720), COG, 8.44),
        (JobShape(49, 480, 720, prompts=1), COG, 8.44),
        (JobShape(49, 480, 720, cache_storage=CacheStorage.FP8), COG, 4.22),
        (JobShape(49, 480, 720, kept_tokens=0.2), COG, 1.69),
        (JobShape(49, 480, 720, kept_tokens=0.05), COG, 0.42),
        (JobShape(49, 480, 832), WAN, 2 * 1.74),
        (JobShape(49, 480, 832, prompts=1), WAN, 1.74),
        (JobShape(121, 704, 1280), WAN, 18.73),
        (JobShape(49, 480, 832, strength=0), WAN, 0),
    ],
)
def test_the_condition_cache_is_as_large_as_the_reference_says(
    job: JobShape, backbone: Backbone, gib: float
) -> None:
    assert cache_bytes(RELEASED_SIZES[backbone], job, gpu(24)) / GIB == pytest.approx(gib, abs=0.006)


# The ladder


@pytest.mark.parametrize(
    ("backbone", "free", "rung", "place"),
    [
        (COG, 44, MemoryMode.RESIDENT, CachePlace.DEVICE),
        (COG, 22.6, MemoryMode.MODEL_OFFLOAD, CachePlace.DEVICE),
        (COG, 20, MemoryMode.MODEL_OFFLOAD, CachePlace.HOST),
        (COG, 15, MemoryMode.FP8_TILED, CachePlace.DEVICE),
        (COG, 7.3, MemoryMode.FP8_TILED, CachePlace.HOST),
        (WAN, 44, MemoryMode.RESIDENT, CachePlace.DEVICE),
        (WAN, 22.6, MemoryMode.MODEL_OFFLOAD, CachePlace.DEVICE),
        (WAN, 11, MemoryMode.GROUP_OFFLOAD, CachePlace.DEVICE),
        (WAN, 5.5, MemoryMode.FP8_TILED, CachePlace.HOST),
    ],
)
def test_common_gpus_get_the_fastest_rung_that_fits(
    backbone: Backbone, free: float, rung: MemoryMode, place: CachePlace
) -> None:
    plan = plan_memory(RELEASED_SIZES[backbone], NOMINAL[backbone], gpu(free))
    assert (plan.rung, plan.cache_place) == (rung, place)
    assert plan.needs.peak <= plan.device.free_bytes
    assert plan.explanation.startswith(f"With {free:.1f} GiB of GPU memory free: ")
    assert f"needs about {plan.needs.peak / GIB:.1f} GiB" in plan.explanation
    assert ("waits in main memory" in plan.explanation) == (place is CachePlace.HOST)


jobs = st.builds(
    JobShape,
    frames=st.integers(1, 30).map(lambda count: 4 * count + 1),
    height=st.just(480),
    width=st.just(720),
    prompts=st.sampled_from([1, 2]),
    strength=st.sampled_from([0.0, 0.5, 1.0]),
    kept_tokens=st.floats(0.01, 1.0),
    cache_storage=st.sampled_from(CacheStorage),
)


@settings(max_examples=60, deadline=None)
@given(job=jobs, backbone=st.sampled_from(Backbone), free=st.floats(3, 90), host=st.floats(8, 128))
def test_every_plan_fits_or_says_that_nothing_does(
    job: JobShape, backbone: Backbone, free: float, host: float
) -> None:
    sizes = RELEASED_SIZES[backbone]
    if backbone is WAN:
        job = replace(job, width=736)
    device = gpu(free, host_free_bytes=round(host * GIB))
    try:
        plan = plan_memory(sizes, job, device)
    except FlexTrajError as error:
        assert error.code is ErrorCode.GPU_MEMORY
        last = memory_needs(sizes, job, device, LADDER[-1], CachePlace.HOST)
        assert last.peak > device.free_bytes and f"{last.peak / GIB:.1f} GiB" in error.message
        return
    assert plan.needs.peak <= device.free_bytes
    assert max(size for _, size in plan.peak_table) == plan.needs.peak
    assert bool(plan.needs.host > device.host_free_bytes) == any(
        "main memory and" in w for w in plan.warnings
    )
    for faster in LADDER[: LADDER.index(plan.rung)]:
        tight = memory_needs(sizes, job, device, faster, CachePlace.HOST)
        assert (
            tight.peak > device.free_bytes or tight.host > device.host_free_bytes or not job.condition_share
        )


@settings(max_examples=40, deadline=None)
@given(
    job=jobs, backbone=st.sampled_from(Backbone), place=st.sampled_from([CachePlace.DEVICE, CachePlace.HOST])
)
def test_no_rung_takes_more_than_the_one_before(job: JobShape, backbone: Backbone, place: CachePlace) -> None:
    job = replace(job, width=736) if backbone is WAN else job
    peaks = [memory_needs(RELEASED_SIZES[backbone], job, gpu(24), rung, place).peak for rung in LADDER]
    # The tiled VAE keeps copies of its output, the others do not.
    assert all(later <= earlier * 1.01 for earlier, later in pairwise(peaks[:-1]))
    hosts = [
        memory_needs(RELEASED_SIZES[backbone], job, gpu(24), rung, CachePlace.HOST).peak for rung in LADDER
    ]
    devices = [
        memory_needs(RELEASED_SIZES[backbone], job, gpu(24), rung, CachePlace.DEVICE).peak for rung in LADDER
    ]
    assert all(host <= device for host, device in zip(hosts, devices, strict=True))


def test_more_frames_pixels_or_prompts_never_take_less() -> None:
    small = JobShape(49, 480, 832)
    for larger in (
        replace(small, frames=81),
        replace(small, height=704),
        replace(small, prompts=2, kept_tokens=1.0),
    ):
        for rung in LADDER:
            for place in (CachePlace.DEVICE, CachePlace.HOST):
                before = memory_needs(RELEASED_SIZES[WAN], replace(small, prompts=1), gpu(24), rung, place)
                after = memory_needs(RELEASED_SIZES[WAN], larger, gpu(24), rung, place)
                assert all(after.peaks[phase] >= before.peaks[phase] for phase in Phase)


def test_an_explicit_mode_that_does_not_fit_is_allowed_and_warned_about() -> None:
    plan = plan_memory(RELEASED_SIZES[COG], NOMINAL[COG], gpu(12), MemoryMode.RESIDENT)
    assert plan.rung is MemoryMode.RESIDENT
    assert plan.warnings[0].startswith("Memory mode 'resident' needs about ")
    assert "12.0 GiB are free" in plan.warnings[0] and "'auto'" in plan.warnings[0]


def test_an_explicit_place_of_the_cache_is_kept() -> None:
    for place in (CachePlace.DEVICE, CachePlace.HOST):
        job = replace(NOMINAL[COG], cache_place=place)
        assert plan_memory(RELEASED_SIZES[COG], job, gpu(80)).cache_place is place


def test_too_small_a_gpu_is_refused_with_figures() -> None:
    with pytest.raises(FlexTrajError) as caught:
        plan_memory(RELEASED_SIZES[COG], NOMINAL[COG], gpu(4))
    assert caught.value.code is ErrorCode.GPU_MEMORY
    assert "49 frames of 720x480 need about 5.7 GiB" in caught.value.message
    assert "4.0 GiB are free on NVIDIA RTX" in caught.value.message


def test_a_gpu_that_cannot_store_8_bits_never_gets_that_rung() -> None:
    with pytest.raises(FlexTrajError):
        plan_memory(RELEASED_SIZES[COG], NOMINAL[COG], gpu(15, fp8=False))
    plan = plan_memory(RELEASED_SIZES[WAN], NOMINAL[WAN], gpu(11, fp8=False))
    assert plan.rung is MemoryMode.GROUP_OFFLOAD


def test_little_main_memory_is_said_and_does_not_stop_the_job() -> None:
    plan = plan_memory(RELEASED_SIZES[COG], NOMINAL[COG], gpu(22.6, host_free_bytes=8 * GIB))
    assert any("main memory" in warning for warning in plan.warnings)


def test_8_bit_weights_are_never_used_without_a_word() -> None:
    plan = plan_memory(RELEASED_SIZES[COG], NOMINAL[COG], gpu(8))
    assert "Weights in 8 bits and a tiled VAE change the picture slightly." in plan.warnings


def test_advice_after_running_out_of_memory_names_what_takes_less() -> None:
    plan = plan_memory(RELEASED_SIZES[COG], NOMINAL[COG], gpu(22.6))
    sentence = plan.advice(Phase.DENOISING)
    assert sentence.startswith(
        "NVIDIA RTX ran out of memory while denoising with memory mode 'model_offload': "
    )
    assert "'group_offload'" in sentence and "cache place 'host'" in sentence
    assert "'fp8_tiled'" in plan.advice(Phase.DECODING)
    last = plan_memory(RELEASED_SIZES[WAN], NOMINAL[WAN], gpu(11), MemoryMode.FP8_TILED)
    assert "cache" in last.advice(Phase.DENOISING)
    crowded = replace(
        last, cache_place=CachePlace.HOST, job=replace(last.job, cache_storage=CacheStorage.FP8)
    )
    assert "render 25 frames instead of 49" in crowded.advice(Phase.DENOISING)
    assert "render at 640x352" in crowded.advice(Phase.DENOISING)
    for phase in (None, *Phase):
        for rung in LADDER:
            text = plan_memory(RELEASED_SIZES[WAN], NOMINAL[WAN], gpu(80), rung).advice(phase)
            assert text.endswith(".") and text.count(". ") == 0


def test_advice_of_the_next_rung_is_followed_by_a_plan_that_takes_less() -> None:
    for backbone in Backbone:
        for rung in LADDER[:-1]:
            plan = plan_memory(RELEASED_SIZES[backbone], NOMINAL[backbone], gpu(90), rung)
            for phase in Phase:
                words = plan.advice(phase).partition("choose memory mode '")[2]
                if words:
                    better = MemoryMode(words.partition("'")[0])
                    lower = plan_memory(RELEASED_SIZES[backbone], NOMINAL[backbone], gpu(90), better)
                    assert lower.needs.peaks[phase] < 0.91 * plan.needs.peaks[phase]


# A CPU, and no device


def test_on_a_cpu_only_smaller_numbers_help() -> None:
    sizes = RELEASED_SIZES[WAN]
    plan = plan_memory(sizes, NOMINAL[WAN], cpu(200))
    assert plan.rung is MemoryMode.RESIDENT and plan.cache_place is CachePlace.DEVICE
    assert plan.needs.host == plan.needs.peak
    less = memory_needs(sizes, NOMINAL[WAN], cpu(200), MemoryMode.FP8_TILED, CachePlace.DEVICE)
    assert less.peak < plan.needs.peak
    asked = plan_memory(sizes, NOMINAL[WAN], cpu(200), MemoryMode.GROUP_OFFLOAD)
    assert asked.rung is MemoryMode.GROUP_OFFLOAD and "saves nothing" in asked.warnings[0]
    with pytest.raises(FlexTrajError) as caught:
        plan_memory(sizes, NOMINAL[WAN], cpu(8))
    assert caught.value.code is ErrorCode.MEMORY


def test_without_torch_the_reason_reaches_the_user() -> None:
    device = Device(DeviceKind.NONE, "none", reason="torch is not installed: run this.")
    assert refusal(device, RELEASED_SIZES[WAN]) == "torch is not installed: run this."
    with pytest.raises(FlexTrajError, match="torch is not installed"):
        plan_memory(RELEASED_SIZES[WAN], NOMINAL[WAN], device)


@pytest.mark.parametrize("backbone", Backbone)
def test_the_large_models_are_not_offered_on_a_cpu(backbone: Backbone) -> None:
    reason = refusal(cpu(256), RELEASED_SIZES[backbone])
    assert "hours on this" in reason or "days on this" in reason
    assert "computer's processor: " in reason and "needs an NVIDIA GPU with 6 GiB of free memory" in reason


def tiny(backbone: Backbone) -> ModelSizes:
    """A toy of two layers."""
    sizes = RELEASED_SIZES[backbone]
    part = replace(sizes.vae, parameters=100_000, stored_bytes=400_000)
    layers = {"num_layers": 2, "num_attention_heads": 2, "attention_head_dim": 16}
    config = {
        **sizes.transformer_config,
        **layers,
        "sample_height": 8,
        "sample_width": 12,
        "sample_frames": 9,
    }
    vae = {"base_dim": 8, "decoder_base_dim": 8, "dim_mult": (1, 1, 1, 1), "block_out_channels": (8,) * 4}
    return replace(
        sizes,
        transformer_config={**config, "ffn_dim": 64, "text_dim": 32, "text_embed_dim": 32},
        vae_config={**sizes.vae_config, **vae},
        transformer=replace(part, blocks=2, block_parameters=80_000),
        text_encoder=part,
        vae=part,
        control_parameters=4000,
    )


@pytest.mark.parametrize("backbone", Backbone)
def test_toy_models_are_offered_on_a_cpu(backbone: Backbone) -> None:
    sizes = tiny(backbone)
    assert refusal(cpu(4), sizes) == ""
    job = nominal_job(sizes)
    assert (job.frames, job.height, job.width) == ((9, 64, 96) if backbone is COG else (49, 480, 832))
    told = estimate(plan_memory(sizes, job, cpu(4)))
    assert 0 < told.seconds < MAX_CPU_SECONDS and told.vram_bytes == 0 and GIB <= told.memory_bytes < 4 * GIB


def test_an_engine_stays_listed_while_another_job_fills_the_gpu() -> None:
    busy = gpu(24, free_bytes=GIB)
    assert refusal(busy, RELEASED_SIZES[WAN]) == ""
    capped = replace(busy, limit=2 * GIB)
    assert "2.0 GiB are free" in refusal(capped, RELEASED_SIZES[WAN])


# Times


@pytest.mark.parametrize(
    ("capability", "processors", "backbone", "job", "published"),
    [
        ((8, 0), 108, COG, JobShape(49, 480, 720, strength=0), 180),
        ((9, 0), 132, COG, JobShape(49, 480, 720, strength=0), 90),
        ((8, 9), 128, WAN, JobShape(121, 704, 1280, strength=0), 540),
    ],
)
def test_times_of_the_base_models_are_near_the_published_ones(
    capability: tuple[int, int], processors: int, backbone: Backbone, job: JobShape, published: float
) -> None:
    device = gpu(80, capability=capability, processors=processors)
    times = job_times(RELEASED_SIZES[backbone], job, device, MemoryMode.RESIDENT, CachePlace.DEVICE)
    assert times.phases[Phase.DENOISING] == pytest.approx(published, rel=0.1)


def test_the_estimate_counts_what_makes_a_job_longer() -> None:
    sizes, job, device = RELEASED_SIZES[WAN], NOMINAL[WAN], gpu(80)
    base = estimate(plan_memory(sizes, job, device))
    for longer in (
        replace(job, steps=100),
        replace(job, frames=81),
        replace(job, windows=3),
        replace(job, height=704),
    ):
        assert estimate(plan_memory(sizes, longer, device)).seconds > base.seconds
    for shorter in (replace(job, prompts=1), replace(job, strength=0), replace(job, kept_tokens=0.05)):
        assert estimate(plan_memory(sizes, shorter, device)).seconds < base.seconds
    for rung in LADDER[1:]:
        assert estimate(plan_memory(sizes, job, device, rung)).seconds >= base.seconds
    older = gpu(80, capability=(7, 5), processors=40)
    assert estimate(plan_memory(sizes, job, older)).seconds > 5 * base.seconds
    unknown = gpu(80, capability=(13, 1), processors=200)
    assert estimate(plan_memory(sizes, job, unknown)).seconds < base.seconds
    assert base.vram_bytes > 20 * GIB and base.memory_bytes > 20 * GIB and "rough" in base.note
