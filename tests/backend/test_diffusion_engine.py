"""The engines `cogvideox` and `wan` on toy weights: what a user would lose between request and video."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.hooks import CpuOffload
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from numpy.typing import NDArray
from safetensors.torch import save_file
from toy_engines import (
    FRAMES,
    HEIGHT,
    STEPS,
    WIDTH,
    Watcher,
    install_toy_weights,
    job_inputs,
    request,
    shot,
)

from blender_addon.core.errors import ErrorCode, FlexTrajError
from blender_addon.core.model_options import (
    AttentionBackend,
    CacheStorage,
    ConditionTokens,
    LoraChoice,
    MemoryMode,
    ModelOptions,
    StepCache,
)
from flextraj_backend.engines.base import Cancelled, EngineError, EngineOutput, Progress
from flextraj_backend.engines.diffusion import engine as diffusion_engine
from flextraj_backend.engines.diffusion import loading, requirements
from flextraj_backend.engines.registry import engine
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.devices import GIB, LIMIT_VARIABLE, Device, DeviceKind
from flextraj_backend.models.weights import WEIGHTS_VARIABLE

BOTH = pytest.mark.parametrize("backbone", list(Backbone))
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_toy_weights(tmp_path_factory.mktemp("weights"), *Backbone)


@pytest.fixture(autouse=True)
def toy_weights(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(weights))
    monkeypatch.delenv(LIMIT_VARIABLE, raising=False)


@pytest.fixture(scope="module", autouse=True)
def no_pipeline_left_behind() -> Iterator[None]:
    yield
    loading.forget_pipeline(CPU)


def render(
    backbone: Backbone,
    model: ModelOptions | None = None,
    *,
    frames: int = FRAMES,
    aligned: bool = True,
    watcher: Watcher | None = None,
    **settings: Any,
) -> EngineOutput:
    watcher = watcher or Watcher()
    inputs = job_inputs(request(backbone, model, **settings), shot(frames, aligned=aligned))
    return engine(backbone.value).render(inputs, watcher.report, watcher.cancelled)


def difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.abs(one.astype(int) - other).mean())


@BOTH
def test_a_photo_and_trajectories_become_a_video_that_can_be_made_again(backbone: Backbone) -> None:
    watcher = Watcher()
    first = render(backbone, seed=5, watcher=watcher)
    assert first.frames.shape == (FRAMES, HEIGHT, WIDTH, 3) and first.frames.dtype == np.uint8
    assert first.frames.std() > 1
    assert watcher.phases == ["loading", "encoding prompt", "encoding condition", "denoising", "decoding"]
    assert [item.step for item in watcher.seen if item.phase == "denoising"] == [0, 1, 2, STEPS]
    again = render(backbone, seed=5)
    np.testing.assert_array_equal(again.frames, first.frames)
    assert difference(render(backbone, seed=6).frames, first.frames) > 1
    loading.forget_pipeline(CPU)
    np.testing.assert_array_equal(render(backbone, seed=5).frames, first.frames)


@BOTH
def test_the_sidecar_tells_how_to_make_the_video_again(backbone: Backbone, weights: Path) -> None:
    output = render(backbone, ModelOptions(condition_tokens=ConditionTokens.OCCUPIED), aligned=False)
    record = json.loads(json.dumps(output.record))
    assert record["prompt"] == "unaligned, a red ball moving right"
    assert len(record["negative_prompt"]) > 20
    assert record["base_model"] == "base"
    assert record["control"]["rank"] == 4 and len(record["control"]["sha256"]) == 64
    assert (
        record["control"]["size"] == (weights / backbone / f"flextraj_{backbone}.safetensors").stat().st_size
    )
    assert (record["steps"], record["guidance_scale"]) == (STEPS, {"cogvideox": 6.0, "wan": 5.0}[backbone])
    (window,) = record["windows"]
    # On Wan, whose tokens are larger, every one of so small a clip has a point or a neighbour with one.
    assert 0 < window["kept_tokens"] <= window["all_tokens"]
    assert backbone is Backbone.WAN or window["kept_tokens"] < window["all_tokens"]
    assert window["cache_bytes"] > 0 and (window["start"], window["stop"]) == (0, FRAMES)
    assert record["memory"]["rung"] == "resident" and record["memory"]["explanation"]
    assert {"torch", "diffusers"} <= record["versions"].keys()
    assert set(record["seconds"]) == {
        *("loading", "encoding prompt", "encoding condition", "denoising", "decoding")
    }
    assert render(backbone).record["prompt"] == "a red ball moving right"


@BOTH
def test_strength_zero_is_the_base_model_whatever_the_trajectories(backbone: Backbone) -> None:
    base = ModelOptions(strength=0.0)
    job = request(backbone, base)
    inputs = job_inputs(job, shot())
    without = replace(inputs, conditioning=replace(inputs.conditioning, ids=inputs.conditioning.color))
    watcher = Watcher()
    maker = engine(backbone.value)
    one = maker.render(inputs, watcher.report, watcher.cancelled)
    other = maker.render(without, watcher.report, watcher.cancelled)
    np.testing.assert_array_equal(one.frames, other.frames)
    assert "encoding condition" not in watcher.phases
    assert one.record["windows"][0]["kept_tokens"] is None
    assert difference(one.frames, render(backbone).frames) > 0.5
    half = render(backbone, ModelOptions(strength=0.5)).frames
    assert difference(half, one.frames) > 0 and difference(half, render(backbone).frames) > 0


@BOTH
def test_an_8_bit_condition_takes_less_memory_and_hardly_changes_the_video(backbone: Backbone) -> None:
    exact, small = render(backbone), render(backbone, ModelOptions(cache_storage=CacheStorage.FP8))
    assert small.record["windows"][0]["cache_bytes"] < 0.5 * exact.record["windows"][0]["cache_bytes"]
    assert 0 < difference(small.frames, exact.frames) < 3


@BOTH
@pytest.mark.parametrize("mode", [mode for mode in MemoryMode if mode is not MemoryMode.AUTO])
def test_every_rung_of_the_memory_ladder_makes_the_video(backbone: Backbone, mode: MemoryMode) -> None:
    exact = render(backbone)
    output = render(backbone, ModelOptions(memory=mode))
    assert output.record["memory"]["rung"] == mode
    if mode in (MemoryMode.RESIDENT, MemoryMode.GROUP_OFFLOAD):
        np.testing.assert_array_equal(output.frames, exact.frames)
    elif mode is MemoryMode.MODEL_OFFLOAD:
        # Its hooks copy what was a view before, which rounds a few values differently.
        np.testing.assert_allclose(output.frames.astype(int), exact.frames, atol=1)
    else:
        assert 0 < difference(output.frames, exact.frames) < 30
        assert any("change the picture" in warning for warning in output.warnings)


@BOTH
def test_with_model_offload_large_models_are_never_on_the_device_together(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    there: set[str] = set()
    steps: list[frozenset[str]] = []
    bring, reset = CpuOffload.pre_forward, DiffusionPipeline.remove_all_hooks

    def watched_bring(hook: CpuOffload, module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        if hook.prev_module_hook is not None:
            there.discard(kind(hook.prev_module_hook.model))
        there.add(kind(module))
        steps.append(frozenset(there))
        return bring(hook, module, *args, **kwargs)

    def watched_reset(pipeline: DiffusionPipeline) -> None:
        there.clear()
        reset(pipeline)

    def kind(module: torch.nn.Module) -> str:
        name = type(module).__name__
        return "transformer" if "Transformer" in name else "vae" if "Autoencoder" in name else "text encoder"

    monkeypatch.setattr(CpuOffload, "pre_forward", watched_bring)
    monkeypatch.setattr(DiffusionPipeline, "remove_all_hooks", watched_reset)
    render(backbone, ModelOptions(memory=MemoryMode.MODEL_OFFLOAD))
    assert steps[0] == {"text encoder"} and steps[-1] == {"vae"}
    # The VAE joins the transformer for the photo alone, and leaves before the first step.
    together = [len(models) > 1 for models in steps]
    assert frozenset(("transformer", "vae")) in steps
    assert all(models == {"transformer", "vae"} for models in steps if len(models) > 1)
    assert steps[together.index(True) + together.count(True)] == {"transformer"}


@BOTH
def test_a_cancelled_job_stops_within_one_step_and_the_next_one_runs(backbone: Backbone) -> None:
    whole = render(backbone).frames
    watcher = Watcher(cancel_at=Progress("denoising", 1, STEPS))
    with pytest.raises(Cancelled):
        render(backbone, watcher=watcher)
    assert watcher.seen[-1] == Progress("denoising", 1, STEPS)
    np.testing.assert_array_equal(render(backbone).frames, whole)


@pytest.mark.parametrize("phase", ["loading", "encoding prompt", "encoding condition", "decoding"])
def test_a_job_can_be_cancelled_before_and_after_the_denoising(phase: str) -> None:
    loading.forget_pipeline(CPU)
    steps = {"loading": 3, "encoding condition": 2}.get(phase, 1)
    with pytest.raises(Cancelled):
        render(Backbone.WAN, watcher=Watcher(cancel_at=Progress(phase, 0, steps)))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_a_job_that_runs_out_of_memory_gets_the_ladders_advice_and_the_next_one_runs(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = render(Backbone.WAN).frames
    loaded = loading._slot.loaded
    assert loaded is not None
    calls = 0

    def fail_in_the_second_step(*_: Any, **__: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise error

    handle = loaded.pipeline.transformer.register_forward_pre_hook(fail_in_the_second_step, with_kwargs=False)
    # The condition of both prompts is encoded first, in two calls.
    calls = -2
    with pytest.raises(EngineError) as caught:
        render(Backbone.WAN)
    handle.remove()
    assert caught.value.code is ErrorCode.MEMORY
    assert "ran out of memory while denoising" in caught.value.message
    assert "memory mode 'resident'" in caught.value.message
    assert loading._slot.loaded is None
    np.testing.assert_array_equal(render(Backbone.WAN).frames, whole)


def test_other_defects_are_not_taken_for_a_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr(loading, "load_adapter", fail)
    loading.forget_pipeline(CPU)
    with pytest.raises(RuntimeError, match="multiplied"):
        render(Backbone.WAN)


def test_a_memory_limit_binds_while_a_job_runs_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_DATA)
    monkeypatch.setenv(LIMIT_VARIABLE, "1025MiB")
    with pytest.raises(EngineError, match="ran out of memory"):
        render(Backbone.COGVIDEOX, ModelOptions(memory=MemoryMode.RESIDENT), steps=1)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    monkeypatch.delenv(LIMIT_VARIABLE)
    render(Backbone.COGVIDEOX, steps=1)


@BOTH
def test_the_engine_says_what_it_can_make_with_these_weights(backbone: Backbone) -> None:
    maker = engine(backbone.value)
    assert maker.availability().available, maker.availability().reason
    limits = maker.limits()
    assert limits.frame_step == 4 and limits.frame_offset == 1
    fixed = (limits.fixed_width, limits.fixed_height)
    assert fixed == ((WIDTH, HEIGHT) if backbone is Backbone.COGVIDEOX else (0, 0))
    estimate = maker.prepare(request(backbone), shot())
    assert estimate.seconds > 0 and estimate.memory_bytes > 1 << 20
    assert "memory free" in estimate.note


@pytest.mark.parametrize(
    ("backbone", "frames", "width", "height", "model", "words"),
    [
        (Backbone.COGVIDEOX, 9, 128, 64, ModelOptions(), "96 × 64 pixels and no other size"),
        (Backbone.WAN, 9, 100, 64, ModelOptions(), "multiples of 32"),
        (Backbone.WAN, 10, 96, 64, ModelOptions(), "set Frames to 9"),
        (Backbone.WAN, 1, 96, 64, ModelOptions(), "5 to 1001 frames"),
        (Backbone.COGVIDEOX, 17, 96, 64, ModelOptions(window_overlap=9), "overlap of 1 to 8"),
        (Backbone.WAN, 9, 96, 64, ModelOptions(loras=(LoraChoice("nothing"),)), "no LoRA 'nothing'"),
        (Backbone.WAN, 9, 96, 64, ModelOptions(attention=AttentionBackend.SAGE), "choose 'auto'"),
    ],
)
def test_a_job_that_cannot_be_made_is_refused_before_anything_is_loaded(
    backbone: Backbone, frames: int, width: int, height: int, model: ModelOptions, words: str
) -> None:
    with pytest.raises(FlexTrajError, match=words):
        engine(backbone.value).prepare(request(backbone, model), shot(frames, width=width, height=height))


def test_a_long_shot_and_a_step_cache_show_in_the_estimate() -> None:
    maker = engine(Backbone.COGVIDEOX.value)
    short = maker.prepare(request(Backbone.COGVIDEOX), shot(9))
    options = ModelOptions(window_overlap=4, step_cache=StepCache.FASTER)
    long = maker.prepare(request(Backbone.COGVIDEOX, options), shot(29))
    assert "5 windows of 9 frames" in long.note and "step cache" in long.note
    assert long.seconds > short.seconds and long.memory_bytes > short.memory_bytes


def test_missing_weights_are_a_reason_with_a_command_and_never_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path))
    maker = engine(Backbone.WAN.value)
    availability = maker.availability()
    assert not availability.available
    assert availability.code is ErrorCode.WEIGHTS
    assert "flextraj weights fetch wan" in availability.reason
    assert maker.limits().side_multiple == 32
    with pytest.raises(FlexTrajError, match="flextraj weights"):
        maker.prepare(request(Backbone.WAN), shot())


def test_a_gpu_that_another_job_fills_does_not_make_the_engine_unavailable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    busy = Device(DeviceKind.CUDA, "A GPU", 80 * GIB, GIB // 2, 64 * GIB, (8, 0), 108, True, True)
    monkeypatch.setattr(diffusion_engine, "_device", None)
    monkeypatch.setattr(diffusion_engine, "probe_device", lambda: busy)
    maker = engine(Backbone.WAN.value)
    assert maker.availability().available
    with pytest.raises(FlexTrajError, match="are free on A GPU"):
        maker.prepare(request(Backbone.WAN), shot())
    small = replace(busy, total_bytes=GIB // 4)
    monkeypatch.setattr(diffusion_engine, "_device", small)
    assert "even at the smallest setting" in maker.availability().reason


def test_without_torch_the_reason_is_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "torch" else find_spec(name)
    )
    availability = engine(Backbone.COGVIDEOX.value).availability()
    assert not availability.available
    assert "torch is not installed" in availability.reason and "[models]" in availability.reason


def test_a_damaged_base_model_is_named_and_not_loaded(weights: Path, tmp_path: Path) -> None:
    choice = loading.PipelineChoice(
        Backbone.WAN,
        loading.WeightsLocation(tmp_path, weights / "wan" / "flextraj_wan.safetensors", tmp_path),
        (),
        MemoryMode.RESIDENT,
        ModelOptions().compile,
        CPU,
        torch.float32,
    )
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(EngineError, match="cannot be loaded"):
        loading.load_pipeline(choice, lambda step: None)


def test_listing_and_planning_do_not_import_torch(weights: Path) -> None:
    code = (
        "import sys\n"
        "import flextraj_backend.cli, flextraj_backend.server.serve\n"
        "from flextraj_backend.engines.catalog import engine_infos\n"
        "from flextraj_backend.engines.registry import engines\n"
        "[item.limits() for item in engines()]\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_repeated_render_does_not_load_again_but_sees_new_files(weights: Path) -> None:
    render(Backbone.WAN, steps=1)
    first = loading._slot.loaded
    render(Backbone.WAN, steps=1, seed=3)
    assert loading._slot.loaded is first
    (weights / "wan" / "flextraj_wan.safetensors").touch()
    render(Backbone.WAN, steps=1)
    assert loading._slot.loaded is not first


def test_an_attention_backend_that_is_not_there_says_how_to_get_it() -> None:
    with pytest.raises(EngineError, match=r"needs an NVIDIA GPU.*choose 'auto'"):
        requirements.check_accelerations(ModelOptions(attention=AttentionBackend.CUDNN), has_gpu=False)
    with pytest.raises(EngineError, match="pip install sageattention"):
        requirements.check_accelerations(ModelOptions(attention=AttentionBackend.SAGE), has_gpu=True)
    requirements.check_accelerations(ModelOptions(attention=AttentionBackend.NATIVE), has_gpu=False)


def test_a_style_lora_changes_the_video_and_its_scale_counts(weights: Path) -> None:
    layers = [
        f"transformer.blocks.{index}.{name}" for index in range(2) for name in ("attn1.to_q", "ffn.net.2")
    ]
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for layer in layers:
        inner = 64 if "ffn" in layer else 40
        tensors[f"{layer}.lora_A.weight"] = torch.randn(2, inner, generator=generator)
        tensors[f"{layer}.lora_B.weight"] = torch.randn(40, 2, generator=generator)
    save_file(tensors, weights / "loras" / "oil.paint-1.safetensors")

    def with_scale(scale: float) -> NDArray[np.uint8]:
        return render(Backbone.WAN, ModelOptions(loras=(LoraChoice("oil.paint-1", scale),))).frames

    plain = render(Backbone.WAN).frames
    np.testing.assert_array_equal(with_scale(0.0), plain)
    assert difference(with_scale(1.0), plain) > 1
    assert difference(with_scale(1.0), with_scale(0.3)) > 0.5
