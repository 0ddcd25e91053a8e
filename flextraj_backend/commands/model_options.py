"""The options of `flextraj render` that only diffusion engines read, grouped in its help."""

from __future__ import annotations

import typer

from blender_addon.core.errors import RequestError
from blender_addon.core.model_options import (
    MAX_STRENGTH,
    MAX_WINDOW_OVERLAP,
    LoraChoice,
)

PANEL = "Diffusion engines"
SPEED_PANEL = "Diffusion engines: speed and memory"

STRENGTH = typer.Option(
    1.0,
    help=f"Strength of the trajectory control: 0 is the base model, 1 as trained, up to {MAX_STRENGTH:g}.",
    rich_help_panel=PANEL,
)
GUIDANCE_SCHEDULE = typer.Option(
    "authors", help="How the guidance runs over the steps.", rich_help_panel=PANEL
)
SCHEDULER = typer.Option(
    "authors", help="The sampler: the authors' or the base model's.", rich_help_panel=PANEL
)
LORA = typer.Option(
    [],
    metavar="NAME[:SCALE]",
    help="Style or few-step LoRA from the weights folder's 'loras'; may be given again.",
    rich_help_panel=PANEL,
)
WINDOW_OVERLAP = typer.Option(
    8,
    help=f"Frames that the windows of a long shot share, 1 to {MAX_WINDOW_OVERLAP}.",
    rich_help_panel=PANEL,
)
CONDITION_TOKENS = typer.Option(
    "all",
    help="'occupied' drops empty parts of sparse control: faster, approximate.",
    rich_help_panel=SPEED_PANEL,
)
CACHE_STORAGE = typer.Option(
    "model", help="Number format of the cached control; 'model' is exact.", rich_help_panel=SPEED_PANEL
)
CACHE_PLACE = typer.Option("auto", help="Where the cached control waits.", rich_help_panel=SPEED_PANEL)
MEMORY = typer.Option(
    "auto",
    help="How the weights share the GPU's memory, from fastest to smallest.",
    rich_help_panel=SPEED_PANEL,
)
STEP_CACHE = typer.Option(
    "none", help="Reuse what hardly changes between steps: faster, approximate.", rich_help_panel=SPEED_PANEL
)
COMPILE = typer.Option(
    "none", help="Compile the transformer's blocks before the first step.", rich_help_panel=SPEED_PANEL
)
ATTENTION = typer.Option("auto", help="Attention kernels.", rich_help_panel=SPEED_PANEL)


def parse_loras(texts: list[str]) -> tuple[LoraChoice, ...]:
    """Read 'NAME' or 'NAME:SCALE'. Raises RequestError."""
    return tuple(_parse_lora(text) for text in texts)


def _parse_lora(text: str) -> LoraChoice:
    name, separator, scale = text.partition(":")
    if not separator:
        return LoraChoice(name)
    try:
        return LoraChoice(name, float(scale))
    except ValueError:
        raise RequestError(
            f"The scale '{scale}' of LoRA '{name}' is not a number: write NAME or NAME:0.8."
        ) from None
