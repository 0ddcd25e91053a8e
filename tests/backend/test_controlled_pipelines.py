"""Runs of both pipelines on toy models: what holds for CogVideoX and Wan alike."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_pipelines as tiny
import torch
from controlled_runs import black_like, distance, id_video, load_pipeline, photo, run, write_models
from diffusers.hooks.first_block_cache import FirstBlockCacheConfig
from diffusers.pipelines.cogvideo.pipeline_cogvideox_image2video import CogVideoXImageToVideoPipeline
from diffusers.pipelines.wan.pipeline_wan_i2v import WanImageToVideoPipeline
from PIL import Image

from blender_addon.core.model_options import (
    CachePlace,
    CacheStorage,
    ConditionTokens,
    GuidanceSchedule,
    SchedulerChoice,
)
from flextraj_backend.image_io import cover_and_crop
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.denoising import seeded_generator
from flextraj_backend.models.pipeline_inputs import ConditionReuse, Texts
from flextraj_backend.models.prompts import NEGATIVE_PROMPTS, Alignment, control_prompt
from flextraj_backend.models.schedulers import make_scheduler

STOCK: dict[Backbone, Any] = {
    Backbone.COGVIDEOX: CogVideoXImageToVideoPipeline,
    Backbone.WAN: WanImageToVideoPipeline,
}


@pytest.fixture(scope="module", params=list(Backbone), ids=str)
def backbone(request: pytest.FixtureRequest) -> Backbone:
    return request.param


@pytest.fixture(scope="module")
def models(backbone: Backbone, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_models(backbone, tmp_path_factory.mktemp(backbone))


@pytest.fixture(scope="module")
def pipeline(backbone: Backbone, models: tuple[Path, Path]) -> Any:
    """Tests must leave it as they found it."""
    return load_pipeline(backbone, *models)


@pytest.fixture(scope="module")
def plain(pipeline: Any) -> torch.Tensor:
    return run(pipeline)


# The base model, the reference, and what the control does


@pytest.mark.parametrize("scheduler", list(SchedulerChoice))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_without_strength_it_is_the_base_model_bit_for_bit(
    backbone: Backbone, models: tuple[Path, Path], scheduler: SchedulerChoice, dtype: torch.dtype
) -> None:
    ours = load_pipeline(backbone, *models, dtype=dtype)
    stock = STOCK[backbone].from_pretrained(models[0], local_files_only=True, dtype=dtype)
    stock.set_progress_bar_config(disable=True)
    stock.scheduler = make_scheduler(backbone, scheduler, stock.scheduler)
    options: dict[str, Any] = {"guidance_scale": 4.0, "num_inference_steps": 4}
    shared = {"prompt": "a dog", "negative_prompt": "bad", **options}
    quirk = {"use_dynamic_cfg": True} if backbone is Backbone.COGVIDEOX else {}
    expected = stock(
        image=Image.fromarray(photo()),
        height=tiny.TINY_HEIGHT,
        width=tiny.TINY_WIDTH,
        num_frames=tiny.TINY_FRAMES,
        generator=seeded_generator(7),
        output_type="pt",
        **shared,
        **quirk,
    ).frames
    made = run(ours, strength=0.0, scheduler=scheduler, output_type="pt", **shared)
    if backbone is Backbone.WAN and scheduler is SchedulerChoice.AUTHORS and dtype is torch.bfloat16:
        # The authors round the timesteps that the model sees; diffusers does not.
        torch.testing.assert_close(made, expected, rtol=0, atol=0.05)
    else:
        assert torch.equal(made, expected)


def test_the_cache_gives_what_computing_the_condition_in_every_step_gives(pipeline: Any) -> None:
    options: dict[str, Any] = {"num_inference_steps": 12, "guidance_scale": 6.0}
    cached = run(pipeline, **options)
    reference = run(pipeline, condition_reuse=ConditionReuse.EVERY_STEP, **options)
    assert distance(cached, reference) < 1e-6


def test_the_trajectories_change_the_video(pipeline: Any, plain: torch.Tensor) -> None:
    assert distance(run(pipeline, id_video=id_video()[::-1].copy()), plain) > 1e-4
    assert distance(run(pipeline, color_video=id_video()), plain) > 1e-4
    assert distance(run(pipeline, strength=0.0), plain) > 1e-2


def test_strength_is_continuous_between_the_base_model_and_beyond_the_training(
    pipeline: Any, plain: torch.Tensor
) -> None:
    base = run(pipeline, strength=0.0)
    from_base = [distance(run(pipeline, strength=s), base) for s in (1e-6, 0.5, 1.0, 2.0)]
    assert from_base == sorted(from_base) and from_base[0] < 1e-4
    assert distance(run(pipeline, strength=1.0 + 1e-6), plain) < 1e-4


# Randomness


def test_a_seed_makes_one_video_and_leaves_the_global_randomness_alone(
    pipeline: Any, plain: torch.Tensor
) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    assert torch.equal(run(pipeline), plain)
    assert torch.equal(torch.get_rng_state(), before)
    assert distance(run(pipeline, generator=seeded_generator(8)), plain) > 0.1


# Prompts and photo


def test_unaligned_trajectories_are_announced_once(pipeline: Any, plain: torch.Tensor) -> None:
    announced = run(pipeline, alignment=Alignment.UNALIGNED)
    assert distance(announced, plain) > 1e-6
    by_hand = "unaligned, a dog moving right"
    assert torch.equal(run(pipeline, prompt=by_hand), announced)
    assert torch.equal(run(pipeline, prompt=by_hand, alignment=Alignment.UNALIGNED), announced)


def test_the_prefix_is_recognised_however_it_is_written() -> None:
    for prompt in ("unaligned, a cat", "Unaligned, a cat", " unaligned,a cat"):
        assert control_prompt(prompt, Alignment.UNALIGNED) == prompt
    assert control_prompt("unalignedness", Alignment.UNALIGNED) == "unaligned, unalignedness"
    assert control_prompt("", Alignment.UNALIGNED) == "unaligned, "
    assert control_prompt("a cat", Alignment.ALIGNED) == "a cat"


def test_without_a_negative_prompt_it_is_the_authors_one(
    pipeline: Any, plain: torch.Tensor, backbone: Backbone
) -> None:
    assert torch.equal(run(pipeline, negative_prompt=NEGATIVE_PROMPTS[backbone]), plain)
    assert not torch.equal(run(pipeline, negative_prompt=""), plain)


def test_a_photo_of_other_proportions_is_cropped_and_not_squeezed(pipeline: Any) -> None:
    wide = photo(100, 300, seed=3)
    cropped = cover_and_crop(wide, tiny.TINY_WIDTH, tiny.TINY_HEIGHT)
    assert torch.equal(run(pipeline, image=wide), run(pipeline, image=cropped))
    assert torch.equal(run(pipeline, image=Image.fromarray(wide)), run(pipeline, image=cropped))
    squeezed = np.asarray(Image.fromarray(wide).resize((tiny.TINY_WIDTH, tiny.TINY_HEIGHT)))
    assert not torch.equal(run(pipeline, image=squeezed), run(pipeline, image=cropped))


def test_a_transparent_or_grey_photo_works(pipeline: Any, plain: torch.Tensor) -> None:
    assert torch.equal(run(pipeline, image=Image.fromarray(photo()).convert("RGBA")), plain)
    assert run(pipeline, image=Image.fromarray(photo()).convert("L")).isfinite().all()


def test_guidance_schedules_give_different_videos(pipeline: Any) -> None:
    constant, ramp = (
        run(pipeline, guidance_schedule=schedule)
        for schedule in (GuidanceSchedule.CONSTANT, GuidanceSchedule.RAMP)
    )
    assert distance(constant, ramp) > 1e-3


def test_without_guidance_the_negative_prompt_is_not_even_read(pipeline: Any) -> None:
    one = run(pipeline, guidance_scale=1.0, negative_prompt="bad")
    assert torch.equal(one, run(pipeline, guidance_scale=0.0, negative_prompt="good"))


# Condition caches


def encoded(pipeline: Any, texts: Texts, **options: Any) -> Any:
    ids = id_video()
    latents = pipeline.encode_condition_videos(ids, black_like(ids))
    return pipeline.encode_condition(latents, texts, **options)


def embedded(pipeline: Any, prompt: str = "a dog moving right") -> Texts:
    return pipeline.encode_prompts(prompt, None, Alignment.ALIGNED, 5.0)


def test_an_encoded_condition_serves_other_seeds_and_photos_exactly(pipeline: Any) -> None:
    texts = embedded(pipeline)
    condition = encoded(pipeline, texts)
    for seed, picture in ((7, photo()), (8, photo(seed=5))):
        inputs: dict[str, Any] = {"image": picture, "guidance_scale": 5.0}
        fresh = run(pipeline, generator=seeded_generator(seed), **inputs)
        again = run(
            pipeline,
            generator=seeded_generator(seed),
            condition=condition,
            texts=texts,
            prompt=None,
            **inputs,
        )
        assert torch.equal(again, fresh)


def test_what_both_guidance_halves_share_takes_memory_once(pipeline: Any, backbone: Backbone) -> None:
    condition = encoded(pipeline, embedded(pipeline))
    caches = 1 if backbone is Backbone.COGVIDEOX else 2
    assert condition.nbytes == caches * condition.prompt.nbytes
    assert (condition.negative is condition.prompt) == (backbone is Backbone.COGVIDEOX)


def test_a_smaller_cache_is_nearly_the_same_and_one_in_host_memory_is(
    pipeline: Any, plain: torch.Tensor
) -> None:
    assert torch.equal(run(pipeline, cache_place=CachePlace.HOST), plain)
    for storage, largest in ((CacheStorage.BF16, 1e-2), (CacheStorage.FP8, 1e-1)):
        assert 0 < distance(run(pipeline, cache_storage=storage), plain) < largest


def test_sparse_control_can_leave_out_empty_tokens(pipeline: Any, plain: torch.Tensor) -> None:
    sparse = np.zeros_like(id_video())
    sparse[:, :8, :8] = (255, 0, 1)
    kept = pipeline.kept_tokens(sparse, ConditionTokens.OCCUPIED)
    latents = pipeline.encode_condition_videos(sparse, black_like(sparse))
    condition = pipeline.encode_condition(latents, embedded(pipeline), keep=kept)
    assert condition.prompt.tokens == kept.count < condition.prompt.grid.tokens
    pruned = run(pipeline, id_video=sparse, condition_tokens=ConditionTokens.OCCUPIED)
    full = run(pipeline, id_video=sparse)
    assert 0 < distance(pruned, full) < distance(run(pipeline, strength=0.0), full)
    everywhere = np.full_like(sparse, 9)
    assert torch.equal(
        run(pipeline, id_video=everywhere, condition_tokens=ConditionTokens.OCCUPIED),
        run(pipeline, id_video=everywhere),
    )


# Steps


def test_every_step_is_reported_and_may_change_the_latents(pipeline: Any, plain: torch.Tensor) -> None:
    seen: list[tuple[int, float, torch.Size]] = []

    def watch(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        assert pipe is pipeline and float(pipe.current_timestep) == float(timestep)
        seen.append((step, float(timestep), tensors["latents"].shape))
        return tensors

    assert torch.equal(run(pipeline, callback_on_step_end=watch), plain)
    assert [step for step, _, _ in seen] == [0, 1, 2]
    assert sorted((t for _, t, _ in seen), reverse=True) == [t for _, t, _ in seen]
    assert {shape for _, _, shape in seen} == {plain.shape}
    assert pipeline.current_timestep is None

    def zero(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        return {"latents": torch.zeros_like(tensors["latents"])} if step == 2 else {}

    changed = run(pipeline, callback_on_step_end=zero)
    first_frame_alone = changed.abs().sum() if pipeline.backbone is Backbone.COGVIDEOX else None
    assert first_frame_alone in (None, 0) and not torch.equal(changed, plain)


class Stop(Exception):
    pass


def test_a_cancelled_job_stops_within_a_step_and_leaves_nothing_behind(
    pipeline: Any, plain: torch.Tensor
) -> None:
    steps: list[int] = []

    def cancel(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        steps.append(step)
        raise Stop

    with pytest.raises(Stop):
        run(pipeline, callback_on_step_end=cancel)
    assert steps == [0]
    assert pipeline.transformer._cache_in_use is None and pipeline.current_timestep is None
    assert all(processor.keys is None for processor in pipeline.transformer._processors())
    assert torch.equal(run(pipeline), plain), "the next job differs"


def test_an_interrupted_run_shows_what_it_has(pipeline: Any) -> None:
    steps: list[torch.Tensor] = []

    def interrupt(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        steps.append(tensors["latents"])
        pipe._interrupt = step == 1
        return tensors

    stopped = run(pipeline, callback_on_step_end=interrupt)
    assert len(steps) == 2
    last = steps[-1]
    frames = slice(None) if pipeline.backbone is Backbone.COGVIDEOX else slice(1, None)
    assert torch.equal(stopped[:, :, frames], last[:, :, frames])


def test_step_caching_starts_after_the_condition_and_ends_with_the_run(
    pipeline: Any, plain: torch.Tensor
) -> None:
    transformer, states = pipeline.transformer, []

    @contextmanager
    def caching() -> Any:
        assert transformer._cache_in_use is None
        transformer.enable_cache(FirstBlockCacheConfig(threshold=0.0))
        states.append("on")
        try:
            yield
        finally:
            transformer.disable_cache()
            states.append("off")

    # A threshold of zero skips nothing, so that hooks which saw the encoding would show.
    assert distance(run(pipeline, step_cache=caching()), plain) < 1e-6
    with pytest.raises(Stop):
        run(pipeline, step_cache=caching(), callback_on_step_end=_raise_stop)
    assert states == ["on", "off"] * 2 and not transformer.is_cache_enabled


def _raise_stop(*_: Any) -> dict[str, Any]:
    raise Stop


# Memory


@pytest.mark.parametrize("offload", ["model", "group"])
def test_offloaded_weights_give_the_same_video_again_and_again(
    backbone: Backbone, models: tuple[Path, Path], plain: torch.Tensor, offload: str
) -> None:
    pipeline = load_pipeline(backbone, *models)
    if offload == "model":
        pipeline.enable_model_cpu_offload(device="cpu")
    else:
        pipeline.enable_group_offload(
            onload_device=torch.device("cpu"), offload_type="block_level", num_blocks_per_group=1
        )
    with pytest.raises(Stop):
        run(pipeline, callback_on_step_end=_raise_stop)
    for _ in range(2):
        assert distance(run(pipeline), plain) < 1e-6
    assert run(pipeline, output_type="np").shape[1:4] == id_video().shape[:3]


def test_a_sliced_vae_gives_the_same_video_and_a_tiled_one_a_video(
    backbone: Backbone, models: tuple[Path, Path], plain: torch.Tensor
) -> None:
    pipeline = load_pipeline(backbone, *models)
    pipeline.vae.enable_slicing()
    assert distance(run(pipeline), plain) < 1e-4
    overlaps = {
        Backbone.COGVIDEOX: {"tile_overlap_factor_height": 1 / 4, "tile_overlap_factor_width": 1 / 6},
        Backbone.WAN: {"tile_sample_stride_height": 32, "tile_sample_stride_width": 32},
    }
    pipeline.vae.enable_tiling(tile_sample_min_height=32, tile_sample_min_width=48, **overlaps[backbone])
    video = run(pipeline, output_type="np")
    assert video.shape == (1, *id_video().shape) and np.isfinite(video).all()


def test_a_half_precision_model_makes_a_video(backbone: Backbone, models: tuple[Path, Path]) -> None:
    pipeline = load_pipeline(backbone, *models, dtype=torch.bfloat16)
    video = run(pipeline, output_type="np")
    assert video.dtype == np.float32 and np.isfinite(video).all()
    pipeline.vae.to(torch.float32)
    assert np.abs(run(pipeline, output_type="np") - video).mean() < 0.05, "a VAE in full precision"


# What comes out


def test_each_output_type_is_the_same_video(pipeline: Any) -> None:
    array, tensor, pictures = (run(pipeline, output_type=kind) for kind in ("np", "pt", "pil"))
    assert array.shape == (1, *id_video().shape) and array.min() >= 0 and array.max() <= 1
    assert array.std() > 0.01
    np.testing.assert_allclose(tensor.permute(0, 1, 3, 4, 2).numpy(), array, atol=1e-6)
    assert np.abs(np.stack([np.asarray(p) for p in pictures[0]]) / 255 - array[0]).max() < 1 / 255
