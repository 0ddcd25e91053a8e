"""Style and few-step LoRAs of the user: they act on the main stream, beside the trajectory control."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.model_options import LoraChoice
from flextraj_backend.engines.base import EngineError
from flextraj_backend.models.safetensors_header import read_header
from flextraj_backend.models.weights import locate_lora


def check_loras(choices: Sequence[LoraChoice]) -> None:
    """Raises FlexTrajError: a chosen LoRA is missing or no safetensors file."""
    for choice in choices:
        read_header(locate_lora(choice.name))


def load_loras(pipeline: Any, choices: Sequence[LoraChoice]) -> None:
    """Put LoRAs onto a pipeline's transformer, unmerged; any format that diffusers reads for its model.

    Args:
        pipeline: with its weights in main memory, not yet spread over devices.

    Raises:
        FlexTrajError: a file is missing or does not fit the model.
    """
    # peft builds module names of adapter names, so that the user's names with dots cannot be used.
    names = [f"extra_{index}" for index in range(len(choices))]
    for name, choice in zip(names, choices, strict=True):
        _load(pipeline, name, choice)
    if names:
        pipeline.transformer.set_adapters(names, [choice.scale for choice in choices])


def _load(pipeline: Any, adapter: str, choice: LoraChoice) -> None:
    transformer = pipeline.transformer
    try:
        # The file itself, not its tensors: their alpha stands in its header.
        tensors, metadata = pipeline.lora_state_dict(
            str(locate_lora(choice.name)), return_lora_metadata=True, use_safetensors=True
        )
    except (ValueError, KeyError) as error:
        raise _does_not_fit(choice, "its format is not known") from error
    known = {f"transformer.{name}" for name, _ in transformer.named_modules()}
    layers = {name.partition(".lora")[0].removesuffix(".base_layer") for name in tensors}
    if strange := sorted(layers - known):
        raise _does_not_fit(choice, f"the model has no layer '{strange[0].removeprefix('transformer.')}'")
    try:
        pipeline.load_lora_into_transformer(
            {name: tensor.to(transformer.dtype) for name, tensor in tensors.items()},
            transformer=transformer,
            adapter_name=adapter,
            metadata=metadata,
        )
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        raise _does_not_fit(choice, "its tensors have other shapes or names") from error


def _does_not_fit(choice: LoraChoice, reason: str) -> FlexTrajError:
    return EngineError(
        f"The LoRA '{choice.name}' does not fit this model ({reason}): choose one that was made for it.",
        ErrorCode.REQUEST,
    )
