"""Checks that a folder is a complete base model in diffusers' layout, without torch.

Nothing but JSON files and the headers of safetensors files is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from blender_addon.core.errors import ErrorCode, FlexTrajError
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.checkpoint_layout import MODEL_NAMES
from flextraj_backend.models.safetensors_header import PICKLE_SUFFIXES, SafetensorsHeader, read_header

MODEL_INDEX = "model_index.json"
TRANSFORMER, TEXT_ENCODER, VAE = "transformer", "text_encoder", "vae"
WEIGHTED = (TRANSFORMER, TEXT_ENCODER, VAE)
"""Components that have weights."""

_CONFIG_FILES = {
    TRANSFORMER: "config.json",
    TEXT_ENCODER: "config.json",
    VAE: "config.json",
    "scheduler": "scheduler_config.json",
    "tokenizer": "tokenizer_config.json",
}
_VOCABULARIES = ("tokenizer.json", "spiece.model")
_CLASSES = {
    Backbone.COGVIDEOX: {TRANSFORMER: "CogVideoXTransformer3DModel", VAE: "AutoencoderKLCogVideoX"},
    Backbone.WAN: {TRANSFORMER: "WanTransformer3DModel", VAE: "AutoencoderKLWan"},
}
_WEIGHT_NAMES = ("diffusion_pytorch_model", "model")
_MAX_JSON_BYTES = 16 << 20


@dataclass(frozen=True, eq=False)
class BaseModel:
    """A folder that holds all that `from_pretrained` reads.

    Attributes:
        configs: of the components with weights, by name.
        headers: of each component's weight files, by name.
    """

    folder: Path
    backbone: Backbone
    configs: Mapping[str, Mapping[str, Any]]
    headers: Mapping[str, tuple[SafetensorsHeader, ...]]


def read_base_model(folder: Path, backbone: Backbone) -> BaseModel:
    """Check a base model's folder: parts, classes, shards and their headers.

    Raises:
        FlexTrajError: it is incomplete, damaged or another model; the sentence names what to do.
    """
    if not folder.is_dir():
        raise _error(f"{folder} is no folder: give the folder of {MODEL_NAMES[backbone]}.")
    if not (folder / MODEL_INDEX).is_file():
        raise _error(
            f"{folder} has no {MODEL_INDEX}: "
            f"give the folder of {MODEL_NAMES[backbone]} in the diffusers format."
        )
    index = _read_json(folder / MODEL_INDEX)
    if backbone is Backbone.WAN and index.get("expand_timesteps") is not True:
        raise _error(
            f"{folder} is a Wan model that does not keep the photo as the clean first frame "
            f"(its {MODEL_INDEX} lacks 'expand_timesteps'): download {MODEL_NAMES[backbone]}."
        )
    for component, name in _CONFIG_FILES.items():
        if not (folder / component / name).is_file():
            raise _incomplete(folder, backbone, f"{component}/{name}")
    if not any((folder / "tokenizer" / name).is_file() for name in _VOCABULARIES):
        raise _incomplete(folder, backbone, f"tokenizer/{_VOCABULARIES[-1]}")
    configs = {component: _read_json(folder / component / "config.json") for component in WEIGHTED}
    _check_kind(folder, backbone, configs)
    headers = {component: _read_weights(folder, component, backbone) for component in WEIGHTED}
    return BaseModel(folder, backbone, MappingProxyType(configs), MappingProxyType(headers))


def _check_kind(folder: Path, backbone: Backbone, configs: Mapping[str, Mapping[str, Any]]) -> None:
    for component, wanted in _CLASSES[backbone].items():
        found = configs[component].get("_class_name")
        if found != wanted:
            raise _error(
                f"{folder} is not {MODEL_NAMES[backbone]}: its {component} is of class {found}, not {wanted}."
            )
    inputs, outputs = (configs[TRANSFORMER].get(key) for key in ("in_channels", "out_channels"))
    per_output = 2 if backbone is Backbone.COGVIDEOX else 1
    if not isinstance(inputs, int) or not isinstance(outputs, int) or inputs != per_output * outputs:
        raise _error(
            f"{folder} is a relative of {MODEL_NAMES[backbone]} that the control was not made for "
            f"({inputs} input and {outputs} output channels): download {MODEL_NAMES[backbone]}."
        )
    latent = configs[VAE].get("latent_channels" if backbone is Backbone.COGVIDEOX else "z_dim")
    if latent != outputs:
        raise _error(
            f"The parts of {folder} do not belong together (latents of {latent} and {outputs} channels): "
            "download the base model again."
        )


def _read_weights(folder: Path, component: str, backbone: Backbone) -> tuple[SafetensorsHeader, ...]:
    place = folder / component
    for name in _WEIGHT_NAMES:
        index, single = place / f"{name}.safetensors.index.json", place / f"{name}.safetensors"
        if index.is_file():
            return _read_shards(folder, place, index, backbone)
        if single.is_file():
            return (read_header(single),)
    pickles = sorted(path.name for path in place.iterdir() if path.suffix.lower() in PICKLE_SUFFIXES)
    if pickles:
        raise _error(
            f"{place} has pickled weights only ({pickles[0]}), which may run any program when they are "
            "opened: download the .safetensors files of the same model."
        )
    raise _incomplete(folder, backbone, f"{component}/{_WEIGHT_NAMES[component == TEXT_ENCODER]}.safetensors")


def _read_shards(folder: Path, place: Path, index: Path, backbone: Backbone) -> tuple[SafetensorsHeader, ...]:
    """The shards that an index lists, each with all the tensors that the index expects of it."""
    listed = _read_json(index).get("weight_map")
    if (
        not isinstance(listed, dict)
        or not listed
        or not all(isinstance(shard, str) and Path(shard).name == shard for shard in listed.values())
    ):
        raise _error(f"{index} does not list weight files: download it again.")
    headers = []
    for shard in sorted(set(listed.values())):
        if not (place / shard).is_file():
            raise _incomplete(folder, backbone, f"{place.name}/{shard}")
        header = read_header(place / shard)
        absent = [name for name, home in listed.items() if home == shard and name not in header.tensors]
        if absent:
            raise _error(
                f"{place / shard} lacks {len(absent)} tensors that its index lists: download it again."
            )
        headers.append(header)
    return tuple(headers)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise ValueError("too large")
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _error(f"{path} cannot be read: download it again.") from error
    if not isinstance(values, dict):
        raise _error(f"{path} is damaged: download it again.")
    return values


def _incomplete(folder: Path, backbone: Backbone, missing: str) -> FlexTrajError:
    return _error(
        f"{folder} is incomplete, it has no {missing}: "
        f"download it again, or run 'flextraj weights fetch {backbone}'."
    )


def _error(text: str) -> FlexTrajError:
    return FlexTrajError(text, ErrorCode.WEIGHTS)
