"""The CogVideoX pipeline on a toy model: what is its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_pipelines as tiny
import torch
from controlled_runs import black_like, distance, id_video, load_pipeline, run, write_models

from blender_addon.core.errors import ErrorCode, RequestError
from blender_addon.core.model_options import GuidanceSchedule
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.denoising import seeded_generator
from flextraj_backend.models.guidance import guidance_scales
from flextraj_backend.models.pipeline_inputs import ClipShape
from flextraj_backend.models.prompts import Alignment


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_models(Backbone.COGVIDEOX, tmp_path_factory.mktemp("cogvideox"))


@pytest.fixture(scope="module")
def pipeline(models: tuple[Path, Path]) -> Any:
    return load_pipeline(Backbone.COGVIDEOX, *models)


def test_one_condition_serves_every_prompt_and_is_encoded_without_a_text(pipeline: Any) -> None:
    ids = id_video()
    condition = pipeline.encode_condition(pipeline.encode_condition_videos(ids, black_like(ids)))
    for prompt, scale in (("a dog", 6.0), ("a red car", 6.0), ("a cat", 1.0)):
        fresh = run(pipeline, prompt=prompt, guidance_scale=scale)
        again = run(pipeline, prompt=prompt, guidance_scale=scale, condition=condition)
        assert torch.equal(again, fresh)


def test_the_condition_does_not_depend_on_the_jobs_seed(pipeline: Any) -> None:
    ids = id_video()
    first = pipeline.encode_condition_videos(ids, black_like(ids))
    run(pipeline, generator=seeded_generator(123))
    second = pipeline.encode_condition_videos(ids, black_like(ids))
    assert torch.equal(first.ids, second.ids)


def test_both_guidance_halves_run_in_one_batch(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []
    forward = type(pipeline.transformer).forward

    def watch(self: Any, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("recorder") is None:
            batches.append(len(hidden_states))
        return forward(self, hidden_states, *args, **kwargs)

    monkeypatch.setattr(type(pipeline.transformer), "forward", watch)
    run(pipeline, guidance_scale=6.0, num_inference_steps=2)
    run(pipeline, guidance_scale=1.0, num_inference_steps=2)
    assert batches == [2, 2, 1, 1]


def test_each_step_is_guided_as_the_schedule_says(pipeline: Any) -> None:
    seen: list[float] = []

    def watch(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        seen.append(pipe.guidance_scale)
        return tensors

    run(pipeline, num_inference_steps=5, callback_on_step_end=watch)
    timesteps = [999.0, 799.0, 599.0, 399.0, 199.0]
    assert seen == list(guidance_scales(GuidanceSchedule.AUTHORS, Backbone.COGVIDEOX, 6.0, timesteps))


def test_a_shorter_clip_than_the_model_was_made_for_has_all_its_frames_and_no_more(pipeline: Any) -> None:
    ids = id_video(5)
    video = run(pipeline, id_video=ids, output_type="np")
    assert video.shape == (1, *ids.shape)


def test_an_even_number_of_latent_frames_decodes_like_the_start_of_an_odd_one(pipeline: Any) -> None:
    latents = torch.randn(1, 4, 16, 8, 12, generator=seeded_generator(0))
    with torch.no_grad():
        even = pipeline.decode_latents(latents)
        odd = pipeline.decode_latents(torch.cat((latents, latents[:, -1:]), dim=1))
    assert even.shape == (1, 3, 13, 64, 96) and odd.shape == (1, 3, 17, 64, 96)
    assert torch.equal(even, odd[:, :, :13])


@pytest.mark.parametrize(
    ("ids", "sentence", "code"),
    [
        (id_video(13), "CogVideoX makes at most 9 frames at once, not 13", ErrorCode.FRAME_RANGE),
        (id_video(9, 64, 112), "CogVideoX makes clips of 96x64 px, not 112x64", ErrorCode.ENGINE),
        (id_video(9, 80, 96), "CogVideoX makes clips of 96x64 px, not 96x80", ErrorCode.ENGINE),
    ],
)
def test_a_clip_that_it_cannot_make_is_refused_with_what_it_can(
    pipeline: Any, ids: Any, sentence: str, code: ErrorCode
) -> None:
    with pytest.raises(RequestError, match=sentence) as error:
        run(pipeline, id_video=ids)
    assert error.value.code is code


def test_a_condition_of_wan_is_refused(pipeline: Any, tmp_path: Path) -> None:
    wan = load_pipeline(Backbone.WAN, *write_models(Backbone.WAN, tmp_path))
    ids = id_video()
    texts = wan.encode_prompts("a dog", None, Alignment.ALIGNED, 6.0)
    condition = wan.encode_condition(wan.encode_condition_videos(ids, black_like(ids)), texts)
    with pytest.raises(RequestError, match="encoded for wan, not for cogvideox"):
        run(pipeline, condition=condition)


def test_a_long_prompt_is_cut_and_not_an_error(pipeline: Any) -> None:
    assert pipeline.max_text_tokens == 226
    texts = pipeline.encode_prompts("a dog and a cat " * 200, None, Alignment.ALIGNED, 6.0)
    assert texts.prompt.shape == texts.negative.shape == (1, 226, 32)


def test_the_grid_of_a_clip_and_the_clip_of_a_grid_agree(pipeline: Any) -> None:
    shape = ClipShape(49, 480, 720)
    grid = pipeline.token_grid(shape)
    assert grid.tokens == 17_550
    assert ClipShape.of_grid(grid, pipeline.side_multiple, pipeline.frame_step) == shape


def test_moving_points_move_something_where_they_are(pipeline: Any) -> None:
    """The condition acts through attention everywhere, but no run may ignore where the points are."""
    still = np.repeat(id_video()[:1], tiny.TINY_FRAMES, axis=0)
    assert distance(run(pipeline, id_video=still), run(pipeline)) > 1e-5
