"""Accelerations and further LoRAs on toy pipelines: what they may change, and what they leave behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.attention_dispatch import _AttentionBackendRegistry
from safetensors.torch import save_file
from toy_engines import FRAMES, HEIGHT, WIDTH, id_video, install_toy_weights, shot

from blender_addon.core.errors import ErrorCode
from blender_addon.core.model_options import (
    AttentionBackend,
    CompileMode,
    LoraChoice,
    MemoryMode,
    StepCache,
)
from flextraj_backend.engines.base import EngineError
from flextraj_backend.engines.diffusion.accelerations import attention_kernels, compile_blocks
from flextraj_backend.engines.diffusion.extra_loras import load_loras
from flextraj_backend.engines.diffusion.loading import PipelineChoice, forget_pipeline, load_pipeline
from flextraj_backend.engines.diffusion.memory_rungs import place_weights
from flextraj_backend.engines.diffusion.step_caching import StepCacheSettings, step_caching
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.denoising import seeded_generator
from flextraj_backend.models.pipeline_inputs import ConditionCaches
from flextraj_backend.models.prompts import Alignment
from flextraj_backend.models.weights import WEIGHTS_VARIABLE, locate_weights

BOTH = pytest.mark.parametrize("backbone", list(Backbone))
CPU = torch.device("cpu")
STEPS = 10


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_toy_weights(tmp_path_factory.mktemp("weights"), *Backbone)


@pytest.fixture(autouse=True)
def toy_weights(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(weights))


def fresh_pipeline(backbone: Backbone) -> Any:
    """A pipeline of the test's own, with its control."""
    forget_pipeline(CPU)
    choice = PipelineChoice(
        backbone, locate_weights(backbone), (), MemoryMode.RESIDENT, CompileMode.NONE, CPU, torch.float32
    )
    pipeline = load_pipeline(choice, lambda step: None).pipeline
    forget_pipeline(CPU)
    return pipeline


class Run:
    """Runs on one pipeline, from one photo and one encoded condition."""

    def __init__(self, pipeline: Any, guidance: float = 5.0) -> None:
        self.pipeline, self.guidance = pipeline, guidance
        self.ids = id_video(shot())
        self.texts = pipeline.encode_prompts("a red ball", "bad", Alignment.ALIGNED, guidance)
        self.condition: ConditionCaches = self.encode()

    def encode(self) -> ConditionCaches:
        latents = self.pipeline.encode_condition_videos(self.ids, np.zeros_like(self.ids))
        return self.pipeline.encode_condition(latents, self.texts)

    def __call__(
        self, choice: StepCache = StepCache.NONE, settings: StepCacheSettings | None = None
    ) -> torch.Tensor:
        photo = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        return self.pipeline(
            photo,
            generator=seeded_generator(1),
            condition=self.condition,
            texts=self.texts,
            guidance_scale=self.guidance,
            num_inference_steps=STEPS,
            output_type="latent",
            step_cache=step_caching(
                self.pipeline.transformer,
                choice,
                STEPS,
                lambda: float(self.pipeline.current_timestep),
                settings,
            ),
        ).frames

    @property
    def blocks(self) -> Any:
        transformer = self.pipeline.transformer
        return getattr(transformer, "transformer_blocks", None) or transformer.blocks


