"""`flextraj engines`: what can run here, and why something cannot."""

from __future__ import annotations

import json as json_module

import typer
from rich.console import Console
from rich.table import Table

from blender_addon.client.messages import EngineInfo

NAME = "engines"


def command(json: bool = typer.Option(False, "--json", help="Print JSON instead of a table.")) -> None:
    """List the engines with their limits and what a nominal job takes on this machine."""
    from flextraj_backend.engines.catalog import engine_infos

    infos = engine_infos()
    if json:
        typer.echo(json_module.dumps([info.to_dict() for info in infos], indent=2))
        return
    table = Table(caption="time and memory: estimates for 49 frames at about 720x480", caption_justify="left")
    for heading in ("engine", "what it is", "here", "frames", "sides", "time", "memory", "GPU memory"):
        table.add_column(heading, overflow="fold")
    for info in infos:
        table.add_row(*_row(info))
    Console().print(table)
    for info in infos:
        if sentence := info.note if info.available else info.reason:
            typer.echo(f"{info.name}: {sentence}")


def _row(info: EngineInfo) -> tuple[str, ...]:
    frames = f"{info.min_frames} to {info.max_frames}"
    if info.frame_step > 1:
        frames += f", {info.frame_step}k+{info.frame_offset}"
    sides = f"multiples of {info.side_multiple}, up to {info.max_side}"
    if info.fixed_width:
        sides = f"{info.fixed_width}x{info.fixed_height}"
    return (
        info.name,
        info.title,
        "yes" if info.available else "no",
        frames,
        sides,
        "" if info.seconds is None else f"{info.seconds:.0f} s",
        _gib(info.memory_bytes),
        _gib(info.vram_bytes),
    )


def _gib(size: int | None) -> str:
    return "" if size is None else f"{size / (1 << 30):.1f} GiB" if size else "none"
