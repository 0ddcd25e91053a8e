"""Options of the diffusion engines: carried whole, refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blender_addon.core.errors import RequestError
from blender_addon.core.model_options import (
    AttentionBackend,
    CachePlace,
    CacheStorage,
    CompileMode,
    ConditionTokens,
    GuidanceSchedule,
    LoraChoice,
    MemoryMode,
    ModelOptions,
    SchedulerChoice,
    StepCache,
)
from blender_addon.core.request import RenderRequest

HASH = "0" * 64
loras = st.lists(
    st.builds(LoraChoice, st.from_regex(r"[a-z][a-z0-9._-]{0,9}", fullmatch=True), st.floats(-4, 4)),
    max_size=8,
    unique_by=lambda item: item.name,
).map(tuple)
options = st.builds(
    ModelOptions,
    strength=st.floats(0, 2),
    guidance_schedule=st.sampled_from(GuidanceSchedule),
    scheduler=st.sampled_from(SchedulerChoice),
    condition_tokens=st.sampled_from(ConditionTokens),
    cache_storage=st.sampled_from(CacheStorage),
    cache_place=st.sampled_from(CachePlace),
    memory=st.sampled_from(MemoryMode),
    step_cache=st.sampled_from(StepCache),
    compile=st.sampled_from(CompileMode),
    attention=st.sampled_from(AttentionBackend),
    loras=loras,
    window_overlap=st.integers(1, 48),
)


@given(options)
def test_every_model_option_survives_the_way_to_the_backend(model: ModelOptions) -> None:
    request = RenderRequest(HASH, HASH, model=model)
    assert RenderRequest.from_json(request.to_json()) == request


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"strength": 2.1}, "strength"),
        ({"strength": float("nan")}, "strength"),
        ({"step_cache": "everything"}, "step_cache"),
        ({"memory": 7}, "memory"),
        ({"window_overlap": 0}, "overlap"),
        ({"loras": [{"name": "../secret"}]}, "LoRA"),
        ({"loras": [{"name": ".."}]}, "LoRA"),
        ({"loras": [{"name": "a/b"}]}, "LoRA"),
        ({"loras": [{"name": "film", "scale": 9}]}, "film"),
        ({"loras": [{"name": "film"}, {"name": "film"}]}, "once"),
        ({"loras": "film"}, "loras"),
        ({"loras": [{"scale": 1}]}, "loras"),
        ({"strenght": 1.0}, "strenght"),
        ([], "model"),
    ],
)
def test_a_model_option_out_of_range_is_named_before_anything_runs(values: Any, named: str) -> None:
    with pytest.raises(RequestError, match=named):
        RenderRequest.from_dict({"trajectories": HASH, "image": HASH, "model": values})


def test_a_request_without_model_options_asks_for_the_authors_result() -> None:
    request = RenderRequest.from_json(json.dumps({"trajectories": HASH, "image": HASH}))
    assert request.model == ModelOptions()
    assert request.model.strength == 1.0
    assert request.model.condition_tokens is ConditionTokens.ALL
    assert request.model.step_cache is StepCache.NONE
