"""Strict check of a control file against itself and against the base model, from its header alone."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.checkpoint_names import (
    ControlName,
    LoraSide,
    TensorRole,
    authors_name,
    control_shapes,
    parse_name,
)
from flextraj_backend.models.real_configs import RELEASED
from flextraj_backend.models.safetensors_header import FLOAT_DTYPES, SafetensorsHeader

MODEL_NAMES = {
    Backbone.COGVIDEOX: "CogVideoX-5B-I2V",
    Backbone.WAN: "Wan2.2-TI2V-5B",
}
_EITHER_MODEL = " or ".join(MODEL_NAMES.values())
_CLASS_WORDS = {Backbone.COGVIDEOX: "CogVideoX", Backbone.WAN: "Wan"}
_NAMES_SHOWN = 3


@dataclass(frozen=True)
class BaseShape:
    """What a control must match in its base model."""

    backbone: Backbone
    layers: int
    width: int
    """Channels of a token: attention heads times head size."""


PUBLISHED_SHAPES = {
    backbone: BaseShape(backbone, shape.layers, shape.hidden_size) for backbone, shape in RELEASED.items()
}
"""The base models that the paper's controls belong to."""


@dataclass(frozen=True)
class ControlLayout:
    """A control file that has every tensor that it must have, and nothing else."""

    base: BaseShape
    rank: int
    alpha: float
    """LoRA is applied with alpha / rank; the rank where the file stores no alpha."""
    stored_names: Mapping[str, str]
    """Name in the file, by name in diffusers' transformer. Without the tensors that are dropped."""
    without_effect: tuple[str, ...]
    """Stored names of Wan's text key and value LoRA: kept, never used."""
    dropped: tuple[str, ...]
    """Stored names of Wan's feed-forward LoRA, which the authors' loader ignores too."""


def base_shape(folder: Path) -> BaseShape:
    """Read the `config.json` of a base model's folder, or of the `transformer` folder in it.

    Raises:
        FlexTrajError: no such file, or it describes another model.
    """
    config_file = next(
        (file for file in (folder / "transformer" / "config.json", folder / "config.json") if file.is_file()),
        None,
    )
    if config_file is None:
        raise _error(
            f"{folder} has no transformer/config.json: give a folder of {_EITHER_MODEL} in diffusers' format."
        )
    try:
        config = json.loads(config_file.read_text(encoding="utf-8"))
        return base_shape_of_config(config)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _error(
            f"{config_file} describes no transformer of {_EITHER_MODEL}: download the base model again."
        ) from error


def base_shape_of_config(config: Mapping[str, Any]) -> BaseShape:
    """The same from diffusers' configuration of a transformer.

    Raises:
        KeyError, TypeError, ValueError: it is another model's.
    """
    class_name = config["_class_name"]
    backbone = next((backbone for backbone, word in _CLASS_WORDS.items() if word in class_name), None)
    if backbone is None:
        raise ValueError(f"{class_name} carries no control.")
    numbers = [config[key] for key in ("num_layers", "num_attention_heads", "attention_head_dim")]
    if not all(type(number) is int and number > 0 for number in numbers):
        raise ValueError(f"{numbers} are no layers, heads and head size.")
    return BaseShape(backbone, layers=numbers[0], width=numbers[1] * numbers[2])


def control_layout(header: SafetensorsHeader, base: BaseShape | None = None) -> ControlLayout:
    """Check a control file's header strictly; against a base model where one is given.

    Raises:
        FlexTrajError: a plain LoRA, a control for the other model, mixed ranks, or missing, unknown or
            wrong-shaped tensors (named).
    """
    parsed = {stored: parse_name(stored) for stored in header.tensors}
    known = {stored: name for stored, name in parsed.items() if name is not None}
    _check_kind(header, known)
    backbone = _backbone(header, known)
    if base is not None and base.backbone is not backbone:
        raise _error(
            f"{header.path} is a control for {MODEL_NAMES[backbone]}, not for {MODEL_NAMES[base.backbone]}: "
            f"use it with the engine {backbone}, or give this engine its own control file."
        )
    dropped = sorted(stored for stored, name in known.items() if name.role is TensorRole.FEED_FORWARD_LORA)
    kept = {stored: name for stored, name in known.items() if name.role is not TensorRole.FEED_FORWARD_LORA}
    stored_names = _by_name(header, kept)
    rank, width = _rank_and_width(header, kept)
    if base is None:
        base = BaseShape(backbone, 1 + max(name.layer or 0 for name in kept.values()), width)
    _check_ranks(header, kept, rank, base.width)
    unknown = sorted(stored for stored, name in parsed.items() if name is None)
    _check_tensors(header, stored_names, unknown, base, rank)
    return ControlLayout(
        base=base,
        rank=rank,
        alpha=_alpha(header, rank),
        stored_names=stored_names,
        without_effect=tuple(sorted(s for s, name in kept.items() if name.role is TensorRole.TEXT_LORA)),
        dropped=tuple(dropped),
    )


def names_in_short(names: Iterable[str]) -> str:
    """A few names, then "and N more"."""
    listed = [name if name.isprintable() else ascii(name) for name in names]
    shown = ", ".join(name[:100] for name in listed[:_NAMES_SHOWN])
    return f"{shown} and {len(listed) - _NAMES_SHOWN} more" if len(listed) > _NAMES_SHOWN else shown


