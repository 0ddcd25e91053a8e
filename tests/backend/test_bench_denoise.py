"""`flextraj bench denoise`: what a reader of its table, of its file and of the estimates relies on."""

from __future__ import annotations

import importlib.util
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import nn
from toy_transformers import STOCK, Toy, toy

from flextraj_backend import cli
from flextraj_backend.bench import denoise_rows, denoise_timing
from flextraj_backend.bench.concatenation import ConcatenatedCogVideoX, ConcatenatedWan
from flextraj_backend.bench.denoise_flops import StepFlops, count_flops
from flextraj_backend.bench.denoise_table import DenoiseReport, DenoiseRow, Variant, print_report
from flextraj_backend.bench.denoise_timing import StepTime
from flextraj_backend.bench.denoise_variants import denoising_step
from flextraj_backend.models import flops
from flextraj_backend.models.backbone import Backbone, TokenGrid
from flextraj_backend.models.real_configs import RELEASED, SCALED_DOWN, TransformerShape
from flextraj_backend.models.token_pruning import REPRESENTATIVES

BOTH = pytest.mark.parametrize("backbone", list(Backbone))
ROW_KEYS = {"backbone", "variant", "flops", "flops_ratio", "seconds", "seconds_ratio", "peak_memory"}

# model_facts.md B, in 10^12 operations: 49x480x720 and 49x480x832.
SIMULATED = {
    Backbone.COGVIDEOX: (332.2, 982.4, 821.4, 493.2, 480.5),
    Backbone.WAN: (55.1, 129.9, 120.4, 64.5, 79.9),
}


def tiny(backbone: Backbone) -> TransformerShape:
    """A shape whose step takes milliseconds."""
    shape = SCALED_DOWN[backbone]
    config = {**shape.config, "num_layers": 2, "num_attention_heads": 1}
    grid = TokenGrid(2, 2, 3)
    if backbone is Backbone.COGVIDEOX:
        config.update(sample_width=6, sample_height=4, sample_frames=5)
    else:
        config.update(ffn_dim=32)
    return replace(shape, config=MappingProxyType(config), grid=grid)


@pytest.fixture
def tiny_models(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RELEASED", "SCALED_DOWN"):
        monkeypatch.setattr(denoise_rows, name, {backbone: tiny(backbone) for backbone in Backbone})


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denoise_rows, "large_gpu", lambda: None)


def run(*arguments: str) -> Any:
    with pytest.raises(SystemExit) as ended:
        cli.main(["bench", "denoise", *arguments])
    return ended.value.code


# Operations


@cache
def released_step(variant: Variant, backbone: Backbone, layers: int) -> StepFlops:
    return count_flops(variant, RELEASED[backbone].with_layers(layers))


def full_depth(variant: Variant, backbone: Backbone) -> float:
    """Operations at full depth: they grow by the same amount with every block, so two counts tell."""
    shape = RELEASED[backbone]
    if variant is Variant.CONTROLNET:  # two blocks have one copy, five have two
        added = [
            released_step(variant, backbone, layers).step - released_step(Variant.BASE, backbone, layers).step
            for layers in (2, 5)
        ]
        control = added[0] + (shape.controlnet_blocks - 1) * (added[1] - added[0])
        return full_depth(Variant.BASE, backbone) + control
    two, three = (released_step(variant, backbone, layers).step for layers in (2, 3))
    return two + (shape.layers - 2) * (three - two)


@BOTH
def test_the_released_models_cost_what_was_computed_before(backbone: Backbone) -> None:
    """2 %: the last block's unread condition tokens are left out, and Wan's timestep per token counts."""
    variants = (Variant.BASE, Variant.CONCAT, Variant.MASKED, Variant.CACHED, Variant.CONTROLNET)
    for variant, expected in zip(variants, SIMULATED[backbone], strict=True):
        counted = full_depth(variant, backbone) / 1e12
        assert counted == pytest.approx(expected, rel=0.02), variant


