"""What a denoising step costs, per way to condition the model: the rows, their table and their JSON file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from flextraj_backend.atomic_file import write_text
from flextraj_backend.bench.table import describe_machine
from flextraj_backend.models.backbone import Backbone

_TERA, _GIBI = 1e12, 2**30


class Variant(StrEnum):
    """A way to condition the transformer."""

    BASE = "base"
    """The stock transformer, no condition."""
    CONCAT = "concat"
    """Condition tokens in the one sequence, full attention, no mask."""
    MASKED = "masked"
    """Both streams in every step, the condition attending to itself alone."""
    CACHED = "cached"
    """The stock forward reading the condition's keys and values."""
    CONTROLNET = "controlnet"
    """A copy of the first blocks, its outputs added to the main stream."""
    PRUNED_20 = "pruned20"
    """Cached, 20 % of the condition tokens occupied: those, and tokens that stand for the others."""
    PRUNED_5 = "pruned5"
    """The same with 5 %."""


OCCUPIED_SHARE = {Variant.CACHED: 1.0, Variant.PRUNED_20: 0.2, Variant.PRUNED_5: 0.05}
"""Share of the condition tokens that count as occupied, in the variants that have a cache."""

CACHED_LIMIT = {Backbone.COGVIDEOX: 1.55, Backbone.WAN: 1.25}
"""Largest cost of a cached step over a base step."""


@dataclass(frozen=True)
class DenoiseRow:
    """One forward of a transformer, batch 1, against the same backbone's `base` row.

    Attributes:
        flops: floating-point operations of the released configuration (a multiply-add counts two).
        seconds: median time, or None where nothing was timed or the GPU's memory did not suffice.
        peak_memory: bytes allocated on the GPU at most, weights included, or None without a GPU.
    """

    backbone: Backbone
    variant: Variant
    flops: int
    flops_ratio: float
    seconds: float | None
    seconds_ratio: float | None
    peak_memory: int | None

    @property
    def limit(self) -> float | None:
        """Largest ratio allowed, or None where there is none."""
        return CACHED_LIMIT[self.backbone] if self.variant is Variant.CACHED else None

    @property
    def within_limit(self) -> bool:
        worst = max(self.flops_ratio, self.seconds_ratio or 0.0)
        return self.limit is None or worst <= self.limit


@dataclass(frozen=True)
class CacheRow:
    """The condition's keys and values, and what encoding them costs once.

    Attributes:
        bytes: one cache in bfloat16.
        caches: caches that a run with guidance keeps: one on CogVideoX, where both halves of the guidance
            share it; one per prompt on Wan.
        published_bytes: all caches that the published implementation keeps for a run with guidance: two,
            with all tokens.
        encode_flops: operations of encoding one cache.
    """

    backbone: Backbone
    variant: Variant
    bytes: int
    caches: int
    published_bytes: int
    encode_flops: int

    @property
    def total_bytes(self) -> int:
        return self.caches * self.bytes


@dataclass(frozen=True)
class DenoiseReport:
    """All rows of one run, and how the seconds came about.

    Attributes:
        timing: in words: where and on what configuration the seconds were measured.
        timed_flops_ratios: per backbone and variant, the ratio of operations of the configuration that was
            timed; None where it is the released one or nothing was timed.
        versions: of torch and diffusers, and the GPU's name (None without one).
    """

    rows: Sequence[DenoiseRow]
    caches: Sequence[CacheRow]
    timing: str
    timed_flops_ratios: dict[str, dict[str, float]] | None
    versions: dict[str, str | None]


def print_report(report: DenoiseReport, console: Console | None = None) -> None:
    """Print the rows as a table, then the caches and how the seconds were measured."""
    console = console or Console()
    table = Table(
        title="flextraj bench denoise: one step, batch 1",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("backbone", no_wrap=True)
    table.add_column("variant", no_wrap=True)
    for heading in ("TFLOPs", "ratio", "time", "ratio", "peak", "limit"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in report.rows:
        table.add_row(
            row.backbone.value,
            row.variant.value,
            f"{row.flops / _TERA:.1f}",
            f"{row.flops_ratio:.3f}",
            "-" if row.seconds is None else _format_seconds(row.seconds),
            "-" if row.seconds_ratio is None else f"{row.seconds_ratio:.2f}",
            "-" if row.peak_memory is None else f"{row.peak_memory / _GIBI:.1f} GiB",
            _describe_limit(row),
            end_section=row.variant is Variant.PRUNED_5,
        )
    console.print(table)
    for backbone in dict.fromkeys(cache.backbone for cache in report.caches):
        caches = [cache for cache in report.caches if cache.backbone is backbone]
        console.print(_describe_caches(backbone, caches), markup=False, highlight=False)
    console.print("TFLOPs: of one forward, batch 1; counted at full depth on the released 5B configurations.")
    console.print(report.timing, markup=False, highlight=False)


def write_report(path: Path, report: DenoiseReport) -> Path:
    """Write the report atomically: `{"machine", "versions", "timing", ..., "condition_caches", "rows"}`."""
    document: dict[str, Any] = {
        "machine": describe_machine(),
        "versions": report.versions,
        "timing": report.timing,
        "timed_flops_ratios": report.timed_flops_ratios,
        "condition_caches": [{**asdict(cache), "total_bytes": cache.total_bytes} for cache in report.caches],
        "rows": [asdict(row) for row in report.rows],
    }
    return write_text(path, json.dumps(document, indent=2) + "\n")


def _describe_caches(backbone: Backbone, caches: Sequence[CacheRow]) -> str:
    parts = [
        f"{cache.variant.value} {cache.total_bytes / _GIBI:.2f} GiB "
        f"(encoded once for {cache.caches * cache.encode_flops / _TERA:.1f} TFLOPs)"
        for cache in caches
    ]
    return (
        f"{backbone.value}: condition caches of a run with guidance in bf16: {', '.join(parts)}; "
        f"as published {caches[0].published_bytes / _GIBI:.2f} GiB."
    )


def _describe_limit(row: DenoiseRow) -> str:
    if row.limit is None:
        return ""
    return f"{row.limit:g} {'ok' if row.within_limit else '[bold red]OVER[/]'}"


def _format_seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
