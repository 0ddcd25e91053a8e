"""Bench rows of a denoising step: base, its peers and the cached condition, for both backbones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import diffusers
import torch

from flextraj_backend.bench.denoise_flops import StepFlops, count_flops
from flextraj_backend.bench.denoise_table import CacheRow, DenoiseReport, DenoiseRow, Variant
from flextraj_backend.bench.denoise_timing import StepTime, large_gpu, time_on_cpu, time_on_gpu
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.real_configs import RELEASED, SCALED_DOWN, TransformerShape

_NOT_TIMED = "Nothing was timed (--flops-only)."
_CACHES_WITH_GUIDANCE = {Backbone.COGVIDEOX: 1, Backbone.WAN: 2}


def flops_report(backbones: Sequence[Backbone], progress: Callable[[str], None]) -> DenoiseReport:
    """Count operations alone: reproducible on any machine."""
    return _report(backbones, {backbone: {} for backbone in backbones}, _NOT_TIMED, None, progress)


def timed_report(backbones: Sequence[Backbone], progress: Callable[[str], None]) -> DenoiseReport:
    """Count operations and time the steps: at the released size on a GPU of 40 GB, scaled down elsewhere."""
    gpu = large_gpu()
    times: dict[Backbone, dict[Variant, StepTime]] = {}
    ratios: dict[str, dict[str, float]] | None = None
    for backbone in backbones:
        progress(f"Timing {backbone.value} ...")
        times[backbone] = (
            time_on_cpu(SCALED_DOWN[backbone]) if gpu is None else time_on_gpu(RELEASED[backbone], gpu)
        )
    if gpu is None:
        ratios = {backbone.value: _flops_ratios(SCALED_DOWN[backbone]) for backbone in backbones}
        timing = "; ".join(_describe(SCALED_DOWN[backbone]) for backbone in backbones)
        timing = (
            "Seconds: SCALED DOWN, processor time of one CPU thread in float32 with random weights, tokens "
            f"and width shrunk alike ({timing}): only their ratios say something, and only roughly."
        )
    else:
        timing = (
            f"Seconds and memory: released size on one {torch.cuda.get_device_name(gpu)} in bfloat16 with "
            "random weights, one forward, batch 1; the peak includes weights and encoding the condition."
        )
    return _report(backbones, times, timing, ratios, progress)


def _report(
    backbones: Sequence[Backbone],
    times: dict[Backbone, dict[Variant, StepTime]],
    timing: str,
    timed_flops_ratios: dict[str, dict[str, float]] | None,
    progress: Callable[[str], None],
) -> DenoiseReport:
    rows: list[DenoiseRow] = []
    caches: list[CacheRow] = []
    for backbone in backbones:
        progress(f"Counting {backbone.value} ...")
        counted = {variant: count_flops(variant, RELEASED[backbone]) for variant in Variant}
        base_flops = counted[Variant.BASE].step
        base_seconds = times[backbone].get(Variant.BASE, StepTime(None, None)).seconds
        for variant, flops in counted.items():
            measured = times[backbone].get(variant, StepTime(None, None))
            rows.append(
                DenoiseRow(
                    backbone=backbone,
                    variant=variant,
                    flops=flops.step,
                    flops_ratio=flops.step / base_flops,
                    seconds=measured.seconds,
                    seconds_ratio=(
                        measured.seconds / base_seconds if measured.seconds and base_seconds else None
                    ),
                    peak_memory=measured.peak_memory,
                )
            )
        caches += _cache_rows(backbone, counted)
    return DenoiseReport(rows, caches, timing, timed_flops_ratios, _versions())


def _cache_rows(backbone: Backbone, counted: Mapping[Variant, StepFlops]) -> list[CacheRow]:
    published = 2 * (counted[Variant.CACHED].cache_bytes or 0)
    caches = _CACHES_WITH_GUIDANCE[backbone]
    return [
        CacheRow(backbone, variant, flops.cache_bytes, caches, published, flops.encode)
        for variant, flops in counted.items()
        if flops.cache_bytes is not None and flops.encode is not None
    ]


def _flops_ratios(shape: TransformerShape) -> dict[str, float]:
    counted = {variant: count_flops(variant, shape).step for variant in Variant}
    return {variant.value: flops / counted[Variant.BASE] for variant, flops in counted.items()}


def _describe(shape: TransformerShape) -> str:
    return (
        f"{shape.backbone.value}: {shape.layers} blocks, width {shape.hidden_size}, "
        f"{shape.grid.tokens} tokens"
    )


def _versions() -> dict[str, str | None]:
    return {
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
