"""A base model whose latents have a frame for each frame of the video, as the mini model's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from controlled_runs import black_like, id_video, load_pipeline, run, write_models
from tiny_pipelines import TINY_HEIGHT, TINY_WIDTH, write_tiny_adapter
from toy_engines import Watcher, job_inputs, request, shot

from blender_addon.core.errors import ErrorCode, RequestError
from blender_addon.core.model_options import ConditionTokens, ModelOptions
from flextraj_backend.engines.diffusion import loading
from flextraj_backend.engines.diffusion.installed import installed_model
from flextraj_backend.engines.registry import engine
from flextraj_backend.models.backbone import Backbone, TokenGrid
from flextraj_backend.models.denoising import seeded_generator
from flextraj_backend.models.flops import base_step_flops
from flextraj_backend.models.pipeline_inputs import ClipShape, ConditionReuse
from flextraj_backend.models.vae_flops import vae_decode_flops, vae_encode_flops
from flextraj_backend.models.weights import WEIGHTS_VARIABLE

COG = Backbone.COGVIDEOX
MINI_LAYOUT: dict[str, Any] = {"temporal_compression": 1, "latent_channels": 32, "text_tokens": 16}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    base, _ = write_models(COG, folder / COG.value, **MINI_LAYOUT)
    write_tiny_adapter(COG, base, folder / COG.value / "flextraj_cogvideox.safetensors")
    (folder / COG.value / "control.safetensors").unlink()
    return folder


@pytest.fixture(scope="module")
def pipeline(weights: Path) -> Any:
    place = weights / COG.value
    return load_pipeline(COG, place / "base", place / "flextraj_cogvideox.safetensors")


@pytest.fixture
def installed(weights: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(weights))
    yield
    loading.forget_pipeline(torch.device("cpu"))


@pytest.mark.parametrize("frames", [2, 3, 4, 6, 9])
def test_a_clip_of_any_length_has_a_token_and_a_picture_for_each_of_its_frames(
    pipeline: Any, frames: int
) -> None:
    ids = id_video(frames)
    grid = pipeline.token_grid(ClipShape.of(ids))
    assert grid == TokenGrid(frames, TINY_HEIGHT // 16, TINY_WIDTH // 16)
    assert pipeline.encode_condition_videos(ids, black_like(ids)).ids.shape[1] == frames
    assert run(pipeline, id_video=ids).shape == (1, frames, 32, TINY_HEIGHT // 8, TINY_WIDTH // 8)
    assert run(pipeline, id_video=ids, output_type="np").shape == (1, *ids.shape)


@pytest.mark.parametrize("frames", [6, 9])
@pytest.mark.parametrize("scale", [1.0, 6.0])
def test_the_cached_condition_gives_the_video_that_recomputing_it_gives(
    pipeline: Any, frames: int, scale: float
) -> None:
    changes: dict[str, Any] = {"id_video": id_video(frames), "guidance_scale": scale}
    cached = run(pipeline, **changes)
    recomputed = run(pipeline, condition_reuse=ConditionReuse.EVERY_STEP, **changes)
    torch.testing.assert_close(cached, recomputed, rtol=1e-4, atol=1e-4)


def test_an_encoded_condition_says_how_many_frames_its_video_has(pipeline: Any) -> None:
    ids = id_video(6)
    condition = pipeline.encode_condition(pipeline.encode_condition_videos(ids, black_like(ids)))
    assert torch.equal(run(pipeline, condition=condition), run(pipeline, id_video=ids))


def test_a_still_is_refused(pipeline: Any) -> None:
    with pytest.raises(RequestError, match="use at least 2 frames") as error:
        run(pipeline, id_video=id_video(1))
    assert error.value.code is ErrorCode.FRAME_RANGE


def test_pruning_keeps_the_tokens_of_the_frame_in_which_a_point_is(pipeline: Any) -> None:
    ids = np.zeros((9, TINY_HEIGHT, TINY_WIDTH, 3), np.uint8)
    ids[5, 20, 40] = 255
    kept = pipeline.kept_tokens(ids, ConditionTokens.OCCUPIED)
    per_frame = TINY_HEIGHT // 16 * (TINY_WIDTH // 16)
    assert set((kept.occupied // per_frame).tolist()) == {5}


def test_decoding_draws_no_frame_that_the_latents_do_not_have(pipeline: Any) -> None:
    latents = torch.randn(1, 4, 32, 8, 12, generator=seeded_generator(0))
    with torch.no_grad():
        assert pipeline.decode_latents(latents).shape == (1, 3, 4, TINY_HEIGHT, TINY_WIDTH)


@pytest.mark.usefixtures("installed")
def test_the_engine_offers_every_length_and_cuts_long_shots_where_it_likes() -> None:
    maker = engine(COG.value)
    limits = maker.limits()
    assert (limits.min_frames, limits.frame_step, limits.frame_offset) == (2, 1, 0)
    job = request(COG, ModelOptions(window_overlap=2))
    watcher = Watcher()
    output = maker.render(job_inputs(job, shot(12)), watcher.report, watcher.cancelled)
    assert output.frames.shape == (12, TINY_HEIGHT, TINY_WIDTH, 3) and output.frames[-1].std() > 1
    windows = [(window["start"], window["stop"]) for window in output.record["windows"]]
    assert windows == [(0, 9), (3, 12)]
    assert output.record["windows"][0]["all_tokens"] == 9 * 4 * 6


@pytest.mark.usefixtures("installed")
def test_the_estimate_counts_a_latent_frame_for_each_frame() -> None:
    sizes = installed_model(COG).sizes
    assert sizes.frame_step == 1
    for frames in (2, 8, 9):
        assert sizes.shape(frames, TINY_HEIGHT, TINY_WIDTH).grid.frames == frames
    nine, five = (base_step_flops(sizes.shape(count, TINY_HEIGHT, TINY_WIDTH)) for count in (9, 5))
    assert nine > 1.5 * five
    config = sizes.vae_config
    for count in (vae_encode_flops, vae_decode_flops):
        one, four = (count(COG, config, frames, TINY_HEIGHT, TINY_WIDTH) for frames in (1, 4))
        assert four == pytest.approx(4 * one)
    told = engine(COG.value).prepare(request(COG), shot(8))
    assert told.seconds > 0 and told.memory_bytes > 0