@BOTH
def test_a_cached_step_stays_within_its_limit_and_pruning_saves(backbone: Backbone) -> None:
    costs = {variant: full_depth(variant, backbone) for variant in Variant}
    ratios = {variant: cost / costs[Variant.BASE] for variant, cost in costs.items()}
    limit = {Backbone.COGVIDEOX: 1.55, Backbone.WAN: 1.25}[backbone]
    assert ratios[Variant.CACHED] <= limit
    if backbone is Backbone.COGVIDEOX:
        assert ratios[Variant.PRUNED_20] < 1.105 and ratios[Variant.PRUNED_5] < 1.04
    assert 1 < ratios[Variant.PRUNED_5] < ratios[Variant.PRUNED_20] < ratios[Variant.CACHED]
    assert ratios[Variant.CACHED] < ratios[Variant.MASKED] < ratios[Variant.CONCAT]


@BOTH
def test_the_formulas_behind_the_estimates_agree_with_the_count(backbone: Backbone) -> None:
    """2.5 %: in two blocks, patching, fusing and the output weigh as much as in twenty."""
    shape = RELEASED[backbone].with_layers(2)

    def pruned(occupied: float) -> float:
        return flops.cached_step_flops(shape, kept=occupied + REPRESENTATIVES / shape.grid.tokens)

    for variant, formula in (
        (Variant.BASE, flops.base_step_flops(shape)),
        (Variant.MASKED, flops.masked_step_flops(shape)),
        (Variant.CACHED, flops.cached_step_flops(shape)),
        (Variant.CONTROLNET, flops.controlnet_step_flops(shape)),
        (Variant.PRUNED_20, pruned(0.2)),
        (Variant.PRUNED_5, pruned(0.05)),
    ):
        assert formula == pytest.approx(released_step(variant, backbone, 2).step, rel=0.025), variant
    encode = released_step(Variant.CACHED, backbone, 2).encode
    assert flops.encode_flops(shape) == pytest.approx(encode, rel=0.025)


def test_attention_is_counted_without_numbers() -> None:
    """The count of a shape grows with the square of the tokens where attention dominates."""
    shape = tiny(Backbone.WAN)
    small, large = (
        count_flops(Variant.BASE, replace(shape, grid=TokenGrid(frames, 64, 64))).step for frames in (16, 32)
    )
    assert large / small == pytest.approx(4, rel=0.05)


def test_one_cache_holds_both_halves_of_the_guidance_on_cogvideox() -> None:
    """42 blocks, keys and values, 17550 tokens of 3072 in bfloat16; the published code keeps it twice."""
    counted = released_step(Variant.CACHED, Backbone.COGVIDEOX, 2)
    assert counted.cache_bytes == 2 * 2 * 17550 * 3072 * 2
    pruned = released_step(Variant.PRUNED_20, Backbone.COGVIDEOX, 2)
    kept = 3510 + REPRESENTATIVES
    assert pruned.cache_bytes == 2 * 2 * kept * 3072 * 2 + kept * 8  # and which tokens they are


@BOTH
def test_the_small_model_that_a_cpu_times_has_the_shares_of_the_released_one(backbone: Backbone) -> None:
    small, released = SCALED_DOWN[backbone], RELEASED[backbone]
    small_base = count_flops(Variant.BASE, small.with_layers(2)).step
    released_base = released_step(Variant.BASE, backbone, 2).step
    assert small.grid.tokens / small.hidden_size == pytest.approx(
        released.grid.tokens / released.hidden_size, rel=0.01
    )
    assert small.controlnet_blocks / small.layers == pytest.approx(
        released.controlnet_blocks / released.layers, rel=0.02
    )
    for variant in (Variant.CONCAT, Variant.CACHED, Variant.PRUNED_20):
        ratio = count_flops(variant, small.with_layers(2)).step / small_base
        assert ratio == pytest.approx(released_step(variant, backbone, 2).step / released_base, rel=0.02), (
            variant
        )


# The peer