def _error(text: str) -> FlexTrajError:
    return FlexTrajError(text, ErrorCode.WEIGHTS)


def _check_kind(header: SafetensorsHeader, known: Mapping[str, ControlName]) -> None:
    roles = {name.role for name in known.values()}
    if TensorRole.FUSE not in roles:
        if any("lora" in stored.lower() for stored in header.tensors):
            raise _error(
                f"{header.path} is a plain LoRA, not a control (it has no fuse_linear): "
                "name it under the request's loras, and give flextraj_cogvideox.safetensors, "
                "flextraj_wan.safetensors or a control trained here as the control."
            )
        raise _error(
            f"{header.path} is no control file (it has neither LoRA nor fuse_linear): give "
            "flextraj_cogvideox.safetensors, flextraj_wan.safetensors or a control trained here."
        )
    for stored in known:
        if header.tensors[stored].dtype not in FLOAT_DTYPES:
            raise _error(
                f"{header.path} stores {stored} as {header.tensors[stored].dtype}: "
                f"a control is stored as one of {', '.join(sorted(FLOAT_DTYPES))}."
            )


def _backbone(header: SafetensorsHeader, known: Mapping[str, ControlName]) -> Backbone:
    found = {name.backbone for name in known.values() if name.backbone is not None}
    if len(found) == 1:
        return found.pop()
    what = "the tensors of two models" if found else "fuse_linear but no LoRA of the attention layers"
    raise _error(f"{header.path} has {what}: it is damaged or of another method, download the control again.")


def _by_name(header: SafetensorsHeader, known: Mapping[str, ControlName]) -> dict[str, str]:
    by_name: dict[str, str] = {}
    for stored, name in known.items():
        other = by_name.setdefault(name.name, stored)
        if other != stored:
            raise _error(
                f"{header.path} has one tensor twice, as {names_in_short([other, stored])}: "
                "remove one of the two or download the control again."
            )
    return by_name


def _rank_and_width(header: SafetensorsHeader, known: Mapping[str, ControlName]) -> tuple[int, int]:
    """Those of most of the A matrices; the others are then found wrong."""
    shapes = Counter(
        header.tensors[stored].shape for stored, name in known.items() if name.side is LoraSide.A
    )
    for shape, _ in shapes.most_common():
        if len(shape) == 2 and min(shape) > 0:
            return shape[0], shape[1]
    raise _error(f"{header.path} has no lora_A of shape (rank, width): download the control again.")


def _check_ranks(header: SafetensorsHeader, known: Mapping[str, ControlName], rank: int, width: int) -> None:
    """A matrix that is right but for its rank is called by that name."""
    others: dict[int, list[str]] = {}
    for stored, name in known.items():
        match name.side, header.tensors[stored].shape:
            case (LoraSide.A, (int(other), across)) | (LoraSide.B, (across, int(other))):
                if across == width and other != rank:
                    others.setdefault(other, []).append(stored)
    if others:
        listed = "; ".join(f"{other} in {names_in_short(sorted(names))}" for other, names in others.items())
        raise _error(
            f"{header.path} mixes LoRA ranks ({rank} in most tensors; {listed}): "
            "a control has one rank, train or download it again."
        )


def _check_tensors(
    header: SafetensorsHeader,
    stored_names: Mapping[str, str],
    unknown: list[str],
    base: BaseShape,
    rank: int,
) -> None:
    expected = control_shapes(base.backbone, base.layers, base.width, rank)
    missing = [authors_name(base.backbone, name) for name in expected if name not in stored_names]
    extra = unknown + sorted(stored for name, stored in stored_names.items() if name not in expected)
    wrong = [
        f"{stored} {_numbers(header.tensors[stored].shape)} instead of {_numbers(expected[name])}"
        for name, stored in sorted(stored_names.items())
        if name in expected and header.tensors[stored].shape != expected[name]
    ]
    faults = [
        f"{_tensors(len(names))} {fault}: {names_in_short(names)}"
        for names, fault in ((missing, "missing"), (extra, "unknown"), (wrong, "of a wrong shape"))
        if names
    ]
    if faults:
        raise _error(
            f"{header.path} does not fit {MODEL_NAMES[base.backbone]} with {base.layers} layers of width "
            f"{base.width} ({'; '.join(faults)}): give the control of this base model, or download it again."
        )


def _tensors(count: int) -> str:
    return f"{count} tensor{'s' if count > 1 else ''}"


def _numbers(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))})"


def _alpha(header: SafetensorsHeader, rank: int) -> float:
    """Alpha of our own files and of diffusers' (`lora_adapter_metadata`); the rank where none is stored."""
    metadata = header.metadata
    try:
        foreign = json.loads(metadata.get("lora_adapter_metadata", "{}"))
        alpha = float(foreign.get("transformer.lora_alpha", metadata.get("alpha", rank)))
        if int(metadata.get("rank", rank)) != rank or not (math.isfinite(alpha) and alpha > 0):
            raise ValueError("Rank and alpha do not belong to these tensors.")
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise _error(
            f"{header.path} has metadata that contradict its tensors (rank {metadata.get('rank')}, alpha "
            f"{metadata.get('alpha')}, tensors of rank {rank}): download or save the control again."
        ) from error
    return alpha
