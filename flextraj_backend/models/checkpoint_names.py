"""Names and shapes of a control's tensors: the authors' files on one side, diffusers' modules on the other.

A control is the LoRA of the condition stream's attention and the linear layer that fuses the colour tokens.
The authors store CogVideoX's under diffusers' names with the prefix `transformer.` and Wan's under the names
of Wan's own code without prefix (conventions 2.5 and 2.8). Other tools write other prefixes; all are read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from flextraj_backend.models.backbone import Backbone


class TensorRole(StrEnum):
    """What a tensor of a control file does."""

    FUSE = "fuse"
    """Projects the colour tokens that are added to the ID tokens."""
    LORA = "lora"
    """LoRA of the condition stream."""
    TEXT_LORA = "text_lora"
    """LoRA of Wan's text keys and values: the authors store it, and nothing ever uses it."""
    FEED_FORWARD_LORA = "feed_forward_lora"
    """LoRA of Wan's feed-forward layers: the authors' loader drops it."""


class LoraSide(StrEnum):
    """The two matrices of a LoRA: B (out, rank) times A (rank, in)."""

    A = "A"
    B = "B"


@dataclass(frozen=True)
class ControlName:
    """A stored name, understood."""

    name: str
    """In diffusers' transformer, without prefix and adapter name: `blocks.0.attn1.to_q.lora_A.weight`."""
    role: TensorRole
    backbone: Backbone | None = None
    """None for the fuse layer, which has the same name in both."""
    layer: int | None = None
    side: LoraSide | None = None


FUSE_WEIGHT = "fuse_linear.weight"
FUSE_BIAS = "fuse_linear.bias"

_PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0")
_BLOCKS = {Backbone.COGVIDEOX: "transformer_blocks", Backbone.WAN: "blocks"}
_MODULES = {
    Backbone.COGVIDEOX: tuple(f"attn1.{projection}" for projection in _PROJECTIONS),
    Backbone.WAN: tuple(
        f"{attention}.{projection}" for attention in ("attn1", "attn2") for projection in _PROJECTIONS
    ),
}
_TEXT_MODULES = frozenset({"attn2.to_k", "attn2.to_v"})

# Names in Wan's own code, by diffusers' names.
_WAN_ORIGINAL = {
    f"{attention}.{projection}": f"{original_attention}.{original}"
    for attention, original_attention in (("attn1", "self_attn"), ("attn2", "cross_attn"))
    for projection, original in zip(_PROJECTIONS, "qkvo", strict=True)
}
_WAN_FEED_FORWARD = {"ffn.0": "ffn.net.0.proj", "ffn.2": "ffn.net.2"}
# Either spelling of a module, by what diffusers calls it.
_SPELLINGS = {
    Backbone.COGVIDEOX: {module: module for module in _MODULES[Backbone.COGVIDEOX]},
    Backbone.WAN: {
        **{module: module for module in (*_WAN_ORIGINAL, *_WAN_FEED_FORWARD.values())},
        **{original: module for module, original in _WAN_ORIGINAL.items()},
        **_WAN_FEED_FORWARD,
    },
}

_PREFIXES = r"(?:(?:pipe|dit|transformer|diffusion_model|base_model|model|module)\.)*"
_FUSE = re.compile(rf"{_PREFIXES}(?P<name>fuse_linear\.(?:weight|bias))")
_LORA = re.compile(
    rf"{_PREFIXES}(?P<blocks>transformer_blocks|blocks)\.(?P<layer>0|[1-9][0-9]{{0,3}})\.(?P<module>[a-z0-9_.]+)"
    r"\.lora_(?P<side>[AB])(?:\.(?:default|flextraj))?\.weight"
)


def parse_name(stored: str) -> ControlName | None:
    """Understand a stored name; None where it belongs to no control of either backbone."""
    fuse = _FUSE.fullmatch(stored)
    if fuse:
        return ControlName(fuse["name"], TensorRole.FUSE)
    lora = _LORA.fullmatch(stored)
    if lora is None:
        return None
    backbone = next(backbone for backbone, blocks in _BLOCKS.items() if blocks == lora["blocks"])
    module = _SPELLINGS[backbone].get(lora["module"])
    if module is None:
        return None
    side = LoraSide(lora["side"])
    layer = int(lora["layer"])
    name = _lora_name(backbone, layer, module, side)
    return ControlName(name, _role(backbone, module), backbone, layer, side)


def authors_name(backbone: Backbone, name: str) -> str:
    """The name that the authors' code reads for a tensor named as in diffusers' transformer.

    Raises:
        ValueError: no control of this backbone has such a tensor.
    """
    parsed = parse_name(name)
    if (
        parsed is None
        or parsed.name != name
        or parsed.backbone not in (None, backbone)
        or parsed.role is TensorRole.FEED_FORWARD_LORA
    ):
        raise ValueError(f"{name!r} is no tensor of a {backbone} control.")
    if backbone is Backbone.COGVIDEOX:
        return f"transformer.{name}"
    if parsed.role is TensorRole.FUSE:
        return name
    for module, original in _WAN_ORIGINAL.items():
        name = name.replace(f".{module}.lora_", f".{original}.lora_")
    return name


def control_shapes(backbone: Backbone, layers: int, width: int, rank: int) -> dict[str, tuple[int, ...]]:
    """Every tensor of a control under diffusers' names, and its shape.

    338 tensors for CogVideoX-5B-I2V (42 layers), 482 for Wan2.2-TI2V-5B (30 layers); both are 3072 wide.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(layers):
        for module in _MODULES[backbone]:
            shapes[_lora_name(backbone, layer, module, LoraSide.A)] = (rank, width)
            shapes[_lora_name(backbone, layer, module, LoraSide.B)] = (width, rank)
    return shapes | {FUSE_WEIGHT: (width, width), FUSE_BIAS: (width,)}


def _lora_name(backbone: Backbone, layer: int, module: str, side: LoraSide) -> str:
    return f"{_BLOCKS[backbone]}.{layer}.{module}.lora_{side}.weight"


def _role(backbone: Backbone, module: str) -> TensorRole:
    if backbone is Backbone.WAN and module in _TEXT_MODULES:
        return TensorRole.TEXT_LORA
    if module in _WAN_FEED_FORWARD.values():
        return TensorRole.FEED_FORWARD_LORA
    return TensorRole.LORA