@BOTH
@torch.no_grad()
def test_without_lora_one_block_of_the_unmasked_peer_is_the_masked_model(backbone: Backbone) -> None:
    """In the first block the condition has seen nothing yet; the peer's condition shares the timestep."""
    model = toy(backbone, layers=1)
    for name, parameter in model.transformer.named_parameters():
        if ".lora_B." in name:
            nn.init.zeros_(parameter)
    stock = STOCK[backbone].from_config(model.transformer.config)
    names = {
        name.replace(".base_layer.", "."): tensor
        for name, tensor in model.transformer.state_dict().items()
        if ".lora_" not in name and "fuse_linear" not in name
    }
    stock.load_state_dict(names)
    wrapper = {Backbone.COGVIDEOX: ConcatenatedCogVideoX, Backbone.WAN: ConcatenatedWan}[backbone]
    peer = wrapper(stock.eval(), model.transformer.fuse_linear)
    timestep = model.timestep(0.0)
    output = peer(model.latents, **model.inputs, timestep=timestep, return_dict=False)
    torch.testing.assert_close(output, model.joint(0.0), rtol=0, atol=1e-5)
    assert not torch.allclose(output, stock_prediction(stock, model), atol=1e-3)


def stock_prediction(stock: Any, model: Toy) -> torch.Tensor:
    """After the peer ran: its hooks are gone."""
    return stock(**model.inputs, timestep=model.timestep(0.0), return_dict=False)[0]


# The command


def test_flops_only_writes_every_row_with_ratios_to_base(tiny_models, tmp_path: Path, capsys) -> None:
    path = tmp_path / "rows.json"
    assert run("--flops-only", "--json", str(path)) == 0
    document = json.loads(path.read_text())
    rows = document["rows"]
    assert [(row["backbone"], row["variant"]) for row in rows] == [
        (backbone, variant)
        for backbone in ("cogvideox", "wan")
        for variant in ("base", "concat", "masked", "cached", "controlnet", "pruned20", "pruned5")
    ]
    for row in rows:
        base = next(r for r in rows if r["backbone"] == row["backbone"] and r["variant"] == "base")
        assert set(row) == ROW_KEYS
        assert row["flops"] > 0 and row["flops_ratio"] == row["flops"] / base["flops"]
        assert row["seconds"] is row["seconds_ratio"] is row["peak_memory"] is None
    assert document["versions"]["torch"] == torch.__version__
    caches = {(row["backbone"], row["variant"]): row for row in document["condition_caches"]}
    assert (
        caches["cogvideox", "cached"]["total_bytes"] * 2 == caches["cogvideox", "cached"]["published_bytes"]
    )
    assert caches["wan", "cached"]["total_bytes"] == caches["wan", "cached"]["published_bytes"]
    assert [file.name for file in tmp_path.iterdir()] == ["rows.json"]
    printed = capsys.readouterr().out
    assert "Nothing was timed" in printed and "pruned20" in printed


def test_without_a_large_gpu_a_small_model_is_timed_and_the_output_says_so(
    tiny_models, no_gpu, tmp_path: Path, capsys
) -> None:
    path = tmp_path / "rows.json"
    assert run("--json", str(path), "--backbone", "wan") == 0
    document = json.loads(path.read_text())
    assert len(document["rows"]) == 7
    base = document["rows"][0]["seconds"]
    for row in document["rows"]:
        assert row["backbone"] == "wan" and row["seconds"] > 0 and row["peak_memory"] is None
        assert row["seconds_ratio"] == row["seconds"] / base
    assert "SCALED DOWN" in document["timing"]
    assert set(document["timed_flops_ratios"]["wan"]) == {variant.value for variant in Variant}
    assert "SCALED DOWN" in capsys.readouterr().out


def test_a_large_gpu_times_the_released_size(tiny_models, monkeypatch, tmp_path: Path) -> None:
    device = torch.device("cuda", 0)
    timed = []

    def time_on_gpu(shape: TransformerShape, gpu: torch.device) -> dict[Variant, StepTime]:
        timed.append((shape, gpu))
        return {variant: StepTime(0.5, 2**34) for variant in Variant} | {Variant.CONCAT: StepTime(None, None)}

    monkeypatch.setattr(denoise_rows, "large_gpu", lambda: device)
    monkeypatch.setattr(denoise_rows, "time_on_gpu", time_on_gpu)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "Large GPU")
    path = tmp_path / "rows.json"
    assert run("--json", str(path), "--backbone", "cogvideox") == 0
    assert timed == [(denoise_rows.RELEASED[Backbone.COGVIDEOX], device)]
    document = json.loads(path.read_text())
    rows = {row["variant"]: row for row in document["rows"]}
    assert rows["cached"]["seconds"] == 0.5 and rows["cached"]["peak_memory"] == 2**34
    assert rows["concat"]["seconds"] is None and rows["concat"]["seconds_ratio"] is None
    assert "Large GPU" in document["timing"] and document["timed_flops_ratios"] is None


