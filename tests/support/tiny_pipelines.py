"""Complete base models of toy size on disk, laid out as the published snapshots, with random weights.

They load through the same `from_pretrained(folder, local_files_only=True)` as the real ones and make noise.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import AutoencoderKLCogVideoX
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXTransformer3DModel
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.schedulers.scheduling_ddim_cogvideox import CogVideoXDDIMScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from safetensors.torch import save_file
from transformers import T5Config, T5EncoderModel, T5Tokenizer, UMT5Config, UMT5EncoderModel

from flextraj_backend.mini.tokenizer import write_tokenizer
from flextraj_backend.models.backbone import Backbone

TINY_FRAMES, TINY_HEIGHT, TINY_WIDTH = 9, 64, 96
TINY_RANK = 4
COGVIDEOX_PIPELINE = "CogVideoXImageToVideoPipeline"
WAN_TEXT_PIPELINE, WAN_IMAGE_PIPELINE = "WanPipeline", "WanImageToVideoPipeline"

_WORDS = (
    "a an the of in on at and is are moving left right up down person dog cat car ball red blue green white "
    "video camera static slow fast walking running unaligned, good bad"
)
_TEXT_DIM = 32


def build_tiny_cogvideox(
    folder: Path,
    *,
    frames: int = TINY_FRAMES,
    height: int = TINY_HEIGHT,
    width: int = TINY_WIDTH,
    layers: int = 2,
    temporal_compression: int = 4,
    latent_channels: int = 16,
    text_tokens: int = 226,
    seed: int = 0,
) -> Path:
    """Write a toy CogVideoX-5B-I2V (learned positions: its size is fixed, fewer frames than `frames` work).

    With `temporal_compression` 1 each frame has a latent frame of its own, as in the mini model.
    The tokenizer is a sentencepiece file alone, the transformer lies in shards, and the scheduler that the
    folder names is DDIM. Returns `folder`.
    """
    torch.manual_seed(seed)
    # diffusers annotates these settings as tuples of one.
    vae_sizes: dict[str, Any] = {
        "block_out_channels": (8, 8, 8, 8),
        "down_block_types": ("CogVideoXDownBlock3D",) * 4,
        "up_block_types": ("CogVideoXUpBlock3D",) * 4,
    }
    vae = AutoencoderKLCogVideoX(
        **vae_sizes,
        layers_per_block=1,
        norm_num_groups=2,
        latent_channels=latent_channels,
        temporal_compression_ratio=temporal_compression,
        sample_height=height,
        sample_width=width,
        scaling_factor=0.7,
        invert_scale_latents=False,
    )
    vae.save_pretrained(folder / "vae")
    transformer = CogVideoXTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=2 * latent_channels,
        out_channels=latent_channels,
        time_embed_dim=24,
        text_embed_dim=_TEXT_DIM,
        num_layers=layers,
        sample_width=width // 8,
        sample_height=height // 8,
        sample_frames=frames,
        temporal_compression_ratio=temporal_compression,
        max_text_seq_length=text_tokens,
        spatial_interpolation_scale=1.875,
        use_rotary_positional_embeddings=True,
        use_learned_positional_embeddings=True,
    )
    transformer.save_pretrained(folder / "transformer", max_shard_size="100KB")
    CogVideoXDDIMScheduler(
        snr_shift_scale=1.0,
        rescale_betas_zero_snr=True,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=False,
    ).save_pretrained(folder / "scheduler")
    vocabulary = _write_tokenizer(folder / "tokenizer", max_length=text_tokens)
    T5EncoderModel(T5Config(vocab_size=vocabulary, **_text_sizes())).save_pretrained(folder / "text_encoder")
    _write_model_index(
        folder,
        COGVIDEOX_PIPELINE,
        scheduler=["diffusers", "CogVideoXDDIMScheduler"],
        text_encoder=["transformers", "T5EncoderModel"],
        tokenizer=["transformers", "T5Tokenizer"],
        transformer=["diffusers", "CogVideoXTransformer3DModel"],
        vae=["diffusers", "AutoencoderKLCogVideoX"],
    )
    return folder


def build_tiny_wan(
    folder: Path, *, pipeline: str = WAN_TEXT_PIPELINE, layers: int = 2, seed: int = 0
) -> Path:
    """Write a toy Wan2.2-TI2V-5B: residual VAE of 48 channels with statistics, per-token timesteps.

    Its `model_index.json` names `pipeline`; the published folder names the text-to-video one.
    Returns `folder`.
    """
    torch.manual_seed(seed)
    channels = torch.linspace(-1.0, 1.0, 48)
    AutoencoderKLWan(
        base_dim=8,
        decoder_base_dim=8,
        z_dim=48,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_spatial=16,
        scale_factor_temporal=4,
        latents_mean=(0.3 * channels).tolist(),
        latents_std=(0.8 + 0.4 * channels.abs()).tolist(),
    ).save_pretrained(folder / "vae")
    transformer = WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=20,
        in_channels=48,
        out_channels=48,
        text_dim=_TEXT_DIM,
        freq_dim=32,
        ffn_dim=64,
        num_layers=layers,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=64,
    )
    transformer.save_pretrained(folder / "transformer", max_shard_size="100KB")
    UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=5.0, final_sigmas_type="zero"
    ).save_pretrained(folder / "scheduler")
    vocabulary = _write_tokenizer(folder / "tokenizer", max_length=512)
    T5Tokenizer.from_pretrained(folder / "tokenizer").save_pretrained(folder / "tokenizer")
    encoder = UMT5EncoderModel(UMT5Config(vocab_size=vocabulary, **_text_sizes()))
    encoder.save_pretrained(folder / "text_encoder")
    parts: dict[str, Any] = {
        "boundary_ratio": None,
        "expand_timesteps": True,
        "scheduler": ["diffusers", "UniPCMultistepScheduler"],
        "text_encoder": ["transformers", "UMT5EncoderModel"],
        "tokenizer": ["transformers", "T5TokenizerFast"],
        "transformer": ["diffusers", "WanTransformer3DModel"],
        "transformer_2": [None, None],
        "vae": ["diffusers", "AutoencoderKLWan"],
    }
    if pipeline == WAN_IMAGE_PIPELINE:
        parts |= {"image_encoder": [None, None], "image_processor": [None, None]}
    _write_model_index(folder, pipeline, **parts)
    return folder


def build_tiny(backbone: Backbone, folder: Path, **options: Any) -> Path:
    """Write the toy model of a backbone."""
    build = {Backbone.COGVIDEOX: build_tiny_cogvideox, Backbone.WAN: build_tiny_wan}[backbone]
    return build(folder, **options)


def write_tiny_adapter(
    backbone: Backbone, base_folder: Path, path: Path, seed: int = 0, *, rank: int = TINY_RANK
) -> Path:
    """Write a control file for a toy model under the published key names; no tensor is zero.

    LoRA and fuse tensors are random and large enough to change the video visibly. Returns `path`.
    """
    config = json.loads((base_folder / "transformer" / "config.json").read_text())
    width = config["num_attention_heads"] * config["attention_head_dim"]
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * shape[-1] ** -0.5

    if backbone is Backbone.COGVIDEOX:
        prefix, block, streams = "transformer.", "transformer.transformer_blocks", ("attn1",)
        projections = ("to_q", "to_k", "to_v", "to_out.0")
    else:
        prefix, block, streams = "", "blocks", ("self_attn", "cross_attn")
        projections = ("q", "k", "v", "o")
    tensors = {
        f"{prefix}fuse_linear.weight": random(width, width),
        f"{prefix}fuse_linear.bias": random(width),
    }
    for layer in range(config["num_layers"]):
        for stream in streams:
            for projection in projections:
                name = f"{block}.{layer}.{stream}.{projection}"
                tensors[f"{name}.lora_A.weight"] = random(rank, width)
                tensors[f"{name}.lora_B.weight"] = random(width, rank)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
    return path


def _text_sizes() -> dict[str, Any]:
    return {
        "d_model": _TEXT_DIM,
        "d_ff": 37,
        "d_kv": 8,
        "num_layers": 2,
        "num_heads": 4,
        "relative_attention_num_buckets": 8,
        "feed_forward_proj": "gated-gelu",
        "dropout_rate": 0.0,
    }


def _write_tokenizer(folder: Path, max_length: int) -> int:
    """Write a tokenizer of a few words; return the size of a vocabulary that holds it, at least 128."""
    words = _WORDS.split()
    sentences = [" ".join(words[i:] + words[:i]) for i in range(len(words))] * 20
    return max(128, write_tokenizer(folder, sentences, max_length, vocabulary=96))


def _write_model_index(folder: Path, pipeline: str, **parts: Any) -> None:
    index = {"_class_name": pipeline, "_diffusers_version": "0.35.0", **parts}
    (folder / "model_index.json").write_text(json.dumps(index, indent=2))
