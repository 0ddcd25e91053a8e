"""Puts a pipeline's weights where a rung of the memory ladder wants them."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.hooks.group_offloading import apply_group_offloading
from diffusers.hooks.layerwise_casting import DEFAULT_SKIP_MODULES_PATTERN, apply_layerwise_casting

from blender_addon.core.model_options import MemoryMode

_EIGHT_BIT = torch.float8_e4m3fn
_KEPT_PRECISE = (
    *DEFAULT_SKIP_MODULES_PATTERN,
    "patch_embedding",
    "time_embedding",
    "condition_embedder",
    "fuse_linear",
    "lora_",
)
"""Layers by name that stay in the computing format: small, or where 8 bits would show."""
_OFFLOADED = (MemoryMode.GROUP_OFFLOAD, MemoryMode.FP8_WEIGHTS, MemoryMode.FP8_TILED)
_EIGHT_BIT_RUNGS = (MemoryMode.FP8_WEIGHTS, MemoryMode.FP8_TILED)


def place_weights(pipeline: Any, rung: MemoryMode, device: torch.device) -> None:
    """Spread a freshly loaded pipeline, whose weights lie in main memory, over device and main memory.

    Args:
        rung: any but AUTO.
        device: where it computes.
    """
    if rung in _EIGHT_BIT_RUNGS:
        store_in_eight_bits(pipeline.transformer)
    if rung is MemoryMode.FP8_TILED:
        tile_vae(pipeline.vae)
    match rung:
        case MemoryMode.RESIDENT:
            pipeline.to(device)
        case MemoryMode.MODEL_OFFLOAD:
            # Each model sends the one before it away. The VAE comes second: at the end of a run all models
            # are away, so that it decodes alone.
            pipeline.model_cpu_offload_seq = "text_encoder->vae->transformer"
            pipeline.enable_model_cpu_offload(device=device)
        case _ if rung in _OFFLOADED:
            offload_in_groups(pipeline, device)
        case _:
            raise ValueError(f"The memory mode '{rung}' is no rung of the ladder.")


def store_in_eight_bits(transformer: Any) -> None:
    """Keep the transformer's large weights in 8 bits; each layer computes in the format it had before."""
    apply_layerwise_casting(
        transformer,
        storage_dtype=_EIGHT_BIT,
        compute_dtype=transformer.dtype,
        skip_modules_pattern=tuple(_KEPT_PRECISE),
    )


def tile_vae(vae: Any) -> None:
    """Let the VAE encode and decode in overlapping tiles: less memory, slightly other pixels."""
    vae.enable_tiling()
    if not hasattr(vae, "tile_overlap_factor_height"):
        return
    # CogVideoX's VAE loses rows and columns where its tiles do not advance by whole latents.
    side = 2 ** (len(vae.config.block_out_channels) - 1)
    for axis in ("height", "width"):
        tile = getattr(vae, f"tile_latent_min_{axis}") * side
        stride = int(tile * (1 - getattr(vae, f"tile_overlap_factor_{axis}")))
        setattr(vae, f"tile_sample_min_{axis}", tile)
        setattr(vae, f"tile_overlap_factor_{axis}", 1 - stride // side * side / tile)


def offload_in_groups(pipeline: Any, device: torch.device) -> None:
    """Bring block after block of the large models to the device while it computes; the VAE stays there.

    On CUDA the transformer's next block is copied while the current one computes. The text encoder runs once
    a job and does without: copying ahead would lock its whole size in main memory.
    """
    ahead = device.type == "cuda"
    apply_group_offloading(
        pipeline.text_encoder,
        onload_device=device,
        offload_type="block_level",
        num_blocks_per_group=1,
        block_modules=["encoder"],
    )
    apply_group_offloading(
        pipeline.transformer,
        onload_device=device,
        offload_type="block_level",
        num_blocks_per_group=1,
        non_blocking=ahead,
        use_stream=ahead,
    )
    pipeline.vae.to(device)