@pytest.mark.parametrize(("gigabytes", "is_large"), [(24, False), (39, False), (40, True), (80, True)])
def test_the_released_size_needs_a_gpu_of_40_gb(gigabytes: int, is_large: bool, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    properties = SimpleNamespace(total_memory=gigabytes * 10**9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    assert (denoise_timing.large_gpu() is not None) == is_large


class FakeEvent:
    """A CUDA event on a clock that moves 100 ms with every record."""

    clock: Iterator[int] = iter(range(0, 10**9, 100))

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing

    def record(self) -> None:
        self.time = next(self.clock)

    def synchronize(self) -> None: ...

    def elapsed_time(self, end: FakeEvent) -> float:
        return float(end.time - self.time)


@pytest.fixture
def fake_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 123)


def test_gpu_timing_takes_events_and_the_peak_of_each_variant(fake_cuda) -> None:
    times = denoise_timing.time_on_gpu(tiny(Backbone.COGVIDEOX), torch.device("cpu"))
    assert times == {variant: StepTime(0.1, 123) for variant in Variant}


def test_a_variant_that_does_not_fit_into_the_gpu_has_no_time(fake_cuda, monkeypatch) -> None:
    def build(variant: Variant, *arguments: Any) -> Any:
        if variant is Variant.CONCAT:
            raise torch.cuda.OutOfMemoryError
        return denoising_step(variant, *arguments)

    monkeypatch.setattr(denoise_timing, "denoising_step", build)
    times = denoise_timing.time_on_gpu(tiny(Backbone.WAN), torch.device("cpu"))
    assert times.pop(Variant.CONCAT) == StepTime(None, None)
    assert set(times.values()) == {StepTime(0.1, 123)}


@BOTH
@torch.no_grad()
def test_every_variant_runs_in_bfloat16_with_the_parts_that_stay_in_float32(backbone: Backbone) -> None:
    for variant in Variant:
        step = denoising_step(variant, tiny(backbone), torch.device("cpu"), torch.bfloat16)
        if step.encode is not None:
            assert step.encode().keys[0].dtype is torch.bfloat16
        output = step.run()
        assert output.dtype is torch.bfloat16 and torch.isfinite(output).all(), variant
    assert torch.get_default_dtype() is torch.float32


def test_a_row_over_its_limit_is_marked() -> None:
    def printed(ratio: float, seconds_ratio: float | None) -> str:
        row = DenoiseRow(Backbone.WAN, Variant.CACHED, 10**12, ratio, None, seconds_ratio, None)
        stream = io.StringIO()
        print_report(DenoiseReport([row], [], "", None, {}), Console(file=stream, width=100))
        return stream.getvalue()

    assert "1.25 ok" in printed(1.2, None) and "1.25 ok" in printed(1.2, 1.25)
    assert "1.25 OVER" in printed(1.3, None) and "1.25 OVER" in printed(1.2, 1.3)


def test_a_missing_folder_is_named_before_anything_is_counted(monkeypatch, tmp_path: Path, capsys) -> None:
    monkeypatch.setattr(denoise_rows, "count_flops", lambda *_: pytest.fail("counted"))
    assert run("--flops-only", "--json", str(tmp_path / "gone" / "rows.json")) == 2
    assert "There is no folder" in capsys.readouterr().err


def test_without_torch_the_command_says_what_to_install(monkeypatch, capsys) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert run("--flops-only") == 2
    error = capsys.readouterr().err
    assert 'pip install "flextraj[models]"' in error and error.count("\n") == 1