@pytest.fixture(scope="module", params=list(Backbone))
def run(request: pytest.FixtureRequest, weights: Path) -> Iterator[Run]:
    """A pipeline that tests share; they must leave it as it was."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(WEIGHTS_VARIABLE, str(weights))
        yield Run(fresh_pipeline(request.param))


def relative(one: torch.Tensor, other: torch.Tensor) -> float:
    return ((one - other).norm() / other.norm()).item()


class Counter:
    """Counts how often a layer of each block computes."""

    def __init__(self, blocks: Any, name: str) -> None:
        self.calls = 0
        self._handles = [block.get_submodule(name).register_forward_hook(self._count) for block in blocks]

    def _count(self, *_: Any) -> None:
        self.calls += 1

    def stop(self) -> int:
        for handle in self._handles:
            handle.remove()
        return self.calls


@pytest.mark.parametrize("choice", [choice for choice in StepCache if choice is not StepCache.NONE])
def test_a_step_cache_skips_work_stays_close_and_leaves_nothing_behind(run: Run, choice: StepCache) -> None:
    exact = run()
    # So high that the random blocks of a toy are similar enough.
    settings = StepCacheSettings(first_block_threshold=0.5)
    all_attention, attention = Counter(run.blocks, "attn1.to_q"), Counter(run.blocks, "attn1.to_q")
    run()
    everything = all_attention.stop()
    attention.calls = 0
    cached = run(choice, settings)
    assert 0.2 * everything < attention.stop() < everything
    assert 0 < relative(cached, exact) < 0.3
    assert torch.equal(run(), exact)


def test_a_first_block_cache_that_tolerates_no_change_is_exact(run: Run) -> None:
    assert torch.equal(run(StepCache.FIRST_BLOCK, StepCacheSettings(first_block_threshold=0)), run())


@pytest.mark.parametrize("choice", [StepCache.PYRAMID, StepCache.FASTER])
def test_guidance_halves_reuse_their_own_attention_and_not_each_others(
    choice: StepCache, weights: Path
) -> None:
    run = Run(fresh_pipeline(Backbone.WAN))
    outputs: list[torch.Tensor] = []
    # The first block's does not depend on the text yet.
    handle = run.blocks[1].attn1.register_forward_hook(lambda *call: outputs.append(call[2]))
    run(choice)
    handle.remove()
    assert len(outputs) == 2 * STEPS
    # Prompt and negative prompt take turns. Pyramid repeats a half's last attention, faster continues it.
    slope = {StepCache.PYRAMID: 0.0, StepCache.FASTER: 0.5}[choice]
    reused = [
        [
            torch.equal(now, before + slope * (before - earlier))
            for earlier, before, now in zip(half, half[1:], half[2:], strict=False)
        ]
        for half in (outputs[0::2], outputs[1::2])
    ]
    assert any(reused[0]) and reused[0] == reused[1]


def test_a_run_that_breaks_off_leaves_no_step_cache_on(run: Run) -> None:
    exact = run()
    with (
        pytest.raises(KeyboardInterrupt),
        step_caching(run.pipeline.transformer, StepCache.MAG, STEPS, lambda: 0),
    ):
        raise KeyboardInterrupt
    assert torch.equal(run(), exact)


@BOTH
def test_compiled_blocks_make_the_same_video(backbone: Backbone) -> None:
    torch._dynamo.reset()
    run = Run(fresh_pipeline(backbone))
    exact = run()
    # Traced and checked as for a real compilation, which would take half a minute.
    compile_blocks(run.pipeline.transformer, backend="eager")
    assert relative(run(), exact) < 1e-5
    assert all(block._compiled_call_impl is not None for block in run.blocks)
    torch._dynamo.reset()


def test_chosen_attention_kernels_run_and_the_former_ones_come_back(run: Run) -> None:
    before = _AttentionBackendRegistry._active_backend
    exact = run()
    with attention_kernels(AttentionBackend.NATIVE):
        assert relative(run(), exact) < 1e-5
    with pytest.raises(EngineError, match="choose 'auto'"), attention_kernels(AttentionBackend.SAGE):
        pass
    assert _AttentionBackendRegistry._active_backend == before


def lora_file(
    folder: Path,
    name: str,
    layers: dict[str, tuple[int, int]],
    rank: int = 2,
    metadata: dict[str, str] | None = None,
) -> LoraChoice:
    """Write a random LoRA for layers of (inputs, outputs)."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for layer, (inputs, outputs) in layers.items():
        tensors[f"{layer}.lora_A.weight"] = torch.randn(rank, inputs, generator=generator)
        tensors[f"{layer}.lora_B.weight"] = torch.randn(outputs, rank, generator=generator)
    save_file(tensors, folder / "loras" / f"{name}.safetensors", metadata)
    return LoraChoice(name)


def style(backbone: Backbone, weights: Path) -> LoraChoice:
    """A LoRA on attention and feed-forward layers."""
    if backbone is Backbone.COGVIDEOX:
        layers = {"attn1.to_k": (32, 32), "ff.net.0.proj": (32, 128), "norm1.linear": (24, 192)}
        prefix = "transformer.transformer_blocks"
    else:
        layers = {"attn1.to_k": (40, 40), "attn2.to_q": (40, 40), "ffn.net.2": (64, 40)}
        prefix = "transformer.blocks"
    sizes = {f"{prefix}.{block}.{name}": size for block in range(2) for name, size in layers.items()}
    return lora_file(weights, f"style-{backbone}", sizes)


