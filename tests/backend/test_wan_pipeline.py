"""The Wan pipeline on a toy model: what is its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_pipelines as tiny
import torch
from controlled_runs import black_like, id_video, load_pipeline, photo, run, write_models
from PIL import Image

from blender_addon.core.errors import RequestError
from blender_addon.core.model_options import SchedulerChoice
from flextraj_backend.models.backbone import Backbone, TokenGrid
from flextraj_backend.models.checkpoint import load_adapter
from flextraj_backend.models.pipeline_inputs import ClipShape, Texts
from flextraj_backend.models.prompts import Alignment
from flextraj_backend.models.wan_pipeline import FlexTrajWanPipeline, token_timesteps


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_models(Backbone.WAN, tmp_path_factory.mktemp("wan"))


@pytest.fixture(scope="module")
def pipeline(models: tuple[Path, Path]) -> Any:
    return load_pipeline(Backbone.WAN, *models)


def texts_of(pipeline: Any, prompt: str, negative: str | None = None, scale: float = 5.0) -> Texts:
    return pipeline.encode_prompts(prompt, negative, Alignment.ALIGNED, scale)


def condition_of(pipeline: Any, texts: Texts) -> Any:
    ids = id_video()
    return pipeline.encode_condition(pipeline.encode_condition_videos(ids, black_like(ids)), texts)


def test_a_folder_made_for_image_to_video_gives_the_same_video(
    pipeline: Any, models: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = tiny.build_tiny_wan(tmp_path, pipeline=tiny.WAN_IMAGE_PIPELINE)
    other: Any = FlexTrajWanPipeline.from_pretrained(folder, local_files_only=True)
    other.set_progress_bar_config(disable=True)
    load_adapter(other.transformer, models[1])
    assert torch.equal(run(other), run(pipeline))


@pytest.mark.parametrize("scheduler", list(SchedulerChoice))
def test_the_first_latent_frame_is_the_photo(pipeline: Any, scheduler: SchedulerChoice) -> None:
    latents = run(pipeline, scheduler=scheduler)
    picture = pipeline.video_processor.preprocess(Image.fromarray(photo()))
    with torch.no_grad():
        mode = pipeline.vae.encode(picture.unsqueeze(2)).latent_dist.mode()
    mean = torch.tensor(pipeline.vae.config.latents_mean)[:, None, None]
    deviation = torch.tensor(pipeline.vae.config.latents_std)[:, None, None]
    torch.testing.assert_close(latents[0, :, 0], (mode[0, :, 0] - mean) / deviation, rtol=0, atol=1e-5)
    assert not torch.equal(latents[0, :, 0], latents[0, :, 1])


def test_the_photos_tokens_are_told_to_be_clean() -> None:
    timesteps = token_timesteps(TokenGrid(3, 2, 4), torch.tensor(250.5))
    assert timesteps.shape == (1, 24)
    assert (timesteps[0, :8] == 0).all() and (timesteps[0, 8:] == 250.5).all()


def test_in_half_precision_the_model_sees_rounded_timesteps(
    models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = load_pipeline(Backbone.WAN, *models, dtype=torch.bfloat16)
    seen: list[float] = []
    forward = type(pipeline.transformer).forward

    def watch(self: Any, *args: Any, **kwargs: Any) -> Any:
        if "timestep" in kwargs:
            seen.append(float(kwargs["timestep"].max()))
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(pipeline.transformer), "forward", watch)
    run(pipeline, num_inference_steps=50, guidance_scale=1.0)
    assert seen[:4] == [1000, 996, 992, 988] and seen[-1] == 92.5


def test_a_condition_serves_its_own_prompts_only(pipeline: Any) -> None:
    texts = texts_of(pipeline, "a dog moving right")
    condition = condition_of(pipeline, texts)
    assert torch.equal(run(pipeline, condition=condition), run(pipeline))
    for changes in ({"prompt": "a red car"}, {"negative_prompt": "bad"}):
        with pytest.raises(RequestError, match="encoded with other prompts"):
            run(pipeline, condition=condition, **changes)
    # Without control, or with the prompt alone, the others do not matter.
    assert run(pipeline, condition=condition, prompt="a red car", strength=0.0).isfinite().all()
    alone = run(pipeline, condition=condition, guidance_scale=1.0)
    assert torch.equal(alone, run(pipeline, guidance_scale=1.0))


def test_each_guidance_half_reads_the_condition_of_its_own_prompt(pipeline: Any) -> None:
    condition = condition_of(pipeline, texts_of(pipeline, "a dog", "bad"))
    assert not torch.equal(condition.prompt.values[1], condition.negative.values[1])
    right = run(pipeline, prompt="a dog", negative_prompt="bad", condition=condition)
    swapped = type(condition)(
        condition.negative, condition.prompt, condition.prompt_digest, condition.negative_digest
    )
    assert not torch.equal(run(pipeline, prompt="a dog", negative_prompt="bad", condition=swapped), right)


def test_without_guidance_one_condition_is_enough(pipeline: Any) -> None:
    condition = condition_of(pipeline, texts_of(pipeline, "a dog moving right", scale=1.0))
    assert condition.negative is None and condition.nbytes == condition.prompt.nbytes
    assert torch.equal(
        run(pipeline, condition=condition, guidance_scale=1.0), run(pipeline, guidance_scale=1.0)
    )


@pytest.mark.parametrize(("frames", "height", "width"), [(5, 32, 32), (13, 96, 64), (17, 64, 160)])
def test_other_lengths_and_sizes_work(pipeline: Any, frames: int, height: int, width: int) -> None:
    ids = id_video(frames, max(height, 64), max(width, 96))[:, :height, :width].copy()
    video = run(pipeline, id_video=ids, image=photo(50, 70), output_type="np", num_inference_steps=2)
    assert video.shape == (1, *ids.shape)


def test_a_side_that_the_tokens_do_not_divide_is_refused(pipeline: Any) -> None:
    with pytest.raises(RequestError, match="both sides must be multiples of 32 px"):
        run(pipeline, id_video=id_video(9, 80, 96))


def test_a_clip_beyond_the_positions_is_refused(pipeline: Any) -> None:
    with pytest.raises(RequestError, match="positions end at 64 tokens along each axis"):
        pipeline.check_shape(ClipShape(4 * 64 + 1, 64, 96))
    pipeline.check_shape(ClipShape(4 * 63 + 1, 64, 96))


def test_the_prompt_is_cleaned_and_padded_with_zeros(pipeline: Any) -> None:
    texts = texts_of(pipeline, "a  dog\n moving &amp;amp; walking ")
    assert torch.equal(texts.prompt, texts_of(pipeline, "a dog moving & walking").prompt)
    assert texts.prompt.shape == (1, 512, 32)
    assert (texts.prompt[0, 100:] == 0).all() and texts.prompt[0, 0].abs().sum() > 0


def test_the_grid_of_a_clip_and_the_clip_of_a_grid_agree(pipeline: Any) -> None:
    shape = ClipShape(49, 480, 832)
    grid = pipeline.token_grid(shape)
    assert grid.tokens == 5_070
    assert ClipShape.of_grid(grid, pipeline.side_multiple, pipeline.frame_step) == shape
