"""`flextraj checkpoint ...`: what a control file is, and whether it fits a base model."""

from __future__ import annotations

import json as json_module
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flextraj_backend.models.checkpoint_layout import MODEL_NAMES, base_shape
from flextraj_backend.models.checkpoint_summary import AdapterSummary, adapter_summary, check_adapter

app = typer.Typer(help="Control files: what they are, and whether they fit.", no_args_is_help=True)

_FILE = typer.Argument(help="Control file (.safetensors).", show_default=False)
_JSON = typer.Option(False, "--json", help="Print JSON instead of a table.")


@app.callback()
def checkpoint() -> None:
    """Control files: what they are, and whether they fit."""


@app.command("info")
def info(file: Path = _FILE, json: bool = _JSON) -> None:
    """Describe a control file from its header: fast, and without torch."""
    _print(adapter_summary(file), json)


@app.command("check")
def check(
    file: Path = _FILE,
    base: Path = typer.Option(
        ..., "--base", help="Folder of the base model; its config.json is read.", show_default=False
    ),
    json: bool = _JSON,
) -> None:
    """Check a control file strictly against a base model: every name, shape and value."""
    summary = check_adapter(file, base_shape(base))
    _print(summary, json)
    if not json:
        typer.echo("It fits this base model.")


def _print(summary: AdapterSummary, as_json: bool) -> None:
    if as_json:
        typer.echo(json_module.dumps(summary.to_dict(), indent=2))
        return
    table = Table(show_header=False)
    for row in _rows(summary):
        table.add_row(*map(escape, row))
    Console().print(table)
    for note in summary.notes:
        typer.echo(note)


def _rows(summary: AdapterSummary) -> list[tuple[str, str]]:
    return [
        ("file", str(summary.path)),
        ("for", f"{MODEL_NAMES[summary.backbone]} (engine {summary.backbone})"),
        ("LoRA", f"rank {summary.rank}, alpha {summary.alpha:g}, applied with {summary.scaling:g}"),
        ("layers", f"{summary.layers} of width {summary.width}"),
        ("tensors", f"{summary.tensors}, {summary.parameters:,} parameters"),
        ("stored as", ", ".join(summary.dtypes)),
        ("size", f"{summary.file_bytes / 1e6:.1f} MB"),
        ("fuse layer", summary.fuse.value),
        ("written by", f"FlexTraj {summary.version}" if summary.version else "another program"),
    ]
