"""`flextraj weights ...`: where the models are, and downloading them."""

from __future__ import annotations

import json as json_module
from enum import StrEnum
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flextraj_backend.engines.mini.weights import MINI_VARIABLE, mini_status, use_mini
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.weights import (
    WEIGHTS_VARIABLE,
    WeightsLocation,
    WeightsStatus,
    default_weights_dir,
    lora_names,
    loras_folder,
    use_weights,
    weights_status,
)

app = typer.Typer(help="Weights of the diffusion engines.", no_args_is_help=True)

_ENGINE = typer.Argument(help="Engine.", show_default=False)


class _WeightedEngine(StrEnum):
    """Engines whose weights a user may name."""

    COGVIDEOX = Backbone.COGVIDEOX.value
    WAN = Backbone.WAN.value
    MINI = "mini"


@app.callback()
def weights() -> None:
    """Weights of the diffusion engines: where they are, and downloading them."""


@app.command("list")
def list_weights(json: bool = typer.Option(False, "--json", help="Print JSON instead of a table.")) -> None:
    """Tell which weights each engine uses, and what is missing."""
    statuses = [*(weights_status(backbone) for backbone in Backbone), mini_status()]
    if json:
        values = {
            "engines": [status.to_dict() for status in statuses],
            "loras_folder": str(loras_folder()),
            "loras": lora_names(),
        }
        typer.echo(json_module.dumps(values, indent=2))
        return
    table = Table()
    for heading in ("engine", "base model", "control"):
        table.add_column(heading, overflow="fold")
    for status in statuses:
        if status.location is not None:
            places = (status.location.base, status.location.adapter)
            table.add_row(status.engine, *(escape(str(place)) for place in places))
        else:
            table.add_row(status.engine, "missing", "")
    Console().print(table)
    for status in statuses:
        if status.problem:
            typer.echo(status.problem)
    typer.echo(f"LoRAs in {loras_folder()}: {', '.join(lora_names()) or 'none'}")


@app.command("use")
def use(
    engine: _WeightedEngine = _ENGINE,
    base: Path = typer.Option(
        ..., "--base", help="Folder of the base model in diffusers' layout.", show_default=False
    ),
    adapter: Path = typer.Option(
        ..., "--adapter", help="Control file (.safetensors), or the folder it is in.", show_default=False
    ),
) -> None:
    """Check weights that you have and use them from now on."""
    if engine is _WeightedEngine.MINI:
        _print(engine, use_mini(base, adapter), mini_status(), MINI_VARIABLE)
    else:
        backbone = Backbone(engine.value)
        _print(engine, use_weights(backbone, base, adapter), weights_status(backbone), WEIGHTS_VARIABLE)


@app.command("fetch")
def fetch(
    engine: Backbone = _ENGINE,
    to: Path | None = typer.Option(
        None, "--to", help="Folder for the weights of all engines.", show_default="the user's data folder"
    ),
) -> None:
    """Download an engine's base model and the authors' control, and use them from now on."""
    # Imported here: nothing else in the program uses the network.
    from flextraj_backend.models.weights_download import fetch_weights

    location = fetch_weights(engine, to or default_weights_dir(), typer.echo)
    _print(engine, location, weights_status(engine), WEIGHTS_VARIABLE)


def _print(engine: str, location: WeightsLocation, status: WeightsStatus, variable: str) -> None:
    typer.echo(f"The engine '{engine}' uses {location.base} and {location.adapter}.")
    if status.location != location:
        typer.echo(f"Now {variable} is set and comes first: unset it to use these.")