@BOTH
def test_a_style_lora_leaves_the_control_alone(backbone: Backbone, weights: Path) -> None:
    plain, styled = Run(fresh_pipeline(backbone)), fresh_pipeline(backbone)
    load_loras(styled, [style(backbone, weights)])
    run = Run(styled)
    for one, other in zip(plain.condition.prompt.keys, run.condition.prompt.keys, strict=True):
        assert torch.equal(one, other)
    for one, other in zip(plain.condition.prompt.values, run.condition.prompt.values, strict=True):
        assert torch.equal(one, other)
    assert relative(run(), plain()) > 0.01


@BOTH
def test_a_style_lora_works_with_offloaded_8_bit_weights(backbone: Backbone, weights: Path) -> None:
    choice = style(backbone, weights)
    runs = []
    for rung in (MemoryMode.RESIDENT, MemoryMode.FP8_WEIGHTS):
        pipeline = fresh_pipeline(backbone)
        load_loras(pipeline, [choice])
        place_weights(pipeline, rung, CPU)
        runs.append(Run(pipeline)())
    assert relative(runs[1], runs[0]) < 0.1


@BOTH
def test_a_few_step_lora_runs_without_guidance(backbone: Backbone, weights: Path) -> None:
    pipeline = fresh_pipeline(backbone)
    load_loras(pipeline, [style(backbone, weights)])
    run = Run(pipeline, guidance=1.0)
    assert run.texts.negative is None
    assert run(StepCache.FASTER).isfinite().all()


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ({"transformer.blocks.0.attn1.to_q": (32, 32)}, "no layer 'blocks.0.attn1.to_q'"),
        ({"transformer.transformer_blocks.0.attn1.to_q": (16, 32)}, "other shapes"),
        ({"text_encoder.layer": (4, 4)}, "no layer"),
    ],
)
def test_a_lora_of_another_model_is_refused_and_says_why(
    layers: dict[str, tuple[int, int]], words: str, weights: Path
) -> None:
    choice = lora_file(weights, "strange", layers)
    with pytest.raises(EngineError, match=words) as caught:
        load_loras(fresh_pipeline(Backbone.COGVIDEOX), [choice])
    assert caught.value.code is ErrorCode.REQUEST
    assert "'strange' does not fit" in caught.value.message


def test_several_loras_add_up(weights: Path) -> None:
    layer = {"transformer.transformer_blocks.0.attn1.to_v": (32, 32)}
    one, two = lora_file(weights, "one", layer), lora_file(weights, "two.v2", layer)
    doubled, both = fresh_pipeline(Backbone.COGVIDEOX), fresh_pipeline(Backbone.COGVIDEOX)
    load_loras(doubled, [LoraChoice(one.name, 2.0)])
    load_loras(both, [one, two])
    assert relative(Run(both)(), Run(doubled)()) < 1e-5


@BOTH
def test_a_loras_own_alpha_is_its_strength(backbone: Backbone, weights: Path) -> None:
    block = "transformer_blocks.0.attn1.to_k" if backbone is Backbone.COGVIDEOX else "blocks.0.attn1.to_k"
    side = 32 if backbone is Backbone.COGVIDEOX else 40
    layer = {f"transformer.{block}": (side, side)}
    config = {"r": 2, "lora_alpha": 1.0, "target_modules": [block]}
    header = {f"transformer.{name}": value for name, value in config.items()}
    plain = lora_file(weights, f"plain-{backbone}", layer)
    metadata = {"format": "pt", "lora_adapter_metadata": json.dumps(header)}
    scaled = lora_file(weights, f"scaled-{backbone}", layer, metadata=metadata)
    with_alpha, at_half = fresh_pipeline(backbone), fresh_pipeline(backbone)
    load_loras(with_alpha, [scaled])
    load_loras(at_half, [LoraChoice(plain.name, 0.5)])
    assert relative(Run(with_alpha)(), Run(at_half)()) < 1e-5


def test_tiles_of_the_vae_lose_no_pixels(run: Run) -> None:
    pipeline = fresh_pipeline(run.pipeline.backbone)
    place_weights(pipeline, MemoryMode.FP8_TILED, CPU)
    video = pipeline.decode_latents(run())
    assert video.shape[2:] == (FRAMES, HEIGHT, WIDTH)
