"""What the pipelines say to inputs that cannot work: one sentence, before the GPU has worked for nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from controlled_runs import black_like, id_video, load_pipeline, run, write_models
from diffusers.hooks.first_block_cache import FirstBlockCacheConfig

from blender_addon.core.errors import ErrorCode, FlexTrajError, RequestError
from blender_addon.core.model_options import ConditionTokens
from flextraj_backend.models.backbone import Backbone
from flextraj_backend.models.pipeline_inputs import ConditionReuse, Texts
from flextraj_backend.models.prompts import Alignment


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


def embedded(pipeline: Any) -> Texts:
    return pipeline.encode_prompts("a dog moving right", None, Alignment.ALIGNED, 5.0)


def encoded(pipeline: Any) -> Any:
    ids = id_video()
    return pipeline.encode_condition(
        pipeline.encode_condition_videos(ids, black_like(ids)), embedded(pipeline)
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"prompt": None}, "The prompt must be one text"),
        ({"prompt": ["a", "b"]}, "The prompt must be one text"),
        ({"negative_prompt": ["a"]}, "The negative prompt must be one text"),
        ({"image": "photo.jpg"}, "The photo must be a Pillow image or an"),
        ({"image": np.zeros((4, 4, 3))}, "The photo must be a Pillow image or an"),
        ({"id_video": None}, "Both conditioning videos are needed"),
        ({"color_video": None}, "Both conditioning videos are needed"),
        ({"id_video": id_video().astype(np.float32)}, "The ID video must be a"),
        ({"color_video": id_video()[..., 0]}, "The colour video must be a"),
        ({"color_video": id_video()[1:]}, "9x64x96x3 and the colour video 8x64x96x3 differ in shape"),
        ({"id_video": id_video()[:8]}, "A clip of 8 frames cannot be made: use 4k \\+ 1 frames"),
        ({"id_video": id_video()[:1]}, "A clip of 1 frames cannot be made"),
        ({"id_video": id_video()[:, :60]}, "A clip of 96x60 px cannot be made"),
        ({"num_inference_steps": 0}, "The number of steps must be a whole number from 1 to 1000"),
        ({"num_inference_steps": 2.0}, "The number of steps must be a whole number from 1 to 1000"),
        ({"guidance_scale": float("nan")}, "The guidance scale must be a number"),
        ({"guidance_scale": -1.0}, "The guidance scale must be a number"),
        ({"strength": 2.5}, "The control strength must be a number from 0 to 2"),
        ({"generator": None}, "A generator for the noise is needed"),
        ({"output_type": "mp4"}, "The output type must be one of np, pil, pt, latent"),
        ({"callback_on_step_end_tensor_inputs": ("text",)}, "cannot have the tensor 'text'"),
        ({"condition_reuse": ConditionReuse.EVERY_STEP, "strength": 0.5}, "computed in every step"),
        (
            {
                "condition_reuse": ConditionReuse.EVERY_STEP,
                "condition_tokens": ConditionTokens.OCCUPIED,
            },
            "computed in every step",
        ),
    ],
)
def test_a_bad_input_gets_one_sentence_before_anything_is_computed(
    pipeline: Any, changes: dict[str, Any], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def computed(*_: Any, **__: Any) -> None:
        raise AssertionError("something was computed")

    monkeypatch.setattr(pipeline, "encode_prompts", computed)
    with pytest.raises(RequestError, match=sentence) as error:
        run(pipeline, **changes)
    assert error.value.message.count(". ") == 0 and error.value.message.endswith(".")


def test_embedded_prompts_must_fit_the_guidance(pipeline: Any) -> None:
    texts = embedded(pipeline)
    with pytest.raises(RequestError, match="in words or as texts"):
        run(pipeline, texts=texts)
    with pytest.raises(RequestError, match="for another guidance scale"):
        run(pipeline, texts=Texts(texts.prompt, None), prompt=None)
    with pytest.raises(RequestError, match="for another guidance scale"):
        run(pipeline, texts=texts, prompt=None, guidance_scale=1.0)


def test_an_encoded_condition_must_fit_the_run(pipeline: Any) -> None:
    condition = encoded(pipeline)
    with pytest.raises(RequestError, match="videos or their encoded condition, not both"):
        run(pipeline, condition=condition, id_video=id_video())
    without_negative = type(condition)(condition.prompt, None, condition.prompt_digest)
    with pytest.raises(RequestError, match="without the negative prompt"):
        run(pipeline, condition=without_negative)
    with pytest.raises(RequestError, match="computed in every step"):
        run(pipeline, condition=condition, condition_reuse=ConditionReuse.EVERY_STEP)


def test_control_weights_that_were_not_loaded_are_missed_before_the_run(
    backbone: Backbone, models: tuple[Path, Path]
) -> None:
    pipeline = load_pipeline(backbone, models[0], control=None)
    with pytest.raises(FlexTrajError, match="load its control weights first") as error:
        run(pipeline)
    assert error.value.code is ErrorCode.WEIGHTS
    assert run(pipeline, strength=0.0).isfinite().all()


def test_step_caching_that_was_switched_on_too_early_is_refused(pipeline: Any) -> None:
    pipeline.transformer.enable_cache(FirstBlockCacheConfig(threshold=0.1))
    try:
        with pytest.raises(RequestError, match="switch it on by step_cache"):
            run(pipeline)
    finally:
        pipeline.transformer.disable_cache()
