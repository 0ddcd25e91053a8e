"""How large a model is and what its layers look like, read from its files without torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Any

from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.models.backbone import Backbone, TokenGrid, has_added_positions
from flextraj_backend.models.base_model import TEXT_ENCODER, TRANSFORMER, VAE, BaseModel
from flextraj_backend.models.real_configs import RELEASED, TransformerShape
from flextraj_backend.models.safetensors_header import SafetensorsHeader

_BLOCK_PREFIXES = {
    Backbone.COGVIDEOX: "transformer_blocks.",
    Backbone.WAN: "blocks.",
}
_TEXT_BLOCK_PREFIX = "encoder.block."
_NO_BLOCKS = None
_TIED = ("shared.weight", "encoder.embed_tokens.weight")
"""One tensor under two names."""
_WAN_TEXT_TOKENS = 512


@dataclass(frozen=True)
class ComponentSize:
    """Weights of one part of a model, in values.

    Attributes:
        parameters: all of them.
        block_parameters: those inside the repeated blocks.
        blocks: how many blocks there are.
        largest: the largest tensor outside the blocks.
        stored_bytes: size of its files.
    """

    parameters: int
    block_parameters: int
    blocks: int
    largest: int
    stored_bytes: int

    @property
    def one_block(self) -> int:
        """Values in one block."""
        return self.block_parameters // self.blocks if self.blocks else 0

    @property
    def outside_blocks(self) -> int:
        return self.parameters - self.block_parameters


@dataclass(frozen=True)
class ModelSizes:
    """A base model and its control, for plans and estimates.

    Attributes:
        transformer_config, vae_config: keyword arguments of the diffusers classes.
        rank: of the control's LoRA.
    """

    backbone: Backbone
    transformer_config: Mapping[str, Any]
    vae_config: Mapping[str, Any]
    transformer: ComponentSize
    text_encoder: ComponentSize
    vae: ComponentSize
    control_parameters: int
    rank: int

    @property
    def parts(self) -> tuple[ComponentSize, ComponentSize, ComponentSize]:
        return self.transformer, self.text_encoder, self.vae

    @property
    def text_tokens(self) -> int:
        """Length of the text embeddings."""
        if self.backbone is Backbone.COGVIDEOX:
            return self.transformer_config["max_text_seq_length"]
        return _WAN_TEXT_TOKENS

    @property
    def spatial_compression(self) -> int:
        """Pixels along one side of a latent."""
        if self.backbone is Backbone.COGVIDEOX:
            return 2 ** (len(self.vae_config["block_out_channels"]) - 1)
        return self.vae_config["scale_factor_spatial"]

    @property
    def frame_step(self) -> int:
        """Frames that the VAE makes one latent frame of, after a first frame of its own."""
        name = (
            "temporal_compression_ratio" if self.backbone is Backbone.COGVIDEOX else "scale_factor_temporal"
        )
        return self.vae_config[name]

    @property
    def patch(self) -> int:
        """Latents along one side of a token."""
        size = self.transformer_config["patch_size"]
        return size if isinstance(size, int) else size[-1]

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """(height, width) in pixels where positions that are added to the tokens allow no other."""
        config = self.transformer_config
        if self.backbone is not Backbone.COGVIDEOX or not has_added_positions(config):
            return None
        scale = self.spatial_compression
        return scale * config["sample_height"], scale * config["sample_width"]

    def shape(self, frames: int, height: int, width: int) -> TransformerShape:
        """The transformer at work on a video."""
        side = self.spatial_compression * self.patch
        grid = TokenGrid((frames - 1) // self.frame_step + 1, height // side, width // side)
        return TransformerShape(self.backbone, self.transformer_config, grid, self.text_tokens, self.rank)


def model_sizes(base: BaseModel, control: SafetensorsHeader, rank: int) -> ModelSizes:
    """Measure a base model and a control that have been checked.

    Raises:
        FlexTrajError: a configuration lacks a setting.
    """
    return ModelSizes(
        backbone=base.backbone,
        transformer_config=_settings(base, TRANSFORMER, _TRANSFORMER_SETTINGS),
        vae_config=_settings(base, VAE, _VAE_SETTINGS),
        transformer=_component(base.headers[TRANSFORMER], _BLOCK_PREFIXES[base.backbone]),
        text_encoder=_component(base.headers[TEXT_ENCODER], _TEXT_BLOCK_PREFIX),
        vae=_component(base.headers[VAE], _NO_BLOCKS),
        control_parameters=control.parameters,
        rank=rank,
    )


_TRANSFORMER_SETTINGS = {
    Backbone.COGVIDEOX: (
        *("num_attention_heads", "attention_head_dim", "num_layers", "patch_size"),
        *("sample_height", "sample_width", "sample_frames", "max_text_seq_length"),
    ),
    Backbone.WAN: (
        *("num_attention_heads", "attention_head_dim", "num_layers", "patch_size"),
        *("ffn_dim", "freq_dim"),
    ),
}
_VAE_SETTINGS = {
    Backbone.COGVIDEOX: (
        *("in_channels", "out_channels", "block_out_channels", "layers_per_block"),
        *("latent_channels", "temporal_compression_ratio", "sample_height", "sample_width"),
    ),
    Backbone.WAN: (
        *("in_channels", "out_channels", "base_dim", "decoder_base_dim", "dim_mult", "num_res_blocks"),
        *("z_dim", "temperal_downsample", "patch_size", "scale_factor_spatial"),
        "scale_factor_temporal",
    ),
}
"""What plans and estimates read."""


def _settings(
    base: BaseModel, component: str, wanted: Mapping[Backbone, tuple[str, ...]]
) -> Mapping[str, Any]:
    config = base.configs[component]
    absent = [name for name in wanted[base.backbone] if name not in config]
    if absent:
        raise FlexTrajError(
            f"{base.folder / component / 'config.json'} lacks the setting '{absent[0]}': download it again.",
            ErrorCode.WEIGHTS,
        )
    return MappingProxyType(dict(config))


def _component(headers: Iterable[SafetensorsHeader], block_prefix: str | None) -> ComponentSize:
    headers = tuple(headers)
    counts = {name: prod(tensor.shape) for header in headers for name, tensor in header.tensors.items()}
    if all(name in counts for name in _TIED):
        del counts[_TIED[1]]
    inside = {name: count for name, count in counts.items() if block_prefix and name.startswith(block_prefix)}
    depth = block_prefix.count(".") if block_prefix else 0
    return ComponentSize(
        parameters=sum(counts.values()),
        block_parameters=sum(inside.values()),
        blocks=len({name.split(".")[depth] for name in inside}),
        largest=max((count for name, count in counts.items() if name not in inside), default=0),
        stored_bytes=sum(header.file_bytes for header in headers),
    )


def _released(
    backbone: Backbone,
    vae_config: dict[str, Any],
    *,
    transformer: ComponentSize,
    text_encoder: ComponentSize,
    vae: ComponentSize,
) -> ModelSizes:
    shape = RELEASED[backbone]
    width = shape.hidden_size
    lora_layers = shape.layers * (4 if backbone is Backbone.COGVIDEOX else 8)
    return ModelSizes(
        backbone=backbone,
        transformer_config=MappingProxyType({"patch_size": 2, **shape.config}),
        vae_config=MappingProxyType(vae_config),
        transformer=transformer,
        text_encoder=text_encoder,
        vae=vae,
        control_parameters=lora_layers * 2 * width * shape.rank + width * width + width,
        rank=shape.rank,
    )


RELEASED_SIZES: Mapping[Backbone, ModelSizes] = MappingProxyType(
    {
        Backbone.COGVIDEOX: _released(
            Backbone.COGVIDEOX,
            {
                "in_channels": 3,
                "out_channels": 3,
                "block_out_channels": (128, 256, 256, 512),
                "layers_per_block": 3,
                "latent_channels": 16,
                "temporal_compression_ratio": 4,
                "sample_height": 480,
                "sample_width": 720,
            },
            transformer=ComponentSize(5_625_087_552, 5_552_300_544, 42, 54_607_872, 11_250_175_104),
            text_encoder=ComponentSize(4_762_310_656, 4_630_710_272, 24, 131_596_288, 9_524_621_312),
            vae=ComponentSize(215_583_907, 0, 0, 7_077_888, 431_167_814),
        ),
        Backbone.WAN: _released(
            Backbone.WAN,
            {
                "in_channels": 12,
                "out_channels": 12,
                "base_dim": 160,
                "decoder_base_dim": 256,
                "dim_mult": (1, 2, 4, 4),
                "num_res_blocks": 2,
                "z_dim": 48,
                "temperal_downsample": (False, True, True),
                "patch_size": 2,
                "scale_factor_spatial": 16,
                "scale_factor_temporal": 4,
            },
            transformer=ComponentSize(4_999_787_712, 4_909_701_120, 30, 56_623_104, 9_999_575_424),
            text_encoder=ComponentSize(5_680_910_336, 4_630_757_376, 24, 1_050_148_864, 11_361_820_672),
            vae=ComponentSize(704_688_668, 0, 0, 28_311_552, 1_409_377_336),
        ),
    }
)
"""The released models, for plans before anything is downloaded: counted from their configurations.

Stored bytes are those of bf16 files; where a publisher stores fp32, the files are twice as large."""
