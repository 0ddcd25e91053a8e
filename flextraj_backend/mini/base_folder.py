"""The mini base model as a folder in diffusers' layout, loaded as the published snapshots are."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import AutoencoderKLCogVideoX
from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXTransformer3DModel
from diffusers.schedulers.scheduling_ddim_cogvideox import CogVideoXDDIMScheduler
from torch import nn
from transformers import T5Config, T5EncoderModel

from flextraj_backend.mini.base_settings import TransformerSettings
from flextraj_backend.mini.tokenizer import write_tokenizer

PIPELINE = "CogVideoXImageToVideoPipeline"
_SHARPNESS = 1.5
"""Of queries and keys, whose product decides how near a token looks at first."""
_GATE = 0.3
"""Share of a block's output that is added at first."""
_VOCABULARY = 512
_TEXT_WIDTH = 64


def build_transformer(
    settings: TransformerSettings, autoencoder: AutoencoderKLCogVideoX, frames: int, width: int, height: int
) -> CogVideoXTransformer3DModel:
    """Make an untrained image-to-video denoiser for an autoencoder's latents.

    Positions are added to the tokens, as CogVideoX-2B's, and not rotary: what a token learns from others
    about where to look is then of the same kind as its own place. It predicts 0 at first. Its attention
    starts where small transformers otherwise arrive after thousands of steps (mimetic initialisation,
    Trockman and Kolter 2023): queries equal keys, so that tokens of like place and content attend to each
    other, and what is attended to is passed on as it is.

    Args:
        autoencoder: its compression and number of latent channels decide what goes in.
        frames, width, height: of the clips, in frames and pixels.
    """
    compression = 2 ** (len(autoencoder.config["block_out_channels"]) - 1)
    channels = autoencoder.config["latent_channels"]
    ratio = autoencoder.config["temporal_compression_ratio"]
    transformer = CogVideoXTransformer3DModel(
        num_attention_heads=settings.heads,
        attention_head_dim=settings.head_dim,
        in_channels=2 * channels,
        out_channels=channels,
        time_embed_dim=settings.time_width,
        text_embed_dim=_TEXT_WIDTH,
        num_layers=settings.layers,
        patch_size=settings.patch,
        sample_width=width // compression,
        sample_height=height // compression,
        sample_frames=frames,
        temporal_compression_ratio=int(ratio),
        max_text_seq_length=settings.text_tokens,
        use_rotary_positional_embeddings=False,
    )
    for block in cast(Any, transformer.transformer_blocks):
        _start_block(block, settings.heads * settings.head_dim)
    nn.init.zeros_(transformer.proj_out.weight)
    return transformer


@torch.no_grad()
def _start_block(block: Any, width: int) -> None:
    attention = block.attn1
    nn.init.orthogonal_(attention.to_q.weight)
    attention.to_k.weight.copy_(attention.to_q.weight)
    nn.init.orthogonal_(attention.to_v.weight)
    attention.to_out[0].weight.copy_(attention.to_v.weight.T)
    for layer in (attention.to_q, attention.to_k, attention.to_v, attention.to_out[0]):
        nn.init.zeros_(layer.bias)
    for norm in (attention.norm_q, attention.norm_k):
        nn.init.constant_(norm.weight, _SHARPNESS)
    for norm in (block.norm1, block.norm2):
        nn.init.zeros_(norm.linear.weight)
        nn.init.zeros_(norm.linear.bias)
        for gate in (2, 5):  # of video and text, after shift and scale of each
            nn.init.constant_(norm.linear.bias[gate * width : (gate + 1) * width], _GATE)


def write_text_encoder(
    folder: Path, prompts: Iterable[str], settings: TransformerSettings, seed: int
) -> None:
    """Write a tokenizer made from prompts, and a small frozen T5 with random weights.

    Random features of words are enough for the mini: what moves is in the trajectories.
    """
    vocabulary = write_tokenizer(
        folder / "tokenizer", ["unaligned, a video", *prompts], settings.text_tokens, _VOCABULARY
    )
    torch.manual_seed(seed)
    encoder = T5EncoderModel(
        T5Config(
            vocab_size=vocabulary,
            d_model=_TEXT_WIDTH,
            d_ff=2 * _TEXT_WIDTH,
            d_kv=16,
            num_layers=1,
            num_heads=4,
            relative_attention_num_buckets=8,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
        )
    )
    encoder.save_pretrained(folder / "text_encoder")


def write_scheduler(folder: Path) -> None:
    """Write CogVideoX-5B-I2V's sampler: v-prediction, zero terminal SNR, trailing timesteps."""
    CogVideoXDDIMScheduler(
        snr_shift_scale=1.0,
        rescale_betas_zero_snr=True,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=False,
    ).save_pretrained(folder / "scheduler")


def write_model_index(folder: Path) -> None:
    """Write the index that names the parts; the folder is complete with it."""
    index = {
        "_class_name": PIPELINE,
        "scheduler": ["diffusers", "CogVideoXDDIMScheduler"],
        "text_encoder": ["transformers", "T5EncoderModel"],
        "tokenizer": ["transformers", "T5Tokenizer"],
        "transformer": ["diffusers", "CogVideoXTransformer3DModel"],
        "vae": ["diffusers", "AutoencoderKLCogVideoX"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2))
